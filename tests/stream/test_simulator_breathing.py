"""The breathing of a simulated night is as its truth says: each kind of event, what follows it, what goes wrong."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.errors import UserError
from hypnostream.stream.montage import resolve
from hypnostream.stream.simulator import Night, NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing import EVENT_KINDS, RespiratoryEvent
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.simulator_faults import Fault, breathing_faults
from hypnostream.stream.simulator_hypnogram import N2, REM, WAKE

Read = dict[str, NDArray[np.float32]]
NOSE, WARMTH, THORAX, ABDOMEN = range(4)
CALM = BreathingSettings(spontaneous_arousals_per_hour=0.0, movements_per_hour=0.0)


def read(night: Night, chunk_s: float = 60.0) -> Read:
    """Every sample of each stream (n, channels)."""
    source, parts = SimulatedSource(night, chunk_s), dict[str, list[NDArray[np.float32]]]()
    while not source.exhausted:
        for chunk in source.read(0.0):
            parts.setdefault(chunk.stream_id, []).append(chunk.samples)
    return {stream_id: np.concatenate(each) for stream_id, each in parts.items()}


def one_event(event: RespiratoryEvent, seed: int = 1, breathing: BreathingSettings = CALM) -> tuple[Night, Read]:
    """Five minutes of N2 with one event in them."""
    night = simulate_night(NightSettings(stages=[N2] * 10, events=(event,), breathing=breathing, rate_hz=100), seed)
    return night, read(night)


def stretch(samples: NDArray[np.float32], start_s: float, end_s: float, rate_hz: int = 32) -> NDArray[np.float32]:
    return samples[round(start_s * rate_hz) : round(end_s * rate_hz)]


def size(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(samples.astype(np.float64).std(axis=0))


def beats_per_minute(ecg: NDArray[np.float32], rate_hz: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When each beat was, and the rate since the one before."""
    lead = ecg[:, 0]
    peaks = np.flatnonzero((lead[1:-1] > 0.6) & (lead[1:-1] >= lead[:-2]) & (lead[1:-1] > lead[2:])) / rate_hz
    return peaks[1:], 60 / np.diff(peaks)


@pytest.fixture(scope="module")
def busy() -> tuple[Night, Read]:
    """An hour and a half of sleep with 40 events an hour."""
    stages = [WAKE] * 4 + [N2] * 126 + [REM] * 40 + [N2] * 10
    night = simulate_night(NightSettings(stages=stages, events_per_hour=40.0, breathing=CALM, rate_hz=64), seed=6)
    return night, read(night)


def test_a_plain_night_is_as_it_always_was() -> None:
    events = (RespiratoryEvent("obstructive apnea", 30.0, 20.0),)
    night = simulate_night(NightSettings(stages=[N2] * 4, rate_hz=100, events=events), 3)
    samples = read(night)
    np.testing.assert_allclose(
        samples["resp"][::640],
        [[1.0837, -0.1162, -0.2247], [0.6621, -0.6854, -0.7], [0.0407, -0.6821, 0.387],
         [0.6937, -0.7709, -0.7358], [0.9209, -0.4142, -0.4915], [1.0558, -0.3961, -0.4553]],
        atol=1e-4,
    )  # fmt: skip
    np.testing.assert_allclose(samples["spo2"][::20, 0], [96.9, 96.8, 96.8, 93.0, 95.9, 96.8], atol=1e-4)
    beats = [0, 80, 81, 175, 176, 270, 362, 363, 455, 550, 647, 742, 836, 933]
    assert np.flatnonzero(samples["ecg"][:1000, 0] > 0.9).tolist() == beats
    np.testing.assert_allclose(samples["eeg"][2000], [-2.452, -19.184, 12.161, -3.97], atol=2e-3)
    assert night.breathing is None
    assert night.events == events


