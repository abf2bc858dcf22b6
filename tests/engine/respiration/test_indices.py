from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.respiration.desaturation_events import RULE_3, RULE_4, desaturation_event
from hypnostream.engine.respiration.event import DESATURATION, HYPOPNEA, OBSTRUCTIVE_APNEA, Event, Status
from hypnostream.engine.respiration.index import Index
from hypnostream.engine.respiration.indices import IndicesState, RunningIndices
from hypnostream.engine.respiration.oximetry import Oximetry
from hypnostream.engine.respiration.rules import APNEA_NASAL, HYPOPNEA_FLOW, SURROGATE_APNEA
from hypnostream.engine.written_state import read_state, write_state
from tests.engine.respiration.oximeter import LOST, course, take


def event(
    name: str,
    start_s: float = 0.0,
    end_s: float | None = None,
    kind: str = OBSTRUCTIVE_APNEA,
    status: Status = "final",
    rule: str = APNEA_NASAL,
    revision: int = 0,
) -> Event:
    end_s = start_s + 20 if end_s is None and status != "preliminary" else end_s
    return Event(name, revision, kind, status, start_s, end_s, 0.9, rule, ("flow",))


def night(stages: str, breathing: bool = True, t0_s: float = 0.0) -> RunningIndices:
    """A night of these final stages, one letter an epoch, "." for none, breathing seen in all of it."""
    running = RunningIndices(t0_s)
    names = {"w": "W", "1": "N1", "2": "N2", "3": "N3", "r": "R", ".": None}
    for epoch, letter in enumerate(stages):
        running.stage(epoch, names[letter])
        running.breathed(epoch, 30 * breathing)
    return running


def index_of(running: RunningIndices, name: str, rule: str) -> Index:
    return running.indices().of(name, rule)


HOUR_ASLEEP = "w" * 60 + "2" * 120  # half an hour awake, an hour asleep


def test_an_ahi_worked_by_hand_with_all_that_it_rests_on() -> None:
    running = night(HOUR_ASLEEP)
    running.hear(event(str(n), 2000 + 100 * n) for n in range(6))
    ahi = index_of(running, "AHI", "AASM 1A")
    assert (ahi.numerator, ahi.hours, ahi.denominator, ahi.value, ahi.unit) == (6, 1, "hours of sleep", 6, "/h")
    assert ahi.low == pytest.approx(2.2019, abs=1e-3)
    assert ahi.high == pytest.approx(13.0595, abs=1e-3)
    rei = index_of(running, "REI", "AASM 1A")
    assert (rei.numerator, rei.hours, rei.denominator, rei.value) == (6, 1.5, "recorded hours", 4)


def test_events_in_wake_do_not_count_by_sleep_but_by_recorded_time() -> None:
    running = night(HOUR_ASLEEP)
    running.hear([event("wake", 600), event("falls asleep", 1790, 1810), event("asleep", 3000)])
    assert index_of(running, "AHI", "AASM 1A").numerator == 2
    assert index_of(running, "REI", "AASM 1A").numerator == 3
    assert running.indices().in_wake == 1


def test_an_event_that_ends_where_sleep_begins_is_in_wake() -> None:
    running = night(HOUR_ASLEEP)
    running.hear([event("wake", 1780, 1800)])
    assert index_of(running, "AHI", "AASM 1A").numerator == 0


def test_what_has_no_stage_is_neither_sleep_nor_wake() -> None:
    running = night("22..22")
    running.hear([event("unscored", 65), event("after the end", 500), event("asleep", 10)])
    found = running.indices()
    assert found.of("AHI", "AASM 1A").numerator == 1
    assert (found.without_stage, found.in_wake) == (2, 0)
    assert found.sleep_hours == pytest.approx(4 / 120)


def test_stream_time_may_begin_anywhere() -> None:
    running = night(HOUR_ASLEEP, t0_s=5000.25)
    running.hear([event("wake", 5600), event("asleep", 8000)])
    assert index_of(running, "AHI", "AASM 1A").numerator == 1


def test_a_hypopnea_counts_by_each_rule_that_it_meets() -> None:
    running = night(HOUR_ASLEEP)
    running.hear(
        [
            event("a", 2000, kind=HYPOPNEA, rule="AASM 1B"),
            event("b", 2100, kind=HYPOPNEA, rule="AASM 1A"),
            event("c", 2200),
        ]
    )
    assert index_of(running, "AHI", "AASM 1A").numerator == 3
    assert index_of(running, "AHI", "AASM 1B").numerator == 2


