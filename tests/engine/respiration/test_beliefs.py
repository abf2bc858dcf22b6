"""The learned model beside the rules: it weighs what they say, and speaks alone where nothing of breathing tells."""

from collections.abc import Collection, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.beliefs import beliefs_of, together
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.breathing_state import BreathingState
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.engine.respiration.event import APNEAS, HYPOPNEA, Event
from hypnostream.engine.respiration.learned import LearnedBreathing, belief
from hypnostream.engine.respiration.revisions import latest
from hypnostream.engine.respiration.surrogate import RULE
from hypnostream.engine.respiration.tick_inputs import NUMBERS, TICK_SENSORS
from hypnostream.engine.written_state import read_state, write_state
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.simulator import NightSettings, simulate_night
from hypnostream.stream.simulator_breathing import RespiratoryEvent
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from tests.engine.respiration.breathing_nights import conditioned, without

BELIEFS = beliefs_of(load_bundle())
CALM = BreathingSettings(circulation_s=12.0, spontaneous_arousals_per_hour=0.0, movements_per_hour=0.0)
EVENTS = tuple(RespiratoryEvent("obstructive apnea", 480.0 + 70 * i, 30.0, fall=9.0) for i in range(12))
AIR = ("flow", "thermistor", "thorax", "abdomen")


@lru_cache(maxsize=1)
def night() -> Seconds:
    """Half an hour of N2: quiet at first, then an apnea every 70 s; no EEG, no ECG."""
    return conditioned(simulate_night(NightSettings(stages=[2] * 60, events=EVENTS, breathing=CALM, rate_hz=64), 3))


def breathing(learned: bool = True) -> Breathing:
    return Breathing((), RESPIRATION_CHANNELS, 0.0, None, BELIEFS if learned else None)


