"""Events as they are said: whatever airflow does, each begins, is revised in order, and ends at most once."""

import copy
import itertools
from dataclasses import dataclass

from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypnostream.engine.respiration.event import APNEA, HYPOPNEA, Event
from hypnostream.engine.respiration.lifecycle import (
    ABSENT,
    NORMAL,
    REDUCED,
    UNKNOWN,
    Airflow,
    Lifecycle,
    LifecycleState,
    Verdict,
)
from hypnostream.engine.respiration.rules import AASM_1A, AASM_1B, Evidence, RuleSettings
from hypnostream.engine.written_state import read_state, write_state


@dataclass
class Told:
    """A judge that says the same of every event: a fall of SpO2, seen `delay_s` after the event's end."""

    fall_percent: float | None = None
    arousal: bool | None = None
    now_s: float = 0.0
    delay_s: float = 0.0

    def apnea(self, start_s: float, end_s: float) -> Verdict:
        return Verdict(APNEA, "apnea", 0.9, ("flow",), "")

    def hypopnea(self, start_s: float, end_s: float) -> Verdict:
        return Verdict(HYPOPNEA, "flow", 0.9, ("flow",), "", (AASM_1B, AASM_1A))

    def evidence(self, start_s: float, end_s: float) -> Evidence:
        seen = self.fall_percent if self.now_s >= end_s + self.delay_s else 0.0
        return Evidence(None if self.fall_percent is None else seen, self.fall_percent is not None, self.arousal)


def lived(levels: list[int], judge: Told, lag_s: float = 4.0, start_s: float = 0.0) -> list[Event]:
    """What is said of levels that last a second each, when each is told `lag_s` late."""
    lifecycle, events = Lifecycle(RuleSettings()), []
    for second, level in enumerate(levels):
        judge.now_s = start_s + second + 1.0
        events += lifecycle.step(Airflow(judge.now_s, level, start_s + max(0.0, second - lag_s)), judge)
    return events + lifecycle.finish(start_s + len(levels), judge)


def statuses(events: list[Event]) -> list[str]:
    return [event.status for event in events]


def test_an_apnea_is_said_at_ten_seconds_after_its_onset_and_is_final_without_any_oximeter() -> None:
    judge, lifecycle = Told(), Lifecycle(RuleSettings())
    first: dict[str, float] = {}
    levels = [NORMAL] * 20 + [ABSENT] * 20 + [NORMAL] * 30
    for second, level in enumerate(levels):
        for event in lifecycle.step(Airflow(second + 1.0, level, second - 4.0), judge):
            first.setdefault(event.status, second + 1.0)
    assert first["preliminary"] == 16.0 + 10.0  # the onset is at 16 s, and was told at 21 s
    assert first["final"] == 36.0 + 15.0


def test_a_hypopnea_waits_for_its_desaturation_and_takes_the_stricter_rule_once_it_is_met() -> None:
    levels = [NORMAL] * 20 + [REDUCED] * 20 + [NORMAL] * 60
    events = lived(levels, Told(fall_percent=5.0, delay_s=30.0))
    assert statuses(events)[-1] == "final"
    assert events[-1].rule == "AASM 1B"
    assert {event.rule for event in events[:-1]} == {"flow"}
    assert events[0].confidence < events[-1].confidence


def test_a_fall_that_deepens_amends_a_final_hypopnea() -> None:
    levels = [NORMAL] * 20 + [REDUCED] * 20 + [NORMAL] * 60
    events = lived(levels, Told(fall_percent=5.0, delay_s=30.0, arousal=True))
    assert [(event.status, event.rule) for event in events[-2:]] == [("final", "AASM 1A"), ("amended", "AASM 1B")]


def test_a_hypopnea_that_nothing_follows_is_withdrawn_and_one_that_no_oximeter_saw_never_is() -> None:
    levels = [NORMAL] * 20 + [REDUCED] * 20 + [NORMAL] * 60
    assert statuses(lived(levels, Told(fall_percent=1.0)))[-1] == "withdrawn"
    unseen = lived(levels, Told(fall_percent=None))
    assert unseen[-1].status == "preliminary"
    assert "SpO2 not known" in unseen[-1].reason
    assert unseen[-1].end_s is not None


def test_a_hypopnea_in_which_airflow_stops_becomes_the_apnea_and_keeps_its_id() -> None:
    events = lived([NORMAL] * 20 + [REDUCED] * 20 + [ABSENT] * 20 + [REDUCED] * 20 + [NORMAL] * 60, Told(5.0))
    assert {event.event_id for event in events} == {"respiratory-1"}
    assert [events[0].kind, events[-1].kind] == [HYPOPNEA, APNEA]
    assert (events[-1].start_s, events[-1].end_s) == (36.0, 56.0)


