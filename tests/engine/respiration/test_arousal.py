import copy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.respiration.arousal import RULE, ArousalDetector, ArousalEvidence, ArousalState
from hypnostream.engine.respiration.event import AROUSAL, Event
from hypnostream.engine.written_state import read_state, write_state
from hypnostream.stream.stages import STAGES
from tests.stream.conditioning_cases import chunk, conditioner, joined, spec

UCDDB = Path(__file__).parents[3].parent / "shared" / "data" / "ucddb_c3a2"
WAKE, N2, REM, UNKNOWN = STAGES.index("W"), STAGES.index("N2"), STAGES.index("R"), -1
Night = NDArray[np.float32]


def sleep(seconds: int, seed: int = 0) -> NDArray[np.float64]:
    """(seconds * 100,) µV: slow waves over a background that falls with frequency."""
    rng = np.random.default_rng(seed)
    hz = np.fft.rfftfreq(seconds * 100, 0.01)
    spectrum = rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz))
    shape = 1 / np.maximum(hz, 0.5) + 3 * np.exp(-0.5 * ((hz - 1.2) / 0.5) ** 2)
    signal = np.fft.irfft(spectrum * shape)
    return np.asarray(20 * signal / signal.std())


def faster(seconds: int, start_s: float, length_s: float, hz: float = 22.0, height_uv: float = 12.0) -> Night:
    """Sleep in which the slow gives way to `hz` from `start_s`, for `length_s`."""
    signal = sleep(seconds)
    t = np.arange(len(signal)) / 100
    inside = (t >= start_s) & (t < start_s + length_s)
    signal[inside] = 0.5 * signal[inside] + height_uv * np.sin(2 * np.pi * hz * t[inside])
    return seconds_of(signal)


def seconds_of(signal: NDArray[np.float64]) -> Night:
    return signal.reshape(-1, 100).astype(np.float32)


def run(
    eeg: Night, stage: int | NDArray[np.int8] = N2, bad: frozenset[int] = frozenset(), emg: Night | None = None
) -> tuple[list[ArousalEvidence], list[Event]]:
    detector = ArousalDetector(signals=("eeg_frontal",))
    state = detector.fresh()
    evidence: list[ArousalEvidence] = []
    events: list[Event] = []
    stages = np.broadcast_to(np.asarray(stage), len(eeg))
    for second in range(len(eeg)):
        chin = None if emg is None else emg[second]
        one, said = detector.advance(state, None if second in bad else eeg[second], int(stages[second]), chin)
        evidence.append(one)
        events += said
    return evidence, events


def test_a_shift_of_five_seconds_is_an_arousal_said_after_three_of_them() -> None:
    evidence, (first, last) = run(faster(90, 60.0, 5.0))
    assert (first.kind, first.status, first.start_s, first.end_s) == (AROUSAL, "preliminary", 60.0, None)
    assert (last.status, last.start_s) == ("final", 60.0)
    assert last.end_s == pytest.approx(65, abs=1)
    assert last.event_id == first.event_id
    assert (first.revision, last.revision) == (0, 1)
    assert last.rule == RULE
    assert "ours" in last.rule
    assert 0 < last.confidence <= 0.6
    assert [e.second for e in evidence if e.confidence > 0][:3] == [62, 63, 64]


@pytest.mark.parametrize(("hz", "height_uv"), [(9.5, 40.0), (20.0, 12.0), (28.0, 12.0)])
def test_alpha_and_what_is_faster_than_a_spindle_count(hz: float, height_uv: float) -> None:
    assert len(run(faster(90, 60.0, 6.0, hz, height_uv))[1]) == 2


@pytest.mark.parametrize(
    ("hz", "length_s"), [(22.0, 1.5), (13.5, 1.5), (13.5, 6.0), (1.5, 6.0)], ids=["short", "spindle", "sigma", "slow"]
)
def test_what_is_short_or_slow_or_a_spindle_is_none(hz: float, length_s: float) -> None:
    assert run(faster(90, 60.0, length_s, hz, 20.0))[1] == []


def test_plain_sleep_has_few() -> None:
    assert len(run(seconds_of(sleep(1800)))[1]) <= 2


@pytest.mark.parametrize("stage", [WAKE, UNKNOWN])
def test_outside_of_sleep_there_is_none(stage: int) -> None:
    assert run(faster(90, 60.0, 5.0), stage)[1] == []


def test_ten_seconds_of_sleep_must_come_before() -> None:
    stages = np.full(90, N2, np.int8)
    stages[52] = WAKE
    assert run(faster(90, 60.0, 5.0), stages)[1] == []
    stages[52], stages[49] = N2, WAKE
    assert len(run(faster(90, 60.0, 5.0), stages)[1]) == 2


def test_that_the_stager_sees_wake_as_it_happens_does_not_undo_it() -> None:
    stages = np.full(90, N2, np.int8)
    stages[60:] = WAKE
    assert len(run(faster(90, 60.0, 5.0), stages)[1]) == 2


def test_a_long_one_is_an_awakening_and_ends() -> None:
    _, (_, last) = run(faster(140, 60.0, 60.0))
    assert last.end_s == 90.0
    assert "awakening" in last.reason


