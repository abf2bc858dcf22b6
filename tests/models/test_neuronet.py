"""NeuroNet's scaffold: exact masks, hidden frames hidden, predictions causal, the papers' size."""

from dataclasses import replace

import pytest
import torch

from hypnostream.models.frame_network import REFERENCE_FRAME, FrameSettings
from hypnostream.models.frame_spectrum import SPECTRUM, frame_spectrum
from hypnostream.models.neuronet import NeuroNet, NeuroNetSettings, random_masks

SMALL = NeuroNetSettings(
    frame=FrameSettings(stem=4, planes=(4, 8, 8), squeeze=2, hidden=16, width=12),
    window=10,
    encoder_width=16,
    encoder_depth=1,
    decoder_width=8,
    decoder_heads=2,
    projector=(16, 8),
    predictor_width=8,
    predictor_heads=2,
)
REFERENCE = NeuroNetSettings(
    frame=REFERENCE_FRAME,
    window=27,
    encoder_width=768,
    encoder_depth=4,
    encoder_heads=8,
    decoder_width=256,
    decoder_depth=3,
    decoder_heads=8,
    projector=(1024, 512),
)


def test_the_reference_is_as_large_as_the_paper_s_and_keeps_five_of_27() -> None:
    with torch.device("meta"):
        model = NeuroNet(REFERENCE)
    size = sum(p.numel() for name, p in model.named_parameters() if not name.startswith("predictor"))
    assert size == pytest.approx(71.6e6, rel=0.01)
    assert REFERENCE.kept == 5


def test_each_row_shows_exactly_as_many_frames_as_asked_and_rows_differ() -> None:
    hidden = random_masks(200, 30, 6, torch.Generator().manual_seed(0))
    assert ((~hidden).sum(1) == 6).all()
    assert len({tuple(row.tolist()) for row in hidden}) > 190
    assert ((~hidden).float().mean(0) - 0.2).abs().max() < 0.12  # every place has its turn


def test_the_two_views_are_masked_independently() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (random_masks(50, 30, 6, generator) for _ in range(2))
    assert 0.5 < float((first == second).float().mean()) < 0.8  # 0.68 by chance


def test_a_hidden_frame_is_not_looked_at_and_a_shown_one_is() -> None:
    torch.manual_seed(0)
    model = NeuroNet(SMALL).eval()
    tokens = torch.randn(3, 10, 12)
    hidden = random_masks(3, 10, SMALL.kept, torch.Generator().manual_seed(1))
    view = model.view(tokens, hidden)
    other = torch.where(hidden.unsqueeze(-1), torch.randn(3, 10, 12), tokens)
    assert torch.equal(model.view(other, hidden).predicted, view.predicted)
    shown = torch.where(hidden.unsqueeze(-1), tokens, torch.randn(3, 10, 12))
    assert not torch.allclose(model.view(shown, hidden).summary, view.summary)


def test_a_token_is_decoded_at_its_own_place() -> None:
    torch.manual_seed(0)
    model = NeuroNet(SMALL).eval()
    tokens = torch.randn(1, 10, 12)
    first, second = torch.ones(1, 10, dtype=torch.bool), torch.ones(1, 10, dtype=torch.bool)
    first[0, [2, 7]], second[0, [7, 2]] = False, False
    assert torch.equal(model.view(tokens, first).predicted, model.view(tokens, second).predicted)
    swapped = tokens.clone()
    swapped[0, 2], swapped[0, 7] = tokens[0, 7], tokens[0, 2]
    assert not torch.allclose(model.view(swapped, first).predicted, model.view(tokens, first).predicted, atol=1e-4)


def test_a_batch_of_one_is_a_row_of_a_batch() -> None:
    torch.manual_seed(0)
    model = NeuroNet(SMALL).train()
    tokens, hidden = torch.randn(4, 10, 12), random_masks(4, 10, SMALL.kept, torch.Generator().manual_seed(1))
    whole, alone = model.view(tokens, hidden), model.view(tokens[1:2], hidden[1:2])
    assert torch.allclose(whole.predicted[1:2], alone.predicted, atol=1e-5)
    assert torch.allclose(whole.summary[1:2], alone.summary, atol=1e-5)


def test_the_predictor_does_not_see_what_it_predicts() -> None:
    torch.manual_seed(0)
    model = NeuroNet(SMALL).eval()
    tokens = torch.randn(2, 10, 12)
    changed = tokens.clone()
    changed[:, 6:] = torch.randn(2, 4, 12)
    assert torch.equal(model.next_frames(tokens)[:, :6], model.next_frames(changed)[:, :6])
    assert not torch.allclose(model.next_frames(tokens)[:, 6:], model.next_frames(changed)[:, 6:])


def test_a_mask_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"masked 0\.95 of a window of 10 leaves 0 frames"):
        NeuroNetSettings(window=10, masked=0.95)


def test_a_spectrum_has_a_line_where_the_rhythm_is_and_knows_nothing_of_its_phase() -> None:
    time_s = torch.arange(400) / 100
    waves = torch.stack([torch.sin(2 * torch.pi * 10 * time_s + phase) for phase in (0.0, 1.0, 2.0)])
    found = frame_spectrum(waves)
    assert found.shape == (3, SPECTRUM)
    assert found.argmax(-1).tolist() == [39] * 3  # 10 Hz, the first bin being 0.25 Hz
    assert torch.allclose(found[0], found[1], atol=1e-3)
    assert torch.allclose(frame_spectrum(2 * waves)[0, 39] - found[0, 39], torch.tensor(2.0).log(), atol=1e-2)
    assert frame_spectrum(torch.zeros(400)).isfinite().all()


def test_with_spectra_as_target_they_are_what_is_predicted_and_hidden_frames_stay_hidden() -> None:
    torch.manual_seed(0)
    model = NeuroNet(replace(SMALL, target="spectrum"))
    frames = torch.randn(2, 10, 400, requires_grad=True)
    tokens = model.frames(frames)
    target = model.targets(frames, tokens)
    assert torch.equal(target, frame_spectrum(frames.detach()))
    assert not target.requires_grad
    hidden = random_masks(2, 10, SMALL.kept, torch.Generator().manual_seed(0))
    predicted = model.view(tokens, hidden).predicted
    assert predicted.shape == model.next_frames(tokens).shape == target.shape
    (gradient,) = torch.autograd.grad(predicted.square().sum(), frames)
    assert not gradient[hidden].any()
    assert gradient[~hidden].abs().sum(-1).min() > 0
