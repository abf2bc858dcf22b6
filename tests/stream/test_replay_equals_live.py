"""Conditioners and grid together: what a session is given does not depend on how the night was handed over."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.stream.channels import MISSING, OK, Derivation, Term
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.grid import Grid
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from tests.stream.conditioning_cases import brain, joined, spec

SPECS = (
    spec("eeg", highpass_hz=0.3, lowpass_hz=35.0),
    spec("emg", "emg", highpass_hz=10.0),
    spec("flow", "flow", 10),
    spec("spo2", "spo2", 1, "%"),
)
# Stream, rate, spec, when its sensor falls off and comes back.
STREAMS = (
    ("head", 256.0, 0, 1000.0, 1000.0),
    ("chin", 200.0, 1, 70.1, 131.61),
    ("nose", 25.0, 2, 40.02, 40.5),
    ("finger", 1.0, 3, 100.0, 117.0),
)
END_S = 240


def _streams() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float32]]]:
    recorded = {}
    for seed, (name, rate_hz, _, off_s, on_s) in enumerate(STREAMS):
        stamps = np.arange(int(END_S * rate_hz)) / rate_hz
        there = (stamps < off_s) | (stamps >= on_s)
        signal = brain(len(stamps), seed=seed)
        recorded[name] = stamps[there], (90 + 0.05 * signal if name == "finger" else signal)[there]
    return recorded


def _played(step_s: float) -> list[Seconds]:
    """The night in steps of `step_s`, each stream's samples up to the same stream time."""
    conditioners = {
        name: StreamConditioner(
            StreamInfo(name, rate_hz, (ChannelInfo(name),)),
            [Derivation(SPECS[index], name, (Term(0, 1.0),), name, "")],
            [index],
            0.0,
        )
        for name, rate_hz, index, _, _ in STREAMS
    }
    grid = Grid(SPECS, 0.0, {name: [index] for name, _, index, _, _ in STREAMS})
    recorded = _streams()
    blocks: list[Seconds] = []
    for step in range(round(END_S / step_s)):
        now_s = (step + 1) * step_s
        for name, (stamps, samples) in recorded.items():
            rows = slice(*np.searchsorted(stamps, [step * step_s, now_s]))
            for seconds in conditioners[name].push(Chunk(name, samples[rows], stamps[rows])):
                grid.push(seconds)
        due = grid.due(now_s)
        for conditioner in conditioners.values():
            for seconds in conditioner.flush(due, incomplete=False):
                grid.push(seconds)
        blocks += grid.advance(now_s)
    for conditioner in conditioners.values():
        for seconds in conditioner.flush(END_S):
            grid.push(seconds)
    assert grid.late_seconds.tolist() == [0, 0, 0, 0]
    return blocks + grid.finish(END_S)


@pytest.mark.parametrize("step_s", [0.25, 1.0, 30.0])
def test_a_night_in_small_steps_is_the_night_in_one_piece(step_s: float) -> None:
    numbers, samples, quality = joined(_played(step_s))
    _, expected, expected_quality = joined(_played(float(END_S)))
    assert numbers == list(range(END_S))
    np.testing.assert_array_equal(quality, expected_quality)
    for got, wanted in zip(samples, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_only_the_seconds_without_a_sensor_are_missing() -> None:
    _, _, quality = joined(_played(1.0))
    lost = {name: np.flatnonzero(quality[index] == MISSING).tolist() for name, _, index, _, _ in STREAMS}
    assert lost == {"head": [], "chin": list(range(70, 132)), "nose": [40], "finger": list(range(100, 117))}
    assert ((quality == OK) | (quality == MISSING)).all()