def played(one: Breathing, seconds: Seconds, cuts: Sequence[int] = ()) -> list[Event]:
    events = list[Event]()
    edges = [0, *sorted(set(cuts)), seconds.count]
    for start, stop in pairwise(edges):
        part = seconds.part(start, stop)
        nothing = Seconds(part.start, (), (), np.zeros((0, part.count), np.uint8))
        one.hear(nothing, [None] * ((part.start + part.count) // 30 - part.start // 30))
        events += one.advance(part)
    return events


@lru_cache(maxsize=4)
def said(lost: Collection[str] = (), learned: bool = True) -> tuple[Event, ...]:
    one = breathing(learned)
    return (*played(one, without(night(), lost)), *one.finish())


def alone(events: Sequence[Event]) -> list[Event]:
    return [event for event in latest(events) if event.rule == RULE]


def test_a_bundle_that_ships_has_a_model_of_breathing() -> None:
    assert BELIEFS is not None


def test_many_ticks_in_one_call_answer_as_one_by_one_to_the_last_bit() -> None:
    bundle = load_bundle()
    tick, ticks = bundle.content.tick, bundle.content.ticks
    assert tick is not None
    assert ticks is not None
    one = LearnedBreathing(tick, OnnxBackend(bundle, tick))
    many = LearnedBreathing(tick, OnnxBackend(bundle, tick), OnnxBackend(bundle, ticks))
    rng = np.random.default_rng(0)
    mask = (rng.uniform(size=(20, len(TICK_SENSORS))) < 0.7).repeat(30, axis=0).astype(np.float32)
    numbers = (rng.standard_normal((600, len(TICK_SENSORS), NUMBERS)) * mask[..., None]).astype(np.float32)
    states = one.fresh(), many.fresh()
    for model, state, cut in ((one, states[0], 5), (many, states[1], 47)):
        for start in range(0, 600, cut):
            model.take(state, numbers[start : start + cut], mask[start : start + cut])
            if start % 3:
                model.answer(state)
        model.answer(state)
    assert np.isfinite(states[0].answers).all()
    assert write_state(states[0]) == write_state(states[1])


def test_what_is_believed_of_a_time_has_no_answer_in_it_that_is_still_to_come() -> None:
    """Nor one of ten minutes ago in its place."""
    state = BELIEFS.fresh().learned if BELIEFS is not None else None
    assert state is not None
    state.answers[:] = 0.9  # of the ten minutes before
    state.answers[np.arange(1000, 1005) % 600] = 0.1
    state.answered = 1005
    assert belief(state, 1000.0, 1008.0, 1008) == pytest.approx(0.1)
    assert belief(state, 1005.0, 1008.0, 1008) is None
    assert belief(state, 1000.0, 1004.0, 1004) is None


def test_with_airflow_the_rules_say_what_they_say_and_the_model_moves_their_confidence_alone() -> None:
    plain, weighed = said(learned=False), said()
    assert not alone(weighed)
    assert [(e.event_id, e.revision, e.kind, e.status, e.start_s, e.end_s, e.rule) for e in weighed] == [
        (e.event_id, e.revision, e.kind, e.status, e.start_s, e.end_s, e.rule) for e in plain
    ]
    final = [e for e in weighed if e.kind in (*APNEAS, HYPOPNEA) and e.status == "final"]
    assert len(final) >= 10
    assert all("learned model" in e.reason for e in final)
    for before, after in zip(plain, weighed, strict=True):
        assert before.confidence / 2 - 1e-3 <= after.confidence <= before.confidence + 1e-3


def test_an_oximeter_alone_tells_of_events_that_are_named_surrogates_and_count_to_no_ahi() -> None:
    one = breathing()
    events = [*played(one, without(night(), AIR)), *one.finish()]
    held = [event for event in alone(events) if event.status == "final"]
    truth = np.zeros(night().count, bool)
    for true in EVENTS:
        truth[int(true.start_s) : int(true.end_s)] = True
    assert len(held) >= 4
    assert all(event.kind == HYPOPNEA and event.signals == ("spo2",) and event.confidence <= 0.5 for event in held)
    assert all((event.end_s or 0) > 440 for event in held)  # nothing while nothing was
    found = np.zeros(night().count, bool)
    for event in held:
        found[int(event.start_s) : int(event.end_s or 0)] = True
    assert (found & truth).sum() > 0.5 * found.sum()
    indices = one.indices
    assert all(index.value is None for index in indices.indices if index.name == "AHI")
    surrogate = next(index for index in indices.indices if index.rule == "surrogate")
    assert surrogate.numerator == len(held)
    assert surrogate.hours == pytest.approx(0.5, abs=0.05)


def test_what_is_said_alone_is_said_a_minute_late_and_no_later_than_five_seconds_more() -> None:
    one, first = breathing(), dict[str, int]()
    seconds = without(night(), AIR)
    for second in range(0, seconds.count):
        for event in played(one, seconds.part(second, second + 1)):
            if event.rule == RULE and event.status == "final":
                first[event.event_id] = second + 1
                assert event.end_s is not None
                assert 60 <= second + 1 - event.end_s <= 66
    assert first


@settings(max_examples=6, deadline=None)
@given(st.lists(st.integers(1, 1799), max_size=40), st.integers(400, 1799))
def test_it_says_the_same_in_any_pieces_and_after_being_written_down(cuts: list[int], stop: int) -> None:
    whole = said(AIR)
    seconds = without(night(), AIR)
    one = breathing()
    before = played(one, seconds.part(0, stop), [cut for cut in cuts if cut < stop])
    state = read_state(write_state(one.snapshot()), BreathingState)
    again = breathing()
    again.restore(state)
    after = played(again, seconds.part(stop, seconds.count), [cut - stop for cut in cuts if cut > stop])
    assert (*before, *after, *again.finish()) == whole


def test_a_belt_that_comes_back_takes_the_word_from_the_model() -> None:
    seconds = without(night(), AIR, 0, 1200)
    events = [event for event in alone(played(breathing(), seconds)) if event.status == "final"]
    assert events
    assert all((event.end_s or 0) <= 1260 for event in events)  # a baseline takes half a minute to be known


def test_confidence_is_the_rules_halved_where_the_model_believes_nothing() -> None:
    assert together(0.8, 1.0) == pytest.approx(0.8)
    assert together(0.8, 0.0) == pytest.approx(0.4)
