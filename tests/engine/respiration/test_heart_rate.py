import copy
import math
from collections.abc import Collection

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.respiration.heart_rate import HeartEvidence, HeartRate, HeartRateState
from hypnostream.engine.written_state import read_state, write_state
from tests.engine.respiration.heart_cases import heart


def by_second(beats_s: NDArray[np.float64], seconds: int) -> list[list[float]]:
    of = np.floor(beats_s).astype(int)
    return [beats_s[of == second].tolist() for second in range(seconds)]


def each(evidence: HeartEvidence) -> list[HeartEvidence]:
    return [HeartEvidence(*values) for values in zip(*evidence, strict=True)]


def evidence(beats_s: NDArray[np.float64], seconds: int, bad: Collection[int] = ()) -> list[HeartEvidence]:
    rate = HeartRate()
    good = [second not in bad for second in range(seconds)]
    return each(rate.advance(rate.fresh(), by_second(beats_s, seconds), good))


def with_rate(bpm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Beats of a heart whose rate in each second is given."""
    phase = np.concatenate(([0.0], np.cumsum(bpm / 60)))
    return np.interp(np.arange(1, int(phase[-1])), phase, np.arange(len(phase)))


def test_rate_and_usual_interval_of_a_steady_heart() -> None:
    last = evidence(heart(400, 0.8, wander=0.02), 390)[-1]
    assert last.rate_bpm == pytest.approx(75, rel=0.02)
    assert last.usual_interval_s == pytest.approx(0.8, rel=0.02)
    assert last.rise == pytest.approx(0, abs=0.03)
    assert last.normal_share == 1.0


def test_nothing_is_known_before_the_first_intervals() -> None:
    first = evidence(np.zeros(0), 1)[0]
    assert all(math.isnan(v) for v in (first.rate_bpm, first.usual_interval_s, first.rise, first.cyclic_bpm))
    assert math.isnan(first.normal_share)


def test_the_heart_s_rise_is_seen_as_it_happens() -> None:
    bpm = np.where((np.arange(200) >= 150) & (np.arange(200) < 160), 78.0, 60.0)
    said = evidence(with_rate(bpm), 190)
    assert max(e.rise for e in said[60:150]) < 0.03
    assert max(e.rise for e in said[150:160]) > 0.2
    assert said[180].rise < 0.02


def test_cycles_of_a_minute_are_told_from_breathing_and_from_a_drift() -> None:
    t = np.arange(700)
    swing = {
        "apneas": 6 * np.sin(2 * np.pi * t / 45),
        "breathing": 6 * np.sin(2 * np.pi * t / 4),
        "drift": 6 * np.sin(2 * np.pi * t / 900),
    }
    last = {name: evidence(with_rate(65 + bpm), 690)[-1] for name, bpm in swing.items()}
    assert last["apneas"].cyclic_bpm == pytest.approx(6 / math.sqrt(2), rel=0.15)
    assert last["apneas"].cyclic_share > 0.8
    assert last["breathing"].cyclic_share < 0.2
    assert last["drift"].cyclic_share < 0.4


def test_an_early_beat_and_its_pause_do_not_change_the_rate() -> None:
    regular = np.arange(1.0, 399.0)
    early = regular.copy()
    early[20::20] -= 0.4
    said = evidence(early, 390)
    assert said[-1].usual_interval_s == pytest.approx(1.0)
    assert max(abs(e.rise) for e in said[60:]) < 1e-9
    assert 0.8 < said[-1].normal_share < 0.95


def test_a_heart_that_truly_changes_its_pace_is_followed_within_four_beats() -> None:
    beats = np.cumsum(np.concatenate((np.full(60, 1.0), np.full(60, 0.7))))
    said = evidence(beats, int(beats[-1]))
    assert said[68].rate_bpm > 80


def test_no_interval_spans_a_missing_second() -> None:
    beats = np.arange(0.5, 100.0)
    beats = np.delete(beats, np.flatnonzero((beats > 50) & (beats < 51)))
    said = evidence(beats, 99, bad={50})
    assert math.isnan(said[50].rate_bpm) or said[50].rate_bpm == pytest.approx(60)
    assert said[55].normal_share == 1.0  # an interval of 2 s would not be
    gone = evidence(beats[beats < 60], 90, bad=set(range(60, 90)))
    assert math.isnan(gone[66].rate_bpm)
    assert math.isnan(gone[89].rise)


def test_a_heart_that_is_not_heard_of_is_unknown_not_steady() -> None:
    said = evidence(np.arange(0.5, 60.0), 80)
    assert math.isnan(said[70].rate_bpm)


def test_a_device_s_own_intervals_are_believed_over_the_times_of_their_messages() -> None:
    rate = HeartRate()
    state = rate.fresh()
    rng = np.random.default_rng(0)
    for second in range(120):
        jittered = second + float(rng.uniform(0, 0.9))
        (last,) = each(rate.advance(state, [[jittered]], [True], intervals_s=[[1.0]]))
    assert last.rate_bpm == pytest.approx(60)
    assert last.normal_share == 1.0


def test_impossible_intervals_of_a_device_are_left_out() -> None:
    rate = HeartRate()
    state = rate.fresh()
    for second in range(120):
        odd = [math.nan, -1.0, 0.0, 1e9, math.inf][second % 5]
        (last,) = each(rate.advance(state, [[second + 0.2, second + 0.9]], [True], intervals_s=[[odd, 0.9]]))
    assert last.rate_bpm == pytest.approx(60 / 0.9)
    assert last.usual_interval_s == pytest.approx(0.9)
    with pytest.raises(ValueError, match="one a beat"):
        rate.advance(state, [[120.1, 120.6]], [True], intervals_s=[[0.5]])


@settings(deadline=None, max_examples=25)
@given(at=st.integers(0, 79), bad=st.sets(st.integers(0, 79), max_size=20), seed=st.integers(0, 3))
def test_a_snapshot_written_down_goes_on_as_if_nothing_had_happened(at: int, bad: set[int], seed: int) -> None:
    beats_s = by_second(heart(80, wander=0.3, seed=seed), 80)
    good = [second not in bad for second in range(80)]
    rate = HeartRate()
    state = rate.fresh()
    whole = np.array(rate.advance(state, beats_s, good))
    begun = rate.fresh()
    before = np.array(rate.advance(begun, beats_s[:at], good[:at])) if at else whole[:, :0]
    again = read_state(write_state(copy.deepcopy(begun)), HeartRateState)
    pieces = [HeartRate().advance(again, [beats_s[second]], [good[second]]) for second in range(at, 80)]
    assert np.array_equal(np.concatenate((before, *map(np.array, pieces)), axis=1), whole, equal_nan=True)
    assert write_state(again) == write_state(state)