def test_the_six_sensors_of_breathing_are_found_in_a_night_with_physiology() -> None:
    streams = simulate_night(NightSettings(duration_s=60.0, breathing=CALM)).streams
    montage = resolve(streams, RESPIRATION_CHANNELS)
    found = {each.spec.name: each.label for each in montage.derivations}
    assert set(found) == {"flow", "thermistor", "thorax", "abdomen", "spo2", "ecg"}
    assert "Nasal pressure" in found["flow"]
    assert "Thermistor" in found["thermistor"]


EVERYTHING = NightSettings(
    stages=[N2] * 14,
    events_per_hour=30.0,
    breathing=BreathingSettings(movements_per_hour=120.0, spontaneous_arousals_per_hour=120.0),
    faults=breathing_faults(420.0, 3),
    rate_hz=64,
)
WHOLE = read(simulate_night(EVERYTHING, 2), 420.0)


@given(chunk_s=st.floats(0.1, 100.0))
@settings(max_examples=10, deadline=None)
def test_any_chunk_size_gives_the_same_breathing(chunk_s: float) -> None:
    parts = read(simulate_night(EVERYTHING, 2), chunk_s)
    for stream_id, samples in WHOLE.items():
        np.testing.assert_array_equal(parts[stream_id], samples)


def test_the_seed_is_the_breathing_too() -> None:
    first, again, other = (simulate_night(EVERYTHING, seed) for seed in (2, 2, 3))
    assert first.breathing == again.breathing
    assert first.events == again.events
    assert first.events != other.events
    assert first.breathing is not None
    assert first.breathing.movements
    assert any(arousal.event is None for arousal in first.breathing.arousals)


# What is left of nasal pressure, thermistor, thorax and abdomen; and whether the abdomen goes against the thorax.
SHOWS = {
    "obstructive apnea": ((0.0, 0.1), (0.0, 0.12), (0.5, 1.3), True),
    "central apnea": ((0.0, 0.1), (0.0, 0.12), (0.0, 0.1), None),
    "hypopnea": ((0.2, 0.68), (0.35, 0.85), (0.2, 0.95), None),
    "mixed apnea": ((0.0, 0.1), (0.0, 0.12), (0.2, 1.1), None),
}


