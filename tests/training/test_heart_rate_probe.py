"""The heart's rate is counted right, and what a probe finds of it is in the tokens of people that it never met."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypnostream.models.frame_network import FrameEncoder
from hypnostream.training.nights.scaled_frames import ScaledFrames, frames_of_kind
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.pretraining.heart_rate_probe import beats_per_minute, heart_rate_probe
from hypnostream.training.pretraining.neuronet_run import probes_of
from tests.models.test_neuronet import SMALL


def _ecg(rates: NDArray[np.float64], seed: int = 0, sign: float = 1.0) -> NDArray[np.float32]:
    """An epoch of each rate, (N, 3000): sharp beats that come a little early or late, waves between, and noise."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(3000) / 100
    epochs = []
    for rate in rates:
        beats = np.cumsum(60 / rate * (1 + 0.03 * rng.standard_normal(int(rate / 2) + 4)))
        after = time_s[:, None] - beats
        waves = np.exp(-0.5 * (after / 0.012) ** 2) + 0.3 * np.exp(-0.5 * ((after - 0.28) / 0.05) ** 2)
        epochs.append(sign * waves.sum(1) + 0.02 * rng.standard_normal(3000))
    return np.stack(epochs).astype(np.float32)


def _source(seed: int, kind: str = "ecg") -> ScaledFrames:
    rates = np.random.default_rng(100 + seed).uniform(50, 90, 30)
    signal = _ecg(rates, seed).reshape(-1, 1, 100)
    stage = (np.arange(30) % 2 * 3).astype(np.int8)
    night = SignalNight(
        f"n{seed}", f"p{seed}", "made", "none", (kind,), (kind,), signal, np.ones((900, 1), bool), stage
    )
    (found,) = frames_of_kind([night], kind)
    return found


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_beats_are_counted_whichever_way_they_point(sign: float) -> None:
    rates = np.array([45.0, 60.0, 75.0, 100.0, 150.0])
    assert np.allclose(beats_per_minute(_ecg(rates, sign=sign)), rates, rtol=0.04)


def test_nothing_recorded_has_some_rate_and_no_error() -> None:
    assert np.isfinite(beats_per_minute(np.zeros((2, 3000), np.float32))).all()


class _Silent(FrameEncoder):
    """Says the same of every frame."""

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*frames.shape[:-1], self.width)


def test_tokens_that_know_nothing_explain_nothing_and_those_of_the_beats_something() -> None:
    fitted, tested = [_source(seed) for seed in range(4)], [_source(9)]
    nothing = heart_rate_probe(_Silent(SMALL.frame), fitted, tested)
    assert nothing.rate_r2 < 0.05
    assert abs(nothing.rate_correlation_within) < 1e-6
    torch.manual_seed(0)
    found = heart_rate_probe(FrameEncoder(SMALL.frame), fitted, tested)
    assert found.rate_r2 > 0.1
    assert found.rate_correlation_within > 0.3
    assert (found.epochs, found.subjects) == (30, 1)


def test_the_rate_is_asked_of_ecg_alone() -> None:
    torch.manual_seed(0)
    encoder = FrameEncoder(SMALL.frame)
    for kind, asked in (("ecg", True), ("eeg", False)):
        found = probes_of(encoder, [_source(0, kind), _source(1, kind)], [_source(2, kind)])
        assert ("heart rate of held-out people" in found) is asked
