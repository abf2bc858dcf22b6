"""When the reader looks for samples, played through on a clock of numbers."""

import math

import numpy as np
import pytest

from hypnostream.bridges.lsl_lookout import Lookout, Pace


def play(
    delay_s: float, chunk: int, seconds: int = 60, jitter_s: float = 0.0, seed: int = 0, thrifty: bool = False
) -> tuple[list[float], float]:
    """A stream of 256 Hz whose chunks come `delay_s` after their last sample. Returns how long after its arrival each
    completing sample was seen, and how many looks a second it took; both from 20 s on. `thrifty`: samples are taken
    only when they are wanted, and it is the takings that are counted."""
    rng, rate_hz, lookout = np.random.default_rng(seed), 256.0, Lookout(100.0)
    last = np.arange(chunk - 1, seconds * 256, chunk)
    arrivals_s = 100.0 + last / rate_hz + delay_s + jitter_s * rng.random(len(last))
    now_s, taken, looks, late_s = 100.0, 0, 0, []
    while now_s < 100.0 + seconds - 1:
        due = lookout.due(now_s)
        if due is None or due:
            came = int(np.searchsorted(arrivals_s, now_s, side="right"))
            if thrifty and not lookout.wants("eeg", (came - taken) * chunk, now_s):
                came = taken
            looks += now_s > 120.0 and (not thrifty or came > taken)
            newest_s = 100.0 + last[came - 1] / rate_hz if came > taken else None
            if lookout.looked("eeg", now_s, newest_s, rate_hz) and now_s > 120.0 and newest_s is not None:
                second = math.floor(newest_s - 100.0 + 1.02 / rate_hz)
                completing = int(np.searchsorted(last, second * 256 - 1))
                late_s.append(now_s - arrivals_s[completing])
            taken = came
        now_s += max(lookout.wait_s(now_s), 1e-4)
    return late_s, looks / (seconds - 21)


@pytest.mark.parametrize("chunk", [1, 8, 32, 50])
@pytest.mark.parametrize("delay_s", [0.0005, 0.03, 0.2])
def test_the_sample_that_completes_a_second_is_seen_at_once_by_few_looks(chunk: int, delay_s: float) -> None:
    late_s, looks = play(delay_s, chunk)
    assert len(late_s) >= 36
    assert np.median(late_s) < 0.005
    assert looks < 80  # looking every 3 ms would take 333


@pytest.mark.parametrize("chunk", [1, 8, 32, 50])
def test_samples_are_taken_once_a_second_and_no_later_for_it(chunk: int) -> None:
    late_s, takings = play(0.03, chunk, thrifty=True)
    assert len(late_s) >= 36
    assert np.median(late_s) < 0.005
    assert takings < 1.1


def test_who_sends_fewer_samples_than_it_declares_is_taken_from_all_the_same() -> None:
    lookout, taken = Lookout(0.0), list[float]()
    lookout.looked("eeg", 0.0, 0.0, 256.0)
    for now_s in np.arange(0.0, 20.0, 0.01).tolist():
        waiting = int((now_s - (taken[-1] if taken else 0.0)) * 100)
        if lookout.wants("eeg", waiting, now_s):
            taken.append(now_s)
            lookout.looked("eeg", now_s, now_s, 256.0)
    assert np.diff(taken).max() < 1.6


def test_chunks_that_come_at_any_time_are_still_seen_soon() -> None:
    late_s, looks = play(0.01, 8, jitter_s=0.04)
    assert np.median(late_s) < 0.005
    assert looks < 60


def test_nothing_is_awaited_from_who_fell_silent() -> None:
    lookout = Lookout(0.0)
    assert lookout.due(0.5) is None
    lookout.looked("eeg", 0.5, 0.49, 256.0)
    looks = 0
    now_s = 0.5
    while now_s < 20.0:
        looks += lookout.due(now_s) != []
        now_s += max(lookout.wait_s(now_s), 1e-4)
    assert looks < 20.0 / Pace().coarse_s + 400  # two seconds of windows, then few looks a second


def test_before_seconds_are_known_one_looks_often() -> None:
    lookout = Lookout()
    assert lookout.due(1.0) is None
    assert lookout.due(1.001) is None
    assert lookout.wait_s(1.0) == Pace().often_s
    lookout.expect(0.0)
    assert lookout.due(1.3) is None
    assert lookout.due(1.301) == []
    assert lookout.wait_s(1.301) == pytest.approx(Pace().coarse_s - 0.001)


def test_irregular_streams_await_nothing() -> None:
    lookout = Lookout(0.0)
    assert not lookout.looked("buttons", 1.0, 0.9, 0.0)
    assert not lookout.looked("buttons", 3.0, 2.9, 0.0)
    assert lookout.due(3.0) is None
    assert lookout.due(3.01) == []