def test_two_absences_with_less_than_three_seconds_between_them_are_one_and_with_more_are_two() -> None:
    def count(gap: int) -> list[float | None]:
        levels = [NORMAL] * 20 + [ABSENT] * 15 + [REDUCED] * gap + [ABSENT] * 15 + [NORMAL] * 60
        last = {event.event_id: event for event in lived(levels, Told())}
        return [event.duration_s for event in last.values()]

    assert count(2) == [32.0]
    assert count(3) == [15.0, 15.0]


def test_a_pause_of_nine_seconds_is_nothing_and_one_that_is_known_too_late_to_be_shorter_is_withdrawn() -> None:
    assert lived([NORMAL] * 20 + [ABSENT] * 9 + [NORMAL] * 60, Told(5.0), lag_s=0.0) == []
    lifecycle, judge = Lifecycle(RuleSettings()), Told(5.0)
    events = []
    for second, level in enumerate([NORMAL] * 20 + [ABSENT] * 11 + [NORMAL] * 60):
        since_s = 28.0 if second == 31 else float(second)
        events += lifecycle.step(Airflow(second + 1.0, level, since_s), judge)
    assert statuses(events) == ["preliminary", "withdrawn"]


def test_what_lasts_for_minutes_is_a_new_level_or_a_lost_sensor_unless_the_saturation_fell() -> None:
    levels = [NORMAL] * 20 + [ABSENT] * 400 + [NORMAL] * 60
    assert statuses(lived(levels, Told(0.0))) == ["preliminary", "withdrawn"]
    assert statuses(lived(levels, Told(None))) == ["preliminary", "withdrawn"]
    assert statuses(lived(levels, Told(10.0)))[-1] == "final"


def test_a_sensor_that_goes_away_ends_what_it_was_seen_to_do() -> None:
    events = lived([NORMAL] * 20 + [ABSENT] * 15 + [UNKNOWN] * 60, Told())
    assert (events[-1].status, events[-1].end_s) == ("final", 31.0)


levels_st = st.lists(
    st.tuples(st.sampled_from((UNKNOWN, NORMAL, REDUCED, ABSENT)), st.integers(1, 40)), min_size=1, max_size=25
).map(lambda runs: [level for level, length in runs for _ in range(length)])
judge_st = st.builds(
    Told, st.sampled_from((None, 0.0, 3.5, 6.0)), st.sampled_from((None, True, False)), delay_s=st.floats(0, 60)
)


@settings(deadline=None, max_examples=150)
@example([ABSENT] * 19 + [UNKNOWN] * 2 + [REDUCED, ABSENT, UNKNOWN], Told(), 9.0, 0.0)
@given(levels_st, judge_st, st.floats(0, 20), st.sampled_from((0.0, -500.0, 1e6)))
def test_whatever_airflow_does_events_begin_are_revised_in_order_and_end_once(
    levels: list[int], judge: Told, lag_s: float, start_s: float
) -> None:
    by_id: dict[str, list[Event]] = {}
    for event in lived(levels, judge, lag_s, start_s):
        by_id.setdefault(event.event_id, []).append(event)
    for revisions in by_id.values():
        assert [event.revision for event in revisions] == list(range(1, len(revisions) + 1))
        assert revisions[0].status == "preliminary"
        for event in revisions:
            assert event.duration_s is None or event.duration_s >= 0
            assert start_s - 1e-6 <= event.start_s or event.start_s >= start_s - lag_s - 1
            assert 0.0 <= event.confidence <= 1.0
        said = statuses(revisions)
        assert said == sorted(said, key=("preliminary", "final", "amended", "withdrawn").index)
        assert said.count("final") <= 1
        assert said.count("amended") <= 1
        assert not ("withdrawn" in said and "final" in said)
        assert revisions[-1].end_s is not None
        assert revisions[-1].status == "withdrawn" or (revisions[-1].duration_s or 0) >= 10 - 1e-6
    held = sorted(
        (revisions[-1].start_s, revisions[-1].end_s or 0.0)
        for revisions in by_id.values()
        if revisions[-1].status != "withdrawn"
    )
    assert all(before[1] <= after[0] + 1e-6 for before, after in itertools.pairwise(held))


@settings(deadline=None, max_examples=40)
@given(levels_st, judge_st, st.data())
def test_it_goes_on_after_any_second_as_if_it_had_never_stopped(
    levels: list[int], judge: Told, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(levels)))
    lifecycle, events = Lifecycle(RuleSettings()), []
    for second, level in enumerate(levels):
        if second == at:
            state = read_state(write_state(lifecycle.state), LifecycleState)
            lifecycle = Lifecycle(RuleSettings())
            lifecycle.state = copy.deepcopy(state)
        judge.now_s = second + 1.0
        events += lifecycle.step(Airflow(second + 1.0, level, max(0.0, second - 4.0)), judge)
    assert events + lifecycle.finish(float(len(levels)), judge) == lived(levels, judge)
