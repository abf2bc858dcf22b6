"""Events on the model's word alone: hysteresis and durations, in named rules."""

import math
from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hypnostream.engine.respiration.event import HYPOPNEA, Event
from hypnostream.engine.respiration.revisions import latest
from hypnostream.engine.respiration.surrogate import RULE, SurrogateSettings, SurrogateState, ended, find

SETTINGS = SurrogateSettings()
SPO2 = ("spo2",)


def said(believed: list[float], end: bool = True) -> list[Event]:
    state, events = SurrogateState(), list[Event]()
    for second, value in enumerate(believed):
        events += find(state, second, value, SPO2, SETTINGS)
    return events + (ended(state, len(believed), SETTINGS) if end else [])


def test_an_event_begins_where_it_is_believed_and_ends_where_it_no_longer_is() -> None:
    events = said([0.1] * 5 + [0.9] * 20 + [0.5] * 5 + [0.1] * 5)
    assert [(e.status, e.revision, e.start_s, e.end_s) for e in events] == [
        ("preliminary", 0, 5.0, None),
        ("final", 1, 5.0, 30.0),  # 0.5 is between the two thresholds: it goes on
    ]
    assert {e.rule for e in events} == {RULE}
    assert "surrogate" in RULE
    assert events[-1].kind == HYPOPNEA
    assert events[-1].signals == SPO2
    assert 0 < events[-1].confidence <= SETTINGS.most_confidence


def test_what_is_short_or_hardly_believed_is_none() -> None:
    assert said([0.9] * (SETTINGS.least_s - 1) + [0.1] * 9) == []
    assert said([SETTINGS.begin - 0.01] * 60) == []


def test_a_sensor_that_falls_off_ends_it() -> None:
    events = said([0.9] * 20 + [math.nan] * 20)
    assert events[-1].end_s == 20.0
    assert len(events) == 2


def test_what_lasts_too_long_is_several() -> None:
    events = latest(said([0.9] * (2 * SETTINGS.longest_s + 30)))
    assert [e.status for e in events] == ["final"] * 3
    assert max((e.duration_s or 0) for e in events) <= SETTINGS.longest_s


@given(st.lists(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0, math.nan]), max_size=400))
def test_no_revision_is_without_its_event_and_no_two_events_overlap(believed: list[float]) -> None:
    events = said(believed)
    for event in events:
        first = next(e for e in events if e.event_id == event.event_id)
        assert first.status == "preliminary"
        assert event.start_s == first.start_s
        assert event.revision == 0 or event.end_s is not None
    held = latest(events)
    assert all(e.status == "final" and (e.duration_s or 0) >= SETTINGS.least_s for e in held)
    assert all(a.end_s is not None and a.end_s <= b.start_s for a, b in pairwise(held))


def test_settings_are_what_decides() -> None:
    state, strict = SurrogateState(), replace(SETTINGS, begin=0.95)
    assert not [e for s in range(60) for e in find(state, s, 0.9, SPO2, strict)]
