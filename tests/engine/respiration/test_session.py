"""A bed's breathing as one session: what is said of simulated nights, with sensors and without them."""

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.respiration.airflow import AirflowSettings
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.engine.respiration.event import APNEA, APNEAS, AROUSAL, DESATURATION, HYPOPNEA, Event
from hypnostream.engine.respiration.event_timing import event_timing
from hypnostream.engine.respiration.rules import RuleSettings
from hypnostream.engine.respiration.session import RespirationSession, RespirationSettings, RespirationState
from hypnostream.engine.written_state import read_state, write_state
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.simulator import Night, NightSettings, simulate_night
from hypnostream.stream.simulator_breathing import RespiratoryEvent
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.simulator_hypnogram import N2
from tests.engine.respiration.breathing_nights import KIND_OF, conditioned, holding, said, without

CALM = BreathingSettings(circulation_s=12.0, spontaneous_arousals_per_hour=0.0, movements_per_hour=0.0)
EVENTS = (
    RespiratoryEvent("obstructive apnea", 180.0, 25.0, fall=6.0),
    RespiratoryEvent("central apnea", 300.0, 20.0, fall=5.0),
    RespiratoryEvent("hypopnea", 420.0, 25.0, fall=5.0),
    RespiratoryEvent("mixed apnea", 540.0, 30.0, fall=6.0),
    RespiratoryEvent("hypopnea", 660.0, 22.0, fall=3.4, arousal_s=0.0),
    RespiratoryEvent("hypopnea", 780.0, 22.0, fall=0.0, arousal_s=6.0),
)


@functools.cache
def night() -> tuple[Night, Seconds]:
    """A quarter of an hour with each kind of event."""
    made = simulate_night(NightSettings(stages=[N2] * 31, events=EVENTS, breathing=CALM, rate_hz=64), seed=2)
    return made, conditioned(made)


@functools.cache
def everything() -> list[Event]:
    return said(night()[1])


def test_each_kind_of_event_is_found_where_it_was_and_called_what_it_is() -> None:
    held = holding(everything(), *APNEAS, HYPOPNEA)
    assert [event.kind for event in held] == [KIND_OF[event.kind] for event in EVENTS[:5]]
    for event, true in zip(held, EVENTS, strict=False):
        assert event.status in ("final", "amended")
        assert abs(event.start_s - true.start_s) < 4
        assert abs((event.end_s or 0) - true.end_s) < 3
    assert [event.rule for event in held if event.kind == HYPOPNEA] == ["AASM 1B", "AASM 1A"]
    assert "thermal" in held[0].rule
    assert len(holding(everything(), DESATURATION)) >= 4


def test_without_an_oximeter_a_hypopnea_stays_preliminary_for_good_and_says_why() -> None:
    held = holding(said(without(night()[1], ("spo2",))), HYPOPNEA)
    assert [event.status for event in held] == ["preliminary"] * 3
    assert all("SpO2 not known" in event.reason and event.end_s is not None for event in held)


def test_an_oximeter_lost_during_the_fall_denies_no_hypopnea() -> None:
    lost = without(night()[1], ("spo2",), 430, 510)
    held = [event for event in holding(said(lost), HYPOPNEA) if event.start_s < 450]
    assert [event.status for event in held] == ["preliminary"]


def test_an_arousal_makes_a_hypopnea_by_rule_1a_and_only_where_an_eeg_was_there() -> None:
    seconds = night()[1]
    counted = RespirationSettings(airflow=AirflowSettings(rules=RuleSettings(own_arousals=True)))
    for told in (True, False):
        session, events = RespirationSession(RESPIRATION_CHANNELS, settings=counted), []
        for second in range(seconds.count):
            arousal = Event("arousal-1", 1, AROUSAL, "final", 802.5, 808.0, 0.8, "AASM arousal", ("eeg",))
            session.tell_arousals([arousal] if told and second == 808 else [], True)
            events += session.advance(seconds.part(second, second + 1))
        last = [e for e in holding(events + session.finish(), HYPOPNEA) if e.start_s > 700]
        assert [(event.status, event.rule) for event in last] == ([("final", "AASM 1A")] if told else [])
        assert all(event.confidence <= 0.3 and "arousal (ours" in event.reason for event in last)


def test_arousals_of_ours_make_no_hypopnea_unless_that_is_asked_for() -> None:
    seconds = night()[1]
    arousal = Event("arousal-1", 1, AROUSAL, "final", 802.5, 808.0, 0.8, "ours: EEG frequency shift", ("eeg",))
    told: list[tuple[list[Event], bool]] = [([arousal] if s == 808 else [], True) for s in range(seconds.count)]
    session = RespirationSession(RESPIRATION_CHANNELS)
    events = session.advance(seconds, told) + session.finish()
    assert arousal in [replace(event, channels=()) for event in events]
    assert [event for event in events if event.kind != AROUSAL] == list(everything())
    withdrawn = [e for e in events if e.status == "withdrawn" and e.kind == HYPOPNEA and e.start_s > 700]
    assert withdrawn[-1].reason.endswith("arousals not counted")