def test_in_rem_the_chin_decides_where_there_is_one() -> None:
    rng = np.random.default_rng(0)
    chin = rng.standard_normal((90, 100)).astype(np.float32)
    assert run(faster(90, 60.0, 5.0), REM, emg=chin)[1] == []
    tense = chin.copy()
    tense[61:63] *= 5
    sure = run(faster(90, 60.0, 5.0), REM, emg=tense)[1][-1]
    assert sure.signals == ("eeg_frontal", "emg")
    unsure = run(faster(90, 60.0, 5.0), REM)[1][-1]
    assert unsure.signals == ("eeg_frontal",)
    assert "chin" in unsure.reason
    assert unsure.confidence < sure.confidence
    assert len(run(faster(90, 60.0, 5.0), N2, emg=chin)[1]) == 2


def test_missing_seconds_are_unknown_and_no_sleep() -> None:
    evidence, events = run(faster(90, 60.0, 5.0), bad=frozenset({55}))
    assert events == []
    assert np.isnan(evidence[55].shift)
    _, (_, last) = run(faster(90, 60.0, 8.0), bad=frozenset(range(64, 90)))
    assert last.end_s == 64.0
    assert "missing" in last.reason


def test_what_comes_later_changes_nothing_said() -> None:
    signal = faster(90, 60.0, 5.0)
    other = signal.copy()
    other[70:] = 1000
    a, b = run(signal), run(other)
    assert repr(a[0][:70]) == repr(b[0][:70])  # NaN equals NaN
    assert [e for e in a[1] if e.start_s < 70] == [e for e in b[1] if e.start_s < 70]


@settings(deadline=None, max_examples=15)
@given(
    at=st.integers(0, 69),
    bad=st.frozensets(st.integers(0, 69), max_size=3),
    start=st.floats(30, 60),
    length=st.floats(1, 9),
    stage=st.sampled_from([N2, REM]),
)
def test_events_begin_and_end_and_a_snapshot_goes_on(
    at: int, bad: frozenset[int], start: float, length: float, stage: int
) -> None:
    eeg = faster(70, start, length)
    detector = ArousalDetector()
    state = detector.fresh()
    said: list[list[Event]] = []
    for second in range(70):
        if second == at:
            again = read_state(write_state(copy.deepcopy(state)), ArousalState)
        said.append(detector.advance(state, None if second in bad else eeg[second], stage)[1])
    for second in range(at, 70):
        assert ArousalDetector().advance(again, None if second in bad else eeg[second], stage)[1] == said[second]
    assert write_state(again) == write_state(state)
    open_id = None
    for event in (each for second in said for each in second):
        if event.revision == 0:
            assert open_id is None
            open_id = event.event_id
        else:
            assert event.event_id == open_id
            assert event.duration_s is not None
            assert event.duration_s >= 3
            open_id = None


def test_a_second_of_another_rate_is_refused() -> None:
    detector = ArousalDetector()
    with pytest.raises(ValueError, match="100"):
        detector.advance(detector.fresh(), np.zeros(128, np.float32), N2)


@pytest.mark.skipif(not (UCDDB / "ucddb022.npz").is_file(), reason="../shared/data/ucddb_c3a2 is not here")
def test_in_a_real_night_they_are_as_many_as_people_score_and_wake_put_into_sleep_is_found() -> None:
    # Nobody scored arousals in this set. Its breathing events say nothing either: nearly all of this night's are
    # central hypopneas, and the EEG does not change around their ends.
    with np.load(UCDDB / "ucddb022.npz", allow_pickle=False) as night:
        where, stage = night["epoch_index"], night["stage"]
        raw = np.full((len(stage), 30 * 128), np.nan, np.float32)
        raw[where] = night["eeg_i16"] * (100 * night["scale"])  # about 100 µV a unit
    codes = np.array([WAKE, REM, 1, N2, 3, 3, UNKNOWN, UNKNOWN, UNKNOWN], np.int8)[stage].repeat(30)
    one = conditioner(128.0, [spec(highpass_hz=0.3)])
    samples = raw.reshape(-1, 1)
    blocks = one.push(chunk(samples, np.arange(len(samples)) / 128)) + one.flush(len(codes))
    _, (eeg,), quality = joined(blocks)
    good = quality[0] == 0
    _, events = run(eeg, codes, frozenset(np.flatnonzero(~good).tolist()))
    hours = np.count_nonzero(good & (codes > WAKE)) / 3600
    assert hours > 3
    assert 8 < sum(e.status == "final" for e in events) / hours < 25

    def runs(wanted: NDArray[np.bool_], length: int) -> NDArray[np.int64]:
        return np.flatnonzero(np.lib.stride_tricks.sliding_window_view(wanted & good, length).all(axis=1))

    rng = np.random.default_rng(0)
    found = 0
    for host, wake in zip(
        rng.choice(runs(codes > WAKE, 50), 100), rng.choice(runs(codes == WAKE, 10), 100), strict=True
    ):
        mixed = eeg[host : host + 50].copy()
        mixed[36:44] = eeg[wake : wake + 8]
        found += any(35 <= e.start_s <= 40 for e in run(mixed, codes[host : host + 50])[1])
    assert found >= 60
