"""Step 2's task: what is hidden is exact, what was never recorded is in no loss, and parts add up to the whole."""

import copy
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from hypnostream.models.channel_encoder import ChannelEncoder, ChannelEncoders, ChannelEncoderSettings
from hypnostream.models.frame_network import FrameSettings
from hypnostream.models.lora import LoraSettings
from hypnostream.models.spectral_inputs import INPUTS, SpectralInputs
from hypnostream.models.synthsleepnet import SynthSleepNet, SynthSleepNetSettings
from hypnostream.training.losses.contrast import nt_xent
from hypnostream.training.losses.cross_modal import fusion_contrast, hide, prediction_loss
from hypnostream.training.nights.windows import Place, SpectralWindows, spectral_tokens
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings, CrossModalTask, Pretrained
from hypnostream.training.running.loop import LoopSettings, Share, train
from tests.training.test_training import simulated_night
from tests.training.wave_windows import WaveWindows

SMALL = SynthSleepNetSettings(16, 4, 1, 1, 8, 1, 2, (16, 8))
FRAME = FrameSettings(4, (4, 4, 8), (2, 2, 2), squeeze=2, hidden=12, width=12)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_papers_window_keeps_16_of_27_in_each_channel() -> None:
    hidden = hide(torch.ones(50, 27, 4, dtype=torch.bool), 0.4, 0.0, _generator())
    assert bool((hidden.kept.sum(1) == 16).all())
    assert bool((hidden.masked.sum(1) == 11).all())
    assert not bool(hidden.dropped.any())
    assert len({tuple(column.tolist()) for column in hidden.kept.transpose(1, 2).reshape(-1, 27)}) > 190


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 5), st.floats(0.0, 0.95), st.floats(0, 1), st.integers(0, 10_000))
def test_what_was_recorded_is_kept_masked_or_dropped_and_something_is_kept(
    length: int, channels: int, ratio: float, drop: float, seed: int
) -> None:
    mask = torch.rand(8, length, channels, generator=_generator(seed)) < 0.5
    hidden = hide(mask, ratio, drop, _generator(seed))
    assert torch.equal(torch.stack([*hidden]).sum(0), mask.long())
    assert torch.equal(hidden.kept.any((1, 2)), mask.any((1, 2)))
    whole = hidden.dropped.any(1)  # a dropped channel is dropped throughout
    assert torch.equal(hidden.dropped, mask & whole.unsqueeze(1))
    left = (mask & ~whole.unsqueeze(1)).sum(1)
    assert torch.equal(hidden.kept.sum(1), ((left * (1 - ratio) + 1e-6).floor().clamp(min=1).long()) * (left > 0))


def test_channels_are_dropped_as_often_as_said_and_any_number_but_all() -> None:
    hidden = hide(torch.ones(4000, 3, 4, dtype=torch.bool), 0.4, 0.5, _generator())
    gone = hidden.dropped.any(1).sum(1)
    assert 0.46 < float((gone > 0).float().mean()) < 0.54
    assert sorted(set(gone.tolist())) == [0, 1, 2, 3]
    assert all(0.13 < float((gone == n).float().mean()) < 0.21 for n in (1, 2, 3))