@pytest.mark.parametrize("kind", EVENT_KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_flow_and_effort_in_each_kind_of_event(kind: str, seed: int) -> None:
    _, samples = one_event(RespiratoryEvent(kind, 100.0, 30.0), seed)
    before, during = stretch(samples["resp"], 40, 100), stretch(samples["resp"], 101, 129)
    left = size(during) / size(before)
    nose, warmth, effort, opposite = SHOWS[kind]
    for (low, high), at in ((nose, NOSE), (warmth, WARMTH), (effort, THORAX), (effort, ABDOMEN)):
        assert low <= left[at] <= high, (at, left)
    together = np.corrcoef(during[:, THORAX], during[:, ABDOMEN])[0, 1]
    if opposite is not None:
        assert together < -0.5
    assert np.corrcoef(before[:, THORAX], before[:, ABDOMEN])[0, 1] > 0.9


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mixed_apnea_is_central_and_then_obstructed(seed: int) -> None:
    _, samples = one_event(RespiratoryEvent("mixed apnea", 100.0, 30.0), seed)
    before = size(stretch(samples["resp"], 40, 100))[THORAX]
    assert size(stretch(samples["resp"], 101, 109))[THORAX] < 0.1 * before
    late = stretch(samples["resp"], 120, 129)
    assert size(late)[THORAX] > 0.5 * before
    assert np.corrcoef(late[:, THORAX], late[:, ABDOMEN])[0, 1] < -0.5


def test_some_hypopneas_have_the_abdomen_behind_and_some_are_central() -> None:
    lags = []
    for seed in range(14):
        _, samples = one_event(RespiratoryEvent("hypopnea", 100.0, 30.0), seed)
        during = stretch(samples["resp"], 101, 129)
        lags.append(np.corrcoef(during[:, THORAX], during[:, ABDOMEN])[0, 1])
    assert min(lags) < 0.5
    assert max(lags) > 0.95


@pytest.mark.parametrize("circulation_s", [10.0, 20.0, 30.0])
def test_saturation_is_lowest_a_circulation_time_after_the_event_ended(circulation_s: float) -> None:
    event = RespiratoryEvent("obstructive apnea", 100.0, 30.0, fall=8.0)
    night, samples = one_event(event, breathing=replace(CALM, circulation_s=circulation_s))
    assert night.breathing is not None
    (dip,) = night.breathing.desaturations
    spo2 = samples["spo2"][:, 0]
    assert dip.nadir_s == 130.0 + circulation_s + 2.0
    assert abs(int(spo2.argmin()) - dip.nadir_s) <= 1.5
    start, nadir, end = round(dip.start_s), round(dip.nadir_s), round(dip.end_s)
    assert spo2[start] - spo2[nadir] == pytest.approx(8.0, abs=0.5)
    assert spo2[start] - spo2[end] == pytest.approx(8.0 / 3, abs=0.9)
    assert np.ptp(spo2[60:start]) < 0.6
    assert (dip.fall, dip.event) == (8.0, 0)


def test_circulation_is_each_sleepers_own_and_longest_in_periodic_breathing() -> None:
    def seconds(settings: BreathingSettings) -> list[float]:
        nights = (simulate_night(NightSettings(duration_s=600.0, breathing=settings), seed) for seed in range(30))
        return [night.breathing.breather.circulation_s for night in nights if night.breathing is not None]

    usual, periodic = seconds(CALM), seconds(replace(CALM, periodic_share=0.5))
    assert 10 <= min(usual) < 13
    assert 20 < max(usual) <= 30
    assert 20 <= min(periodic) <= max(periodic) <= 30


def test_longer_apneas_fall_deeper_and_apneas_deeper_than_hypopneas() -> None:
    def falls(kind: str, duration_s: float) -> float:
        given = tuple(RespiratoryEvent(kind, 120.0 * k, duration_s) for k in range(1, 40))
        settings = replace(CALM, hypopneas_without=0.0)
        night = simulate_night(NightSettings(stages=[N2] * 200, events=given, breathing=settings), 5)
        return float(np.median([event.fall or 0.0 for event in night.events]))

    assert falls("obstructive apnea", 40.0) > 1.5 * falls("obstructive apnea", 20.0)
    assert falls("obstructive apnea", 40.0) > falls("hypopnea", 40.0) > 3.0


def test_each_listed_desaturation_is_in_the_oximeter_as_deep_as_it_says(busy: tuple[Night, Read]) -> None:
    night, samples = busy
    assert night.breathing is not None
    spo2 = samples["spo2"][:, 0]
    off = []
    for dip in night.breathing.desaturations:
        if dip.end_s < night.duration_s:
            off.append(spo2[round(dip.start_s)] - spo2[round(dip.nadir_s)] - dip.fall)
            lowest = round(dip.start_s) + int(spo2[round(dip.start_s) : round(dip.end_s)].argmin())
            if dip.fall > 2:  # in less the slow wander of saturation may be lower later
                assert abs(lowest - dip.nadir_s) <= 1.5, dip
    assert len(off) > 30
    assert np.abs(off).max() < 1.2  # an event may begin before saturation is back from the last one
    assert np.median(np.abs(off)) < 0.3


def test_the_heart_slows_in_apneas_and_hurries_after_them(busy: tuple[Night, Read]) -> None:
    night, samples = busy
    at, rate = beats_per_minute(samples["ecg"], 64)
    slower, faster = [], []
    for event in night.events:
        if event.kind in ("obstructive apnea", "mixed apnea"):
            early = np.median(rate[(at > event.start_s) & (at < event.start_s + 6)])
            late = np.median(rate[(at > event.end_s - 5) & (at < event.end_s)])
            after = np.median(rate[(at > event.end_s + 2) & (at < event.end_s + 8)])
            slower.append(late / early)
            faster.append(after / late)
    assert np.median(slower) < 0.97
    assert np.median(faster) > 1.15
    assert np.mean(np.array(faster) > 1.0) > 0.9


def test_arousals_show_in_eeg_and_chin_and_only_where_the_truth_has_them(busy: tuple[Night, Read]) -> None:
    night, samples = busy
    assert night.breathing is not None
    eeg = samples["eeg"].astype(np.float64)
    aroused = {arousal.event: arousal for arousal in night.breathing.arousals}

    def fast_uv(start_s: float) -> tuple[float, float]:
        """Root mean square of posterior alpha and beta over three seconds, and of the chin."""
        part = eeg[round(start_s * 64) : round((start_s + 3) * 64)]
        spectrum = np.abs(np.fft.rfft(part[:, 1])) ** 2
        hz = np.fft.rfftfreq(len(part), 1 / 64)
        return float(np.sqrt(spectrum[(hz >= 8) & (hz <= 12) | (hz >= 17)].sum()) / len(part)), float(part[:, 3].std())

    ratios: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for index, event in enumerate(night.events):
        start_s = aroused[index].start_s if index in aroused else event.end_s
        (fast, chin), (fast_before, chin_before) = fast_uv(start_s + 0.2), fast_uv(event.end_s - 5)
        ratios[index in aroused].append((fast / fast_before, chin / chin_before))
        assert (index in aroused) == bool(event.arousal_s)
    with_one, without = np.array(ratios[True]), np.array(ratios[False])
    assert len(without) >= 8
    assert (with_one > 1.4).all(axis=1).mean() > 0.95
    assert (without > 1.4).all(axis=1).mean() < 0.1
    for arousal in night.breathing.arousals:
        assert 3 <= arousal.duration_s <= 15
        assert arousal.event is not None
        assert -0.5 <= arousal.start_s - night.events[arousal.event].end_s <= 1.5


def test_some_hypopneas_count_by_no_rule_and_the_signals_agree(busy: tuple[Night, Read]) -> None:
    night, samples = busy
    assert night.breathing is not None
    none = [event for event in night.events if event.kind == "hypopnea" and not event.counts("AASM 1A")]
    assert len(none) >= 3
    spo2, delay_s = samples["spo2"][:, 0], night.breathing.breather.circulation_s
    for event in none:
        assert event.arousal_s == 0
        at = slice(round(event.start_s + delay_s + 4), round(event.end_s + delay_s + 4))
        assert spo2[at][0] - spo2[at].min() < 3.0
        flow = samples["resp"][:, NOSE]
        assert size(stretch(flow, event.start_s, event.end_s)) < 0.8 * size(
            stretch(flow, event.start_s - 20, event.start_s)
        )
    counted = [event for event in night.events if event.kind == "hypopnea" and event.counts("AASM 1A")]
    assert len(counted) > len(none)
    assert all(event.counts("AASM 1B") for event in night.events if event.kind != "hypopnea")


@pytest.mark.parametrize(
    ("kind", "duration_s", "fall", "arousal_s", "by_1a", "by_1b"),
    [
        ("hypopnea", 20.0, 2.9, 0.0, False, False),
        ("hypopnea", 20.0, 2.9, 2.9, False, False),
        ("hypopnea", 20.0, 0.0, 3.0, True, False),
        ("hypopnea", 20.0, 3.0, 0.0, True, False),
        ("hypopnea", 20.0, 4.0, 0.0, True, True),
        ("hypopnea", 9.9, 8.0, 5.0, False, False),
        ("central apnea", 10.0, 0.0, 0.0, True, True),
        ("mixed apnea", 9.9, 9.0, 9.0, False, False),
    ],
)
def test_what_counts_by_which_rule(
    kind: str, duration_s: float, fall: float, arousal_s: float, by_1a: bool, by_1b: bool
) -> None:
    event = RespiratoryEvent(kind, 100.0, duration_s, fall, arousal_s)
    assert event.counts("AASM 1A") is by_1a
    assert event.counts("AASM 1B") is by_1b


def test_given_events_are_kept_and_only_what_they_leave_open_is_drawn() -> None:
    asked = (
        RespiratoryEvent("hypopnea", 60.5, 12.0, 1.0, 0.0),
        RespiratoryEvent("central apnea", 120.0, 15.0, fall=5.0),
    )
    night = simulate_night(NightSettings(stages=[N2] * 10, events=asked, breathing=CALM), 4)
    assert night.events[0] == asked[0]
    assert replace(night.events[1], arousal_s=None) == asked[1]
    assert night.events[1].arousal_s is not None


def test_drawn_events_are_asleep_apart_and_as_often_as_asked_for() -> None:
    for per_hour in (5.0, 15.0, 60.0):
        settings = NightSettings(events_per_hour=per_hour, breathing=BreathingSettings())
        nights = [simulate_night(settings, seed) for seed in range(6)]
        hours = sum(int((night.stages > WAKE).sum()) for night in nights) / 120
        assert sum(len(night.events) for night in nights) / hours == pytest.approx(per_hour, rel=0.25)
        for night in nights:
            edges = [(event.start_s, event.end_s) for event in night.events]
            assert all(end_s + 20 < start_s for (_, end_s), (start_s, _) in itertools.pairwise(edges))
            assert all((night.stages[int(a // 30) : int(b // 30) + 1] > WAKE).all() for a, b in edges)
            assert all(event.duration_s >= 10 for event in night.events)
        kinds = {event.kind for night in nights for event in night.events}
        assert kinds == set(EVENT_KINDS)


def test_breathing_through_the_mouth_is_no_apnea_by_thermistor_and_belts() -> None:
    fault = Fault("mouth_breathing", "resp", 60.0, 120.0, "Nasal pressure")
    settings = NightSettings(stages=[N2] * 6, events=(), breathing=CALM, rate_hz=64)
    calm = read(simulate_night(settings, 1))["resp"]
    open_mouth = read(simulate_night(replace(settings, faults=(fault,)), 1))["resp"]
    assert 0.01 < size(stretch(open_mouth, 60, 120))[NOSE] / size(stretch(calm, 60, 120))[NOSE] < 0.1
    np.testing.assert_array_equal(open_mouth[:, WARMTH:], calm[:, WARMTH:])
    np.testing.assert_array_equal(stretch(open_mouth, 120, 180), stretch(calm, 120, 180))


def test_each_sensor_of_breathing_is_lost_alone_and_the_others_go_on() -> None:
    settings = NightSettings(stages=[N2] * 20, events=(), breathing=CALM, rate_hz=64)
    faults = breathing_faults(600.0, 1)
    calm, spoilt = (read(simulate_night(replace(settings, faults=each), 1)) for each in ((), faults))
    assert {(fault.kind, fault.label) for fault in faults} == {
        ("mouth_breathing", "Nasal pressure"), ("silent", "Nasal pressure"), ("silent", "Thermistor"),
        ("silent", "Thorax"), ("silent", "Abdomen"), ("lead_off", "SpO2"),
    }  # fmt: skip
    same = spoilt["resp"] == calm["resp"]
    for column, label in enumerate(("Nasal pressure", "Thermistor", "Thorax", "Abdomen")):
        hit = np.zeros(len(same), np.bool_)
        for fault in faults:
            if fault.label == label:
                hit[round(fault.start_s * 32) : round(fault.end_s * 32)] = True
                assert size(spoilt["resp"][hit & ~same[:, column], column]) < 0.1
        np.testing.assert_array_equal(same[:, column], ~hit)
    (finger,) = (fault for fault in faults if fault.stream_id == "spo2")
    assert (stretch(spoilt["spo2"], finger.start_s, finger.end_s, 1) == 0).all()
    both = [fault.start_s for fault in faults if fault.label in ("Thorax", "Abdomen")]
    assert len(both) == 4
    assert len(set(both)) == 3


def test_movement_shakes_belts_flow_and_oximeter_but_no_event() -> None:
    settings = BreathingSettings(movements_per_hour=40.0, spontaneous_arousals_per_hour=0.0)
    night = simulate_night(NightSettings(stages=[N2] * 140, events_per_hour=20.0, breathing=settings, rate_hz=64), 8)
    assert night.breathing is not None
    samples = read(night)
    moves = night.breathing.movements
    assert len(moves) > 15
    for move in moves:
        end_s = move.start_s + move.duration_s
        assert not any(move.start_s < event.end_s and end_s > event.start_s - 4.9 for event in night.events)
    spo2 = samples["spo2"][:, 0]
    misread = [move for move in moves if 0 < move.misread < 100]
    lost = [move for move in moves if move.misread == 100]
    assert misread
    assert lost
    for move in lost:
        assert (spo2[int(move.start_s) + 1 : int(move.start_s + move.duration_s)] == 0).all()
    for move in misread:  # at once, as no lung can
        assert spo2[int(move.start_s) - 1] - spo2[int(move.start_s) + 2] > 0.7 * move.misread
    assert (spo2 == 0).sum() < 25 * len(lost)
    calm = read(simulate_night(replace(night.settings, breathing=replace(settings, movements_per_hour=0.0)), 8))["resp"]
    shaken = [size(stretch(samples["resp"], m.start_s, m.start_s + m.duration_s)) for m in moves]
    assert (np.median(shaken, axis=0)[[NOSE, THORAX, ABDOMEN]] > 1.2 * size(calm)[[NOSE, THORAX, ABDOMEN]]).all()


def test_after_a_turn_the_belts_lie_differently() -> None:
    settings = BreathingSettings(movements_per_hour=60.0)
    night = simulate_night(NightSettings(stages=[N2] * 60, events=(), breathing=settings, rate_hz=64), 3)
    assert night.breathing is not None
    turn = next(move for move in night.breathing.movements if move.turn)
    samples, end_s = read(night)["resp"], turn.start_s + turn.duration_s
    assert (
        abs(
            np.log(size(stretch(samples, end_s, end_s + 20)) / size(stretch(samples, turn.start_s - 20, turn.start_s)))[
                2:
            ]
        ).max()
        > 0.1
    )


def test_periodic_breathing_waxes_and_wanes_between_central_apneas() -> None:
    settings = replace(CALM, periodic_share=1.0, circulation_s=20.0)
    night = simulate_night(NightSettings(stages=[N2] * 20, breathing=settings, rate_hz=64), 3)
    assert night.breathing is not None
    assert night.breathing.periodic
    assert len(night.events) >= 5
    assert {event.kind for event in night.events} == {"central apnea"}
    assert np.unique(np.diff([event.start_s for event in night.events])).tolist() == [50.0]
    flow = read(night)["resp"][:, NOSE]
    for one, following in itertools.pairwise(night.events):
        edge = size(stretch(flow, one.end_s, one.end_s + 3))
        middle_s = (one.end_s + following.start_s) / 2
        assert size(stretch(flow, middle_s - 4, middle_s + 4)) > 1.5 * edge
        assert size(stretch(flow, one.start_s + 1, one.end_s - 1)) < 0.1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: BreathingSettings(circulation_s=90.0), "circulation_s 90"),
        (lambda: BreathingSettings(shares=(0.0, 0.0, 0.0, 0.0)), "shares"),
        (lambda: BreathingSettings(shares=(1.0, -1.0, 1.0, 1.0)), "shares"),
        (lambda: BreathingSettings(arousals_after=1.5), "arousals_after 1.5"),
        (lambda: BreathingSettings(movements_per_hour=-1.0), "movements_per_hour -1"),
        (lambda: RespiratoryEvent("apnoe", 1.0, 12.0), "apnoe"),
        (lambda: RespiratoryEvent("hypopnea", 1.0, 12.0, fall=-1.0), "fall -1"),
        (lambda: RespiratoryEvent("hypopnea", 1.0, 12.0, 3.0, 0.0).counts("AASM 2"), "AASM 2"),
        (lambda: RespiratoryEvent("hypopnea", 1.0, 12.0).counts("AASM 1A"), "plain night"),
        (lambda: Fault("mouth_breathing", "resp", 0.0, 1.0), "name it"),
    ],
)
def test_wrong_settings_of_breathing_are_named(wrong: object, named: str) -> None:
    assert callable(wrong)
    with pytest.raises(UserError, match=named):
        wrong()