def test_preliminary_events_are_shown_apart_and_not_counted() -> None:
    running = night(HOUR_ASLEEP)
    running.hear(
        [
            event("a", 2000, status="preliminary"),
            event("b", 2100, kind=HYPOPNEA, status="preliminary", rule=HYPOPNEA_FLOW),
            event("c", 2200),
        ]
    )
    ahi = index_of(running, "AHI", "AASM 1B")
    assert (ahi.numerator, ahi.preliminary) == (1, 2)
    counts = running.indices().counts
    assert (counts[OBSTRUCTIVE_APNEA].final, counts[OBSTRUCTIVE_APNEA].preliminary) == (1, 1)
    assert (counts[HYPOPNEA].final, counts[HYPOPNEA].preliminary) == (0, 1)


def test_the_latest_revision_holds_whatever_came_last() -> None:
    running = night(HOUR_ASLEEP)
    running.hear(
        [
            event("a", 2000, status="preliminary"),
            event("a", 2000, revision=1),
            event("a", 2000, revision=2, kind=HYPOPNEA, rule="AASM 1A", status="amended"),
            event("a", 2000, revision=1),  # said twice
            event("b", 2100),
            event("b", 2100, revision=1, status="withdrawn"),
        ]
    )
    assert index_of(running, "AHI", "AASM 1A").numerator == 1
    assert index_of(running, "AHI", "AASM 1B").numerator == 0
    counts = running.indices().counts
    assert {kind: count.final for kind, count in counts.items() if count.final} == {HYPOPNEA: 1}


def test_surrogates_are_never_in_an_ahi() -> None:
    running = night(HOUR_ASLEEP)
    running.hear([event("a", 2000, rule=SURROGATE_APNEA)])
    assert index_of(running, "AHI", "AASM 1A").numerator == 0
    assert index_of(running, "REI", "AASM 1A").numerator == 0
    assert index_of(running, "REI", "surrogate").numerator == 1


def test_without_hours_there_is_no_rate_instead_of_zero() -> None:
    nothing = RunningIndices().indices()
    assert [(each.value, each.low, each.high) for each in nothing.indices] == [(None, None, None)] * 9
    assert nothing.severity is None
    assert index_of(night(HOUR_ASLEEP, breathing=False), "AHI", "AASM 1A").value is None


def test_hours_in_which_breathing_could_not_be_seen_are_no_denominator() -> None:
    """Eight hours of sleep with the cannula off for four: by all of them the index would be half of what it is."""
    running = night("2" * 120)
    for epoch in range(120, 240):
        running.stage(epoch, "N2")
    running.hear(event(str(n), 30 * n) for n in range(20))
    ahi, found = index_of(running, "AHI", "AASM 1A"), running.indices()
    assert (ahi.hours, ahi.value) == (1, 20)
    assert found.sleep_hours == 2


@pytest.mark.parametrize(
    ("events", "band"), [(14, "normal"), (15, "mild"), (44, "mild"), (45, "moderate"), (90, "severe")]
)
def test_a_band_begins_at_5_15_and_30(events: int, band: str) -> None:
    running = night("2" * 360)
    running.hear(event(str(n), 60.0 * n) for n in range(events))
    severity = running.indices().severity
    assert severity is not None
    assert severity.band == band
    assert (severity.index.name, severity.sleep_hours, severity.recorded_hours) == ("AHI", 3, 3)


def test_a_band_says_how_far_the_count_leaves_it_open() -> None:
    running = night("2" * 240)
    running.hear(event(str(n), 60.0 * n) for n in range(31))
    severity = running.indices().severity
    assert severity is not None
    assert (severity.low, severity.band, severity.high) == ("mild", "moderate", "moderate")


def test_there_is_no_band_before_two_hours() -> None:
    assert night("2" * 239).indices().severity is None
    assert night("2" * 240).indices().severity is not None


def test_where_sleep_is_unknown_the_band_is_of_recorded_hours_and_says_so() -> None:
    severity = night("." * 240).indices().severity
    assert severity is not None
    assert (severity.index.name, severity.sleep_hours, severity.recorded_hours) == ("REI", 0, 2)
    assert night("w" * 240).indices().severity is None  # awake is not unknown


def oximeter(values: list[float]) -> tuple[RunningIndices, Oximetry]:
    running, oximetry = RunningIndices(), Oximetry()
    seconds = take(oximetry, values)
    running.saturated(seconds)
    running.hear(desaturation_event(each, 0.0) for second in seconds for each in second.desaturations)
    return running, oximetry


def test_odi_and_time_below_90_worked_by_hand() -> None:
    part = course((97, 90), (93.5, 20), (97, 90), (88, 20), (97, 80))  # 300 s
    running, _ = oximeter(part * 12)
    three, four = index_of(running, "ODI", RULE_3), index_of(running, "ODI", RULE_4)
    assert (three.numerator, three.hours, three.value) == (24, 1, 24)
    assert (four.numerator, four.hours, four.value) == (12, 1, 12)
    low = index_of(running, "T90", "SpO2 below 90 %")
    assert low.numerator * 60 == pytest.approx(4)  # minutes
    assert low.value == low.low == low.high == pytest.approx(100 * 240 / 3600)