def test_hiding_is_the_same_for_a_seed() -> None:
    mask = torch.ones(5, 6, 3, dtype=torch.bool)
    first, again = (hide(mask, 0.4, 0.5, _generator(3)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_a_target_gets_no_gradient_and_other_cells_no_loss() -> None:
    target, predicted = torch.randn(2, 5, 3, 4, requires_grad=True), torch.randn(2, 5, 3, 4, requires_grad=True)
    cells = torch.zeros(2, 5, 3, dtype=torch.bool)
    cells[1, 2, 0] = True
    loss = prediction_loss(predicted, target, cells, Share())
    assert torch.allclose(loss, F.mse_loss(predicted[1, 2, 0], target[1, 2, 0]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert target.grad is None
    assert predicted.grad is not None
    assert torch.equal(predicted.grad.any(-1), cells)


def test_nothing_to_predict_is_a_loss_of_zero_with_a_gradient() -> None:
    predicted = torch.full((1, 2, 1, 3), torch.nan, requires_grad=True)
    loss = prediction_loss(predicted, torch.zeros(1, 2, 1, 3), torch.zeros(1, 2, 1, dtype=torch.bool), Share())
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == 0


def test_contrast_is_the_mean_over_channels_of_nt_xent_among_those_that_have_it() -> None:
    fused, channels = torch.randn(6, 4), torch.randn(6, 3, 4)
    present = torch.ones(6, 3, dtype=torch.bool)
    present[:2, 1] = False
    present[:, 2] = False
    found = fusion_contrast(fused, channels, present, 0.1, Share())
    one = nt_xent(fused, channels[:, 0], 0.1, Share())
    two = nt_xent(fused[2:], channels[2:, 1], 0.1, Share())
    assert torch.allclose(found, (one + two) / 2)
    channels[:2, 1] = torch.nan
    assert torch.equal(found, fusion_contrast(fused, channels, present, 0.1, Share()))


def test_contrast_without_a_pair_is_zero() -> None:
    fused = torch.randn(1, 4, requires_grad=True)
    assert float(fusion_contrast(fused, torch.randn(1, 2, 4), torch.ones(1, 2) > 0, 0.1, Share()).detach()) == 0


class Half(Share):
    """One of two processes that have been told what the other has: the totals, and all rows."""

    def __init__(self, rank: int, every: Sequence[Tensor], total: float) -> None:
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "world", 2)
        object.__setattr__(self, "every", list(every))
        object.__setattr__(self, "known_total", total)

    def total(self, value: float) -> float:
        return self.known_total  # type: ignore[attr-defined,no-any-return]

    def gathered(self, rows: Tensor) -> Tensor:
        whole = self.every.pop(0).clone()  # type: ignore[attr-defined]
        whole[self.rank :: 2] = rows
        return whole  # type: ignore[no-any-return]


def test_the_parts_of_two_processes_add_up_in_value_and_gradient() -> None:
    predicted, target = torch.randn(5, 4, 2, 3), torch.randn(5, 4, 2, 3)
    cells = torch.rand(5, 4, 2) < 0.5
    fused, channels, present = torch.randn(5, 4), torch.randn(5, 2, 4), torch.rand(5, 2) < 0.8

    def losses(rows: slice, share: Share) -> tuple[Tensor, Tensor, Tensor]:
        f = fused[rows].clone().requires_grad_()
        contrast = fusion_contrast(f, channels[rows], present[rows], 0.1, share)
        contrast.backward()  # type: ignore[no-untyped-call]
        assert f.grad is not None
        return prediction_loss(predicted[rows], target[rows], cells[rows], share), contrast.detach(), f.grad

    whole = losses(slice(None), Share())
    every = (fused, channels, present.float())
    parts = [losses(slice(rank, None, 2), Half(rank, every, float(cells.sum()))) for rank in (0, 1)]
    assert torch.allclose(parts[0][0] + parts[1][0], whole[0])
    assert torch.allclose(parts[0][1] + parts[1][1], whole[1])
    for rank in (0, 1):
        assert torch.allclose(parts[rank][2], whole[2][rank::2], atol=1e-6)


def _spectral(nights: int = 3) -> tuple[Pretrained, SpectralWindows]:
    torch.manual_seed(0)
    made = [simulated_night(f"n{i}", f"s{i}", 60, seed=i) for i in range(nights)]
    inputs = SpectralInputs(3)
    inputs.set_statistics(
        *(torch.from_numpy(np.concatenate([getattr(n, k) for n in made])) for k in ("shape", "level", "mask"))
    )
    return Pretrained(SynthSleepNet(3, INPUTS, SMALL), None, inputs), SpectralWindows(made, inputs, 10)


def test_a_nights_tokens_are_the_same_step_by_step_and_know_no_future() -> None:
    module, _ = _spectral()
    assert module.spectral is not None
    night = simulated_night("x", "x", 40, seed=7)
    whole, mask = spectral_tokens(module.spectral, night)
    state = module.spectral.initial_state(1)
    for epoch in range(len(night)):
        shape, level, there = (torch.tensor(a[epoch])[None] for a in (night.shape, night.level, night.mask))
        token, state = module.spectral.step(shape, level, there, state)
        assert torch.allclose(token[0], whole[epoch], atol=1e-5)
    night.shape[30:], night.level[30:] = 5.0, 5.0
    assert torch.equal(spectral_tokens(module.spectral, night)[0][:30], whole[:30])
    assert not bool(whole[~mask].any())


def test_windows_are_somewhere_else_each_pass_and_the_same_again_for_a_seed() -> None:
    _, windows = _spectral()
    rows = range(len(windows))
    first, again, other = (windows.places(rows, _generator(seed)) for seed in (0, 0, 1))
    assert first == again != other
    assert all(0 <= place.start <= 50 for place in first)
    assert windows.inputs(first).shape == (18, 10, 3, INPUTS)
    assert windows.mask([Place(0, 0)]).tolist() == [[[True, False, True]] * 6 + [[True] * 3] * 4]


def test_training_is_repeatable_and_its_losses_fall() -> None:
    def run() -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        module, windows = _spectral()
        task = CrossModalTask(module, windows, CrossModalSettings(batch=6))
        return train(task, LoopSettings(passes=5, learning_rate=1e-2, warmup_steps=2)), module.state_dict()

    curves, weights = run()
    again, same = run()
    assert curves == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    for name in ("loss", "masked", "restored", "contrast"):
        assert curves[-1][name] < curves[0][name]


def test_what_was_never_recorded_changes_no_loss() -> None:
    module, windows = _spectral()

    class Damaged(SpectralWindows):
        def inputs(self, places: Sequence[Place]) -> Tensor:
            return super().inputs(places).masked_fill(~self.mask(places).unsqueeze(-1), 1e6)

    other = copy.copy(windows)
    other.__class__ = Damaged
    for index in range(3):
        found = [
            next(CrossModalTask(module, each, CrossModalSettings(batch=6)).losses(0, index, Share()))
            for each in (windows, other)
        ]
        assert {k: float(v.detach()) for k, v in found[0].items()} == {
            k: float(v.detach()) for k, v in found[1].items()
        }


def _framed() -> Pretrained:
    torch.manual_seed(0)
    encoder = ChannelEncoder(ChannelEncoderSettings(FRAME))
    encoders = ChannelEncoders([encoder, encoder], (True, False), LoraSettings())
    return Pretrained(SynthSleepNet(2, encoders.width, SMALL), encoders, None)


def test_lora_learns_and_the_frozen_encoder_stays_to_the_bit() -> None:
    module = _framed()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    task = CrossModalTask(module, WaveWindows(12), CrossModalSettings(batch=6, normalised_targets=True))
    curves = train(task, LoopSettings(passes=6, learning_rate=3e-3, warmup_steps=2))
    assert curves[-1]["loss"] < curves[0]["loss"]
    first = "encoders.channels.0."
    still = {name for name, value in module.state_dict().items() if torch.equal(value, before[name])}
    frozen = {name for name in before if name.startswith(first) and not name.endswith((".up", ".down"))}
    assert frozen <= still
    assert not {name for name in before if name.startswith(first)} - frozen & still
    assert f"{first}frames.head.0.up" not in still
    assert "encoders.channels.1.frames.stem.0.weight" not in still


def test_targets_stay_what_they_were_however_the_encoders_learn() -> None:
    """The bug was a target that learns: all tokens become one, and the prediction of it perfect."""
    module, windows = _framed(), WaveWindows(12)
    assert module.encoders is not None
    inputs = windows.inputs(windows.places([0, 1, 2], _generator()))
    before, tokens = module.targets(inputs), module.tokens(inputs).detach()
    assert torch.allclose(before, tokens, atol=1e-6)  # nothing has learned yet
    task = CrossModalTask(module, windows, CrossModalSettings(batch=6, normalised_targets=True))
    train(task, LoopSettings(passes=3, learning_rate=1e-2, warmup_steps=2))
    assert torch.equal(module.targets(inputs), before)
    learned = module.tokens(inputs).detach()
    assert all(float((learned[:, :, c] - tokens[:, :, c]).abs().max()) > 1e-3 for c in (0, 1))


@pytest.mark.parametrize("normalised", [True, False])
def test_the_losses_of_one_window_are_finite(normalised: bool) -> None:
    task = CrossModalTask(_framed(), WaveWindows(12), CrossModalSettings(batch=1, normalised_targets=normalised))
    losses = next(task.losses(0, 0, Share()))
    assert all(bool(value.isfinite()) for value in losses.values())
