from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.stream.sender_clock import SenderClock

RATE_HZ = 256.0
N = 16


@dataclass
class Sender:
    """Chunks of 16 samples; its clock is `local = clock + offset` with a drift; probed every `probe_s`."""

    offset_s: float = 5000.0
    drift: float = 0.0
    latency_s: float = 0.02
    probe_s: float = 3.0
    uncertainty_s: float = 0.0005
    probed: Callable[[float], float] | None = None  # what a probe says instead of the truth
    seed: int = 0

    def clock_s(self, local_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return (local_s - self.offset_s) * (1 + self.drift)

    def play(
        self,
        clock: SenderClock,
        from_s: float,
        until_s: float,
        stamp: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
        arrive: Callable[[float], float] = lambda local_s: local_s,
    ) -> Iterator[tuple[float, NDArray[np.float64], NDArray[np.float64]]]:
        """(arrival, true local times, corrected stamps) of each chunk of samples taken from `from_s` to `until_s`."""
        rng = np.random.default_rng(self.seed)
        next_probe_s = from_s
        for first in range(round(from_s * RATE_HZ), round(until_s * RATE_HZ), N):
            local = (first + np.arange(N)) / RATE_HZ
            while next_probe_s <= local[-1]:
                error = rng.uniform(-0.5, 0.5) * self.uncertainty_s
                exact = self.offset_s - self.drift * (next_probe_s - self.offset_s)
                said = self.probed(next_probe_s) if self.probed else exact + error
                clock.probe(next_probe_s, said, self.uncertainty_s)
                next_probe_s += self.probe_s
            arrival_s = arrive(local[-1]) + self.latency_s + rng.uniform(0, 0.005)
            raw = self.clock_s(local) if stamp is None else stamp(local)
            yield arrival_s, local, clock.correct(raw, arrival_s)


def _errors(chunks: Iterator[tuple[float, NDArray[np.float64], NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Corrected minus true, (n,)."""
    return np.concatenate([corrected - local for _, local, corrected in chunks])


@pytest.mark.parametrize("drift", [0.0, 200e-6, -200e-6])
@pytest.mark.parametrize("uncertainty_s", [0.0003, 0.01])
def test_the_offset_follows_drift_without_steps(drift: float, uncertainty_s: float) -> None:
    clock = SenderClock(RATE_HZ)
    chunks = list(Sender(drift=drift, uncertainty_s=uncertainty_s).play(clock, 10_000.0, 10_400.0))
    errors = np.concatenate([corrected - local for _, local, corrected in chunks])
    settled = errors[int(60 * RATE_HZ) :]
    assert np.abs(settled).max() < max(0.0005, 0.6 * uncertainty_s)
    # From sample to sample the stamps never step by more than a twentieth of a sample, between chunks or within.
    assert np.abs(np.diff(errors)).max() < 0.05 / RATE_HZ
    assert not clock.take_jumps()
    assert not clock.take_notes()
    assert clock.uncertainty_s < uncertainty_s


def test_single_probes_that_are_far_off_move_nothing() -> None:
    clock = SenderClock(RATE_HZ)
    wild = np.random.default_rng(1)

    def probed(local_s: float) -> float:
        return 5000.0 + (float(wild.choice([-2e5, 0.3, 2e5])) if round(local_s) % 15 == 0 and local_s > 20 else 0.0)

    errors = _errors(Sender(probed=probed).play(clock, 6.0, 300.0))
    assert np.abs(errors).max() < 1e-3
    assert clock.take_jumps() == []


@pytest.mark.parametrize("gap_s", [0.4, 5.0, 300.0])
def test_a_true_gap_is_no_jump(gap_s: float) -> None:
    clock, sender = SenderClock(RATE_HZ), Sender(drift=100e-6)
    _errors(sender.play(clock, 100.0, 160.0))
    assert np.abs(_errors(sender.play(clock, 160.0 + gap_s, 220.0 + gap_s))).max() < 1e-3
    assert clock.take_jumps() == []


@pytest.mark.parametrize("stall_s", [0.6, 3.0, 40.0])
def test_a_network_that_stalls_and_delivers_late_is_no_jump(stall_s: float) -> None:
    clock, sender = SenderClock(RATE_HZ), Sender()
    _errors(sender.play(clock, 100.0, 160.0))
    errors = _errors(sender.play(clock, 160.0, 160.0 + stall_s, arrive=lambda _: 160.0 + stall_s))
    assert np.abs(errors).max() < 1e-3
    # While it caught up some of it was lost, which is a gap within late samples.
    assert np.abs(_errors(sender.play(clock, 161.0 + stall_s, 200.0 + stall_s))).max() < 1e-3
    assert clock.take_jumps() == []


def test_a_sender_that_starts_late_or_hands_over_what_it_had_is_believed() -> None:
    for arrival_s in (1000.0, 1005.0):
        clock = SenderClock(RATE_HZ)
        clock.probe(999.0, 300.0, 0.001)
        stamps = 700.0 - np.arange(256)[::-1] / RATE_HZ
        np.testing.assert_allclose(clock.correct(stamps, arrival_s), stamps + 300.0, atol=1e-9)
        assert not clock.take_jumps()
    assert not clock.take_notes()


@pytest.mark.parametrize("probes_see_it", [True, False])
@pytest.mark.parametrize("jump_s", [3600.0, 0.5, -1.5, -40.0, -7200.0, 1e6])
def test_a_clock_that_is_set_is_recognised_and_the_stamps_go_on(jump_s: float, probes_see_it: bool) -> None:
    clock = SenderClock(RATE_HZ)
    before, after = Sender(), Sender(offset_s=5000.0 - jump_s)
    _errors(before.play(clock, 6000.0, 6060.0))
    if not probes_see_it:
        after.probed = lambda _: 5000.0
    chunks = list(after.play(clock, 6060.0, 6180.0))
    errors = np.concatenate([corrected - local for _, local, corrected in chunks])
    assert np.abs(errors).max() < 2e-3
    assert clock.take_jumps() == [pytest.approx(jump_s, abs=0.01)]
    assert clock.take_jumps() == []


def test_a_jump_within_a_chunk_is_found_where_it_is() -> None:
    clock, sender = SenderClock(RATE_HZ), Sender()
    _errors(sender.play(clock, 100.0, 130.0))
    local = 130.0 + np.arange(256) / RATE_HZ
    raw = sender.clock_s(local)
    raw[100:] -= 500.0
    np.testing.assert_allclose(clock.correct(raw, 131.02), local, atol=2e-3)
    assert clock.take_jumps() == [pytest.approx(-500.0, abs=0.01)]


def test_a_small_jump_that_only_the_probes_see_is_mended_by_them() -> None:
    clock = SenderClock(RATE_HZ)
    _errors(Sender().play(clock, 100.0, 160.0))
    errors = _errors(Sender(offset_s=5000.3).play(clock, 160.0, 220.0))
    assert np.abs(errors[: int(5 * RATE_HZ)]).max() == pytest.approx(0.3, abs=2e-3)
    assert np.abs(errors[int(10 * RATE_HZ) :]).max() < 2e-3
    assert clock.take_jumps() == [pytest.approx(-0.3, abs=2e-3)]


@pytest.mark.parametrize(
    "stamp",
    [lambda local: local - 5_000.0, lambda local: local + 1.7e9, lambda local: (local - 8000.0) * (1 + 100e-6)],
    ids=["device time from 0", "wall time", "device time that drifts"],
)
def test_stamps_that_are_not_on_the_probed_clock_are_taken_by_their_arrival(
    stamp: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    clock = SenderClock(RATE_HZ)
    errors = _errors(Sender(offset_s=0.1).play(clock, 10_000.0, 10_450.0, stamp))
    # Late by what the quickest chunks take on their way, which nothing can tell, and without drift.
    assert -0.005 < errors.min() < errors.max() < 0.035
    assert len(clock.take_notes()) == 1
    assert clock.take_jumps() == []
    assert clock.uncertainty_s > 0.01


@pytest.mark.parametrize("insane_s", [2e5, -2e5])
def test_insane_offsets_are_not_believed_and_given_up_for_sane_ones(insane_s: float) -> None:
    clock = SenderClock(RATE_HZ)
    sender = Sender(probed=lambda local_s: 5000.0 + (insane_s if local_s < 10_060 else 0.0))
    errors = _errors(sender.play(clock, 10_000.0, 10_180.0))
    assert np.abs(errors).max() < 0.03
    assert np.abs(errors[-1000:]).max() < 1e-3
    assert len(clock.take_notes()) == 2


def test_insane_offsets_later_on_are_not_believed_against_the_arrival() -> None:
    clock = SenderClock(RATE_HZ)
    sender = Sender(probed=lambda local_s: 5000.0 + (2e5 if 6060 < local_s < 6120 else 0.0))
    assert np.abs(_errors(sender.play(clock, 6000.0, 6240.0))).max() < 0.01
    assert clock.take_jumps() == []


def test_repeated_samples_stay_equal_and_what_is_no_number_stays_so() -> None:
    clock, sender = SenderClock(RATE_HZ), Sender(drift=200e-6)
    _errors(sender.play(clock, 100.0, 130.0))
    raw = sender.clock_s(130.0 + np.arange(32) / RATE_HZ)
    first = clock.correct(raw, 130.15)
    np.testing.assert_array_equal(clock.correct(raw, 130.4), first)
    raw[3], raw[7] = np.nan, np.inf
    assert np.isnan(clock.correct(raw, 130.5)).sum() == 2
    assert clock.correct(np.zeros(0), 130.6).tolist() == []


def test_without_a_probe_stamps_that_can_be_are_left_alone() -> None:
    clock = SenderClock(RATE_HZ)
    stamps = 50.0 + np.arange(10) / RATE_HZ
    np.testing.assert_array_equal(clock.correct(stamps, 50.1), stamps)
    assert clock.uncertainty_s == np.inf


def test_an_irregular_sender_is_corrected_too() -> None:
    clock = SenderClock(0.0)
    clock.probe(99.0, 40.0, 0.001)
    for at_s in (100.0, 103.0, 161.5):
        assert clock.correct(np.array([at_s - 40.0]), at_s + 0.01)[0] == pytest.approx(at_s, abs=1e-6)
    assert clock.correct(np.array([30.0]), 162.0)[0] == pytest.approx(162.0, abs=0.05)
    assert len(clock.take_jumps()) == 1
