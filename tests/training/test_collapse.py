"""Pretraining does not come to say the same of everything, and a run says so when it does."""

import pytest
import torch

from hypnostream.models.channel_encoder import ChannelEncoder, ChannelEncoders, ChannelEncoderSettings
from hypnostream.models.frame_network import FrameEncoder, FrameSettings
from hypnostream.models.synthsleepnet import SynthSleepNet, SynthSleepNetSettings
from hypnostream.training.pretraining.collapse import collapse_line, collapse_of, collapsed
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings, CrossModalTask, Pretrained
from hypnostream.training.pretraining.pretrain_synthsleepnet import of_signals
from hypnostream.training.pretraining.standardised import standardise
from hypnostream.training.running.loop import LoopSettings, train
from tests.training.test_synthsleepnet_run import SMALL, _signal_night
from tests.training.wave_windows import WaveWindows

FRAME = FrameSettings(4, (4, 4, 8), (2, 2, 2), squeeze=2, hidden=16, width=12)
MODEL = SynthSleepNetSettings(16, 4, 1, 1, 8, 1, 2, (16, 8))


def _pretrained(standardised: bool) -> tuple[dict[str, float], dict[str, float]]:
    """What the fused tokens are before and after."""
    torch.manual_seed(0)
    windows = WaveWindows(24, fading=True)
    places = windows.places(range(24), torch.Generator())
    inputs, mask = windows.inputs(places), windows.mask(places).float()
    encoder = ChannelEncoder(ChannelEncoderSettings(FRAME))
    if standardised:
        standardise(encoder.frames, inputs.reshape(-1, 400))
    encoders = ChannelEncoders([encoder, encoder], (False, False))
    module = Pretrained(SynthSleepNet(2, encoders.width, MODEL), encoders, None)
    before = collapse_of(module.encode(inputs, mask).flatten(0, 1).detach())
    task = CrossModalTask(module, windows, CrossModalSettings(batch=24, contrast=0.1))
    train(task, LoopSettings(passes=40, learning_rate=5e-3, warmup_steps=5))
    return before, collapse_of(module.encode(inputs, mask).flatten(0, 1).detach())


@pytest.mark.slow
def test_fused_tokens_differ_more_after_pretraining_than_before() -> None:
    before, after = _pretrained(standardised=True)
    assert not collapsed(after)
    assert after["variance"] > before["variance"]
    assert after["effective_rank"] > before["effective_rank"] / 2


@pytest.mark.slow
def test_tokens_that_are_nearly_one_and_the_same_collapse_and_that_is_seen() -> None:
    """The bug: small differences around a large common token, and the common part was all that was learned."""
    before, after = _pretrained(standardised=False)
    assert not collapsed(before)
    assert collapsed(after)


def test_step_2_begins_with_standardised_tokens_of_every_channel_pretrained_or_not() -> None:
    torch.manual_seed(3)
    given = ChannelEncoder(SMALL.encoder)
    module, windows = of_signals(SMALL, [_signal_night(seed) for seed in range(2)], {"eeg": given})
    places = windows.places(range(len(windows)), torch.Generator())
    inputs, mask = windows.inputs(places), windows.mask(places)
    for tokens in (module.eval().tokens(inputs), module.targets(inputs)):
        for channel in range(2):
            there = tokens[:, :, channel][mask[:, :, channel]]
            assert there.mean(0).abs().max() < 0.1
            assert there.std(0).min() > 0.9
            assert there.std(0).max() < 1.1


def test_standardising_changes_what_a_token_is_measured_in_and_nothing_else() -> None:
    torch.manual_seed(0)
    encoder, frames = FrameEncoder(FRAME), torch.randn(300, 400) * torch.linspace(0.1, 3, 300)[:, None]
    before = encoder(frames).detach()
    standardise(encoder, frames)
    after = encoder(frames).detach()
    expected = (before - before.mean(0)) / before.std(0, correction=0)
    assert torch.allclose(after, expected, atol=1e-3)
    standardise(encoder, frames[:1])
    assert torch.equal(encoder(frames), after)


def test_a_dimension_that_never_changes_is_left_finite() -> None:
    torch.manual_seed(0)
    encoder = FrameEncoder(FRAME)
    standardise(encoder, torch.zeros(5, 400))
    assert all(bool(value.isfinite().all()) for value in encoder.state_dict().values())


@pytest.mark.parametrize(("rank", "variance", "told"), [(30.0, 0.5, False), (1.5, 0.5, True), (30.0, 1e-3, True)])
def test_a_collapse_is_told_by_rank_and_by_variance(rank: float, variance: float, told: bool) -> None:
    found = {"effective_rank": rank, "variance": variance}
    assert collapsed(found) is told
    line = collapse_line({"untrained": {"effective_rank": 60.0, "variance": 0.25}, "trained": found})
    assert "untrained: effective rank 60.0, variance 0.250" in line
    assert ("collapsed" in line) is told