def test_unknown_seconds_are_not_below_90_but_widen_its_interval() -> None:
    running, _ = oximeter(course((97, 100), (LOST, 100), (88, 100), (97, 100)))
    low = index_of(running, "T90", "SpO2 below 90 %")
    assert low.value == pytest.approx(100 / 3)
    assert (low.low, low.high) == (25, 50)
    assert low.hours == pytest.approx(300 / 3600)


def test_a_desaturation_without_breathing_is_in_no_breathing_index() -> None:
    running = night(HOUR_ASLEEP)
    running.hear([event("d", 2000, kind=DESATURATION, rule=RULE_3)])
    assert index_of(running, "REI", "AASM 1A").numerator == 0


def burdened() -> RunningIndices:
    """An hour of sleep with one apnea that takes 31 s at 4 %."""
    running = night("2" * 120)
    oximetry = Oximetry()
    take(oximetry, course((97, 620), (93, 31), (97, 200)))
    running.hear([event("a", 600, 620)])
    running.measure(oximetry)
    return running


def test_a_hypoxic_burden_worked_by_hand() -> None:
    burden = burdened().indices().of("hypoxic burden", "Azarbarzin 2019, causal window")
    area = 31 * 4 / 60
    assert (burden.hours, burden.unit) == (1, "%min/h")
    assert burden.value == pytest.approx(area)
    assert burden.low == 0
    assert burden.high == pytest.approx(2.96 * area, rel=1e-3)


def test_the_burden_of_a_withdrawn_event_is_taken_back() -> None:
    running = burdened()
    running.hear([event("a", 600, 620, revision=1, status="withdrawn")])
    assert running.indices().of("hypoxic burden", "Azarbarzin 2019, causal window").numerator == 0


def test_a_burden_waits_until_the_saturation_after_an_event_is_known() -> None:
    running, oximetry = night("2" * 120), Oximetry()
    take(oximetry, course((97, 740)))
    running.hear([event("a", 600, 620), event("lasts", 700, status="preliminary")])
    running.measure(oximetry)
    assert running.state.unmeasured == ["a", "lasts"]
    take(oximetry, [97.0])
    running.measure(oximetry)
    assert running.state.unmeasured == ["lasts"]
    assert running.indices().burden_events == 1


def test_without_an_oximeter_the_burden_is_unknown_and_not_zero() -> None:
    running, oximetry = night("2" * 120), Oximetry()
    take(oximetry, course((LOST, 800)))
    running.hear([event("a", 600, 620)])
    running.measure(oximetry)
    found = running.indices()
    assert found.of("hypoxic burden", "Azarbarzin 2019, causal window").value is None
    assert found.burden_events == 0


REVISIONS = st.lists(
    st.builds(
        event,
        name=st.sampled_from("abcd"),
        start_s=st.integers(0, 900).map(float),
        kind=st.sampled_from([OBSTRUCTIVE_APNEA, HYPOPNEA, DESATURATION]),
        status=st.sampled_from(["preliminary", "final", "amended", "withdrawn"]),
        rule=st.sampled_from(["AASM 1A", "AASM 1B", RULE_4]),
        revision=st.integers(0, 4),
    ),
    max_size=12,
)


@settings(max_examples=50, deadline=None)
@given(REVISIONS, st.text("w12r.", min_size=1, max_size=30), st.integers(0, 12))
def test_a_snapshot_written_down_goes_on_as_if_nothing_had_been(said: list[Event], stages: str, stop: int) -> None:
    whole, first = night(stages), night(stages)
    whole.hear(said)
    first.hear(said[:stop])
    second = RunningIndices()
    second.restore(read_state(write_state(first.snapshot()), IndicesState))
    for each in said[stop:]:
        second.hear([each])
    assert repr(asdict(second.state)) == repr(asdict(whole.state))
    assert second.indices() == whole.indices()


@settings(max_examples=50, deadline=None)
@given(REVISIONS)
def test_revisions_said_again_change_nothing(said: list[Event]) -> None:
    once, twice = night("2" * 30), night("2" * 30)
    once.hear(said)
    twice.hear([*said, *said])
    assert once.indices() == twice.indices()


def test_a_snapshot_of_the_indices_is_not_changed_by_what_comes_after() -> None:
    running = burdened()
    kept = running.snapshot()
    before = repr(asdict(kept))
    running.hear([event("b", 100)])
    running.stage(0, "W")
    running.breathed(123, 30)
    assert repr(asdict(kept)) == before
    assert replace(kept.events["a"], revision=5) != kept.events["a"]
    assert np.isfinite(kept.burden.total).all()
