import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.respiration.beats import BeatDetector, BeatState
from hypnostream.engine.respiration.channels import ECG_HZ, RESPIRATION_CHANNELS
from hypnostream.engine.written_state import read_state, write_state
from hypnostream.stream.channels import OK
from hypnostream.training.recordings.wfdb import (
    BEATS,
    read_wfdb_annotations,
    read_wfdb_header,
    read_wfdb_signals,
)
from tests.engine.respiration.heart_cases import RATE_HZ, conditioned, ecg, heart, matched
from tests.stream.conditioning_cases import chunk, conditioner, joined

APNEA_ECG = Path(__file__).parents[3].parent / "shared" / "data" / "apnea_ecg"
LEARNT_S = 3.0


def found(seconds: NDArray[np.float32], good: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    detector = BeatDetector()
    state = detector.fresh()
    known = np.ones(len(seconds), bool) if good is None else good
    return np.array([beat_s for beats_s in detector.advance(state, seconds, known) for beat_s in beats_s])


def after(times: NDArray[np.float64], start_s: float) -> NDArray[np.float64]:
    return times[times > start_s]


def check(true_s: NDArray[np.float64], found_s: NDArray[np.float64], least: float = 1.0, late_s: float = 0.005) -> None:
    sensitivity, _, _ = matched(after(true_s, LEARNT_S), found_s)
    _, predictivity, late = matched(true_s, found_s)
    assert min(sensitivity, predictivity) >= least, (sensitivity, predictivity)
    assert np.abs(late).max() < late_s


@pytest.mark.skipif(not (APNEA_ECG / "a01.dat").is_file(), reason="../shared/data/apnea_ecg is not here")
def test_the_beats_of_a_real_night_are_found() -> None:
    # The reference beats are machine made (the set's own .qrs files), and mark a QRS 40 ms before its R peak.
    header = read_wfdb_header(APNEA_ECG / "a01.hea")
    (raw,) = read_wfdb_signals(header, 0, 1570816)
    samples = 1000 * np.nan_to_num(raw)[:, None].astype(np.float32)
    (spec,) = [each for each in RESPIRATION_CHANNELS if each.name == "ecg"]
    one = conditioner(100.0, [spec])
    blocks = one.push(chunk(samples, np.arange(len(samples)) / 100))
    _, (seconds,), quality = joined(blocks)
    beats = found(seconds.reshape(-1, ECG_HZ), quality[0] == OK)
    reference = np.array([b.time_s for b in read_wfdb_annotations(APNEA_ECG / "a01.qrs") if b.symbol in BEATS])
    reference = reference[(reference > LEARNT_S) & (reference < len(seconds) - 1)]
    sensitivity, predictivity, late = matched(reference, beats[(beats > LEARNT_S) & (beats < len(seconds) - 1)])
    assert len(reference) > 16000
    assert sensitivity >= 0.999
    assert predictivity >= 0.999
    assert np.std(late) < 0.005


@pytest.mark.parametrize("beats_a_minute", [30, 45, 70, 120, 180])
def test_every_beat_is_found_within_a_sample_at_any_rate(beats_a_minute: int) -> None:
    true_s = heart(120, 60 / beats_a_minute, wander=0.03)
    check(true_s, found(conditioned(ecg(true_s, 120))), late_s=1 / RATE_HZ)


def test_the_time_of_a_beat_is_better_than_a_sample() -> None:
    true_s = heart(200)
    _, _, late = matched(after(true_s, LEARNT_S), after(found(conditioned(ecg(true_s, 200))), LEARNT_S))
    assert np.std(late) < 0.1 / RATE_HZ


def test_a_swapped_cable_does_not_move_the_beats() -> None:
    signal = ecg(heart(120), 120)
    np.testing.assert_allclose(found(conditioned(signal)), found(conditioned(-signal)), atol=1e-3)
    turned = np.where(np.arange(len(signal)) < len(signal) // 2, signal, -signal)
    check(heart(120), found(conditioned(turned)), late_s=0.04)  # a beat or two are timed at the other wave


@pytest.mark.parametrize(
    ("noise_uv", "least"), [(100.0, 1.0), (200.0, 0.99)], ids=["0.1 mV rms of noise", "0.2 mV rms of noise"]
)
def test_beats_are_found_in_noise(noise_uv: float, least: float) -> None:
    true_s = heart(300)
    check(true_s, found(conditioned(ecg(true_s, 300, noise_uv))), least, late_s=0.03)


def test_wander_and_mains_are_no_beats() -> None:
    true_s = heart(120)
    t = np.arange(120 * RATE_HZ) / RATE_HZ
    check(true_s, found(conditioned(ecg(true_s, 120) + 800 * np.sin(2 * np.pi * 0.25 * t))))
    check(true_s, found(conditioned(ecg(true_s, 120) + 100 * np.sin(2 * np.pi * 50 * t))), late_s=0.01)


def test_another_gain_loses_one_beat_at_most() -> None:
    true_s = heart(200)
    signal = ecg(true_s, 200)
    for gain in (0.1, 0.25, 4.0):
        check(true_s, found(conditioned(signal * np.where(np.arange(len(signal)) < len(signal) // 2, 1.0, gain))), 0.99)


def test_ectopic_beats_are_beats() -> None:
    regular = np.arange(1.0, 199.0)
    early = regular[10::15] - 0.45
    regular = np.delete(regular, np.arange(10, len(regular), 15))
    check(np.sort(np.concatenate((regular, early))), found(conditioned(ecg(regular, 200, ectopic_s=early))), 1.0, 0.02)


def test_a_lead_that_is_off_has_few_beats_whatever_it_picks_up() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(600 * RATE_HZ) / RATE_HZ
    for signal, most in (
        (rng.standard_normal(len(t)), 0),
        (100 * rng.standard_normal(len(t)), 30),
        (300 * np.sin(2 * np.pi * 50 * t) + 5 * rng.standard_normal(len(t)), 0),
    ):
        assert len(found(conditioned(signal))) <= most


def test_a_missing_second_leaves_a_gap_and_never_a_beat() -> None:
    true_s = heart(200)
    seconds = conditioned(ecg(true_s, 200) + 5000)
    good = np.ones(200, np.bool_)
    good[[40, 60, 61, 62, 80, 82, 84]] = False
    good[100:130] = False
    seconds[~good] = 0
    beats = found(seconds, good)
    missing = np.flatnonzero(~good)
    assert not np.isin(np.floor(beats).astype(int), missing).any()
    _, predictivity, _ = matched(true_s, beats, within_s=0.005)
    assert predictivity == 1.0
    clear = [t for t in after(true_s, LEARNT_S) if good[max(int(t) - 3, 0) : int(t + 0.6) + 1].all()]
    sensitivity, _, _ = matched(np.array(clear), beats)
    assert sensitivity == 1.0


def test_a_beat_is_known_half_a_second_later_and_stays() -> None:
    detector, true_s = BeatDetector(), heart(100)
    state = detector.fresh()
    known: list[float] = []
    for number, second in enumerate(conditioned(ecg(true_s, 100))):
        for beat_s in detector.advance(state, second[None], np.array([True]))[0]:
            assert beat_s > number + 1 - 1.5, "it was due a second ago"
            assert not known or beat_s > known[-1] + 0.2
            known.append(beat_s)
        due = true_s[(true_s > LEARNT_S) & (true_s < number + 1 - 0.5)]
        assert len(due) == len(after(np.array(known), LEARNT_S)[: len(due)])


def test_what_comes_later_does_not_change_a_beat() -> None:
    signal = ecg(heart(60), 60)
    other = signal.copy()
    other[40 * RATE_HZ :] = 3000 * np.random.default_rng(1).standard_normal(20 * RATE_HZ)
    a, b = found(conditioned(signal)), found(conditioned(other))
    np.testing.assert_array_equal(a[a < 39.4], b[b < 39.4])


@settings(deadline=None, max_examples=20)
@given(at=st.integers(0, 39), bad=st.sets(st.integers(0, 39), max_size=12), gain=st.sampled_from([0.0, 1.0, 30.0]))
def test_a_snapshot_written_down_goes_on_as_if_nothing_had_happened(at: int, bad: set[int], gain: float) -> None:
    seconds = conditioned(ecg(heart(40), 40, noise_uv=10 * gain))
    detector = BeatDetector()
    state = detector.fresh()
    whole: list[list[float]] = []
    copies: list[BeatState] = []
    for number, second in enumerate(seconds):
        copies.append(copy.deepcopy(state))
        whole += detector.advance(state, second[None], np.array([number not in bad]))
    at_once, good = detector.fresh(), np.array([number not in bad for number in range(len(seconds))])
    assert detector.advance(at_once, seconds, good) == whole
    assert write_state(at_once) == write_state(state)
    again = read_state(write_state(copies[at]), BeatState)
    for number in range(at, len(seconds)):
        assert BeatDetector().advance(again, seconds[number][None], np.array([number not in bad])) == [whole[number]]
    assert write_state(again) == write_state(state)


def test_a_second_of_another_rate_is_refused() -> None:
    detector = BeatDetector()
    with pytest.raises(ValueError, match="200"):
        detector.advance(detector.fresh(), np.zeros((1, 100), np.float32), np.array([True]))