def test_without_belts_an_apnea_has_no_type_and_without_a_thermistor_its_rule_says_so() -> None:
    held = holding(said(without(night()[1], ("thorax", "abdomen", "thermistor"))), *APNEAS)
    assert [event.kind for event in held] == [APNEA] * 3
    assert all(event.rule == "AASM apnea, nasal pressure as substitute" for event in held)
    assert all(event.signals == ("flow",) for event in held)


def test_without_airflow_there_is_no_event_by_rule_and_what_there_is_is_called_a_surrogate() -> None:
    held = holding(said(without(night()[1], ("flow", "thermistor"))), *APNEAS, HYPOPNEA)
    assert held
    assert all("surrogate" in event.rule and event.confidence <= 0.5 for event in held)
    assert all(set(event.signals) <= {"thorax", "abdomen", "spo2"} for event in held)


def test_without_any_sensor_nothing_is_said() -> None:
    assert said(without(night()[1], ("flow", "thermistor", "thorax", "abdomen", "spo2"))) == []


@settings(deadline=None, max_examples=8)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=8))
def test_how_the_seconds_are_cut_into_chunks_changes_nothing(steps: list[int]) -> None:
    seconds, session, at = night()[1], RespirationSession(RESPIRATION_CHANNELS), 0
    events: list[Event] = []
    for step in (*steps, seconds.count):
        events += session.advance(seconds.part(at, min(at + step, seconds.count)))
        at = min(at + step, seconds.count)
    assert events + session.finish() == everything()


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 930))
def test_a_session_that_was_killed_goes_on_from_its_written_state(at: int) -> None:
    seconds = night()[1]
    session = RespirationSession(RESPIRATION_CHANNELS)
    events = session.advance(seconds.part(0, at))
    resumed = RespirationSession(RESPIRATION_CHANNELS)
    resumed.restore(read_state(write_state(session.snapshot()), RespirationState))
    session.advance(seconds.part(at, min(at + 50, seconds.count)))  # the snapshot is nobody else's
    events += resumed.advance(seconds.part(at, seconds.count))
    assert events + resumed.finish() == everything()


def test_what_comes_later_changes_nothing_that_was_said() -> None:
    seconds = night()[1]
    ours = RespirationSession(RESPIRATION_CHANNELS).advance(seconds.part(0, 500))
    noise = tuple(np.where(np.arange(seconds.count)[:, None] < 500, s, -3 * s) for s in seconds.samples)
    other = Seconds(0, seconds.channels, noise, seconds.quality)
    assert RespirationSession(RESPIRATION_CHANNELS).advance(other)[: len(ours)] == ours


def test_a_skipped_second_is_refused() -> None:
    session = RespirationSession(RESPIRATION_CHANNELS)
    with pytest.raises(ValueError, match="second 5 came, second 0 was due"):
        session.advance(night()[1].part(5, 6))
    session.tell_arousals((), True)
    with pytest.raises(ValueError, match="told of twice"):
        session.tell_arousals((), True)


def test_times_are_of_the_stream() -> None:
    session = RespirationSession(RESPIRATION_CHANNELS, 1000.0)
    moved = session.advance(night()[1]) + session.finish()
    assert [e.start_s for e in moved] == pytest.approx([e.start_s + 1000 for e in everything()], abs=0.02)


@pytest.mark.slow
def test_a_simulated_night_is_found_at_f1_of_nine_tenths_and_an_apnea_is_said_within_fifteen_seconds() -> None:
    made = simulate_night(
        NightSettings(duration_s=5400.0, events_per_hour=25.0, breathing=BreathingSettings(), rate_hz=64), seed=1
    )
    seconds, session = conditioned(made), RespirationSession(RESPIRATION_CHANNELS)
    told = [
        (second + 1.0, event)
        for second in range(seconds.count)
        for event in session.advance(seconds.part(second, second + 1))
    ]
    told += [(float(seconds.count), event) for event in session.finish()]
    true = [(event.start_s, event.end_s) for event in made.events if event.counts("AASM 1B")]
    found = event_timing(true, [(t, e) for t, e in told if e.rule != "AASM 1A"], (*APNEAS, HYPOPNEA), 1.5)
    assert 2 * found.matched / (found.reference + found.detected) > 0.9
    apneas = [(event.start_s, event.end_s) for event in made.events if event.kind != "hypopnea"]
    timing = event_timing(apneas, told, APNEAS, 1.5)
    assert timing.latency_p95_s is not None
    assert timing.latency_p95_s < 15
