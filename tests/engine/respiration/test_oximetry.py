from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.respiration.desaturation_events import RULE_3, RULE_4, desaturation_event
from hypnostream.engine.respiration.oximetry import HISTORY_S, Oximetry, OximetrySecond, OximetryState
from hypnostream.engine.written_state import read_state, write_state
from tests.engine.respiration.oximeter import LOST, course, said_of, take
from tests.engine.respiration.test_desaturation import STEADY, VALUES


def seen(values: list[float], t0_s: float = 0.0) -> Oximetry:
    oximetry = Oximetry(t0_s)
    take(oximetry, values)
    return oximetry


def same(some: list[OximetrySecond], other: list[OximetrySecond]) -> bool:
    return repr(some) == repr(other)


@settings(max_examples=40, deadline=None)
@given(VALUES, st.lists(st.integers(1, 90), max_size=30), st.integers(0, 400))
def test_any_chunks_and_a_snapshot_at_any_second_give_the_same(
    parts: list[tuple[float, int]], sizes: list[int], stop: int
) -> None:
    values = [*STEADY, *course(*parts)]
    whole = Oximetry()
    expected = take(whole, values)
    oximetry, got, at = Oximetry(), list[OximetrySecond](), 0
    for size in [*sizes, len(values)]:
        got += take(oximetry, values[at : at + size])
        at += size
        if at >= stop:
            again = Oximetry()
            again.restore(read_state(write_state(oximetry.snapshot()), OximetryState))
            oximetry = again
    assert same(got, expected)
    assert repr(asdict(oximetry.state)) == repr(asdict(whole.state))


@settings(max_examples=30, deadline=None)
@given(VALUES, st.integers(0, 600))
def test_what_is_said_of_a_second_never_changes_with_later_ones(parts: list[tuple[float, int]], stop: int) -> None:
    values = [*STEADY, *course(*parts)]
    early = take(Oximetry(), values[:stop])
    assert same(early, take(Oximetry(), values)[: len(early)])


def test_a_snapshot_is_not_changed_by_what_comes_after() -> None:
    oximetry = seen(STEADY)
    kept = oximetry.snapshot()
    before = repr(asdict(kept))
    take(oximetry, course((90, 40)))
    assert repr(asdict(kept)) == before


def test_a_second_that_is_not_ok_is_unknown_and_not_zero() -> None:
    seconds = take(Oximetry(), [*STEADY, LOST])
    assert seconds[-1].percent is None
    assert seconds[-1].why == "missing"
    assert seconds[-1].baseline == 97


def test_misfitting_quality_is_refused() -> None:
    with pytest.raises(ValueError, match="2 samples of saturation with 3 codes"):
        Oximetry().advance(np.zeros(2, np.float32), np.zeros(3, np.uint8))


def test_samples_come_as_the_grid_has_them() -> None:
    seconds = Oximetry().advance(np.full((20, 1), 97, np.float32), np.zeros(20, np.uint8))
    assert seconds[-1].percent == seconds[-1].baseline == 97


def test_the_fall_of_an_event_worked_by_hand() -> None:
    # an event from 60 to 80 s, the nadir 15 s after its end
    oximetry = seen([*STEADY, *course((97, 20), (94, 15), (92, 5), (97, 60))], t0_s=1000.5)
    fall = oximetry.fall_after(1060.5, 1080.5)
    assert fall == (5, 1060.5, 1095.5, 1.0, True)


def test_the_fall_of_an_event_is_not_over_before_all_of_its_time_is_settled() -> None:
    values = [*STEADY, *course((97, 20), (93, 44))]
    oximetry = seen(values)
    assert oximetry.fall_after(60, 80) == (4, 60, 80, 64 / 65, False)
    take(oximetry, [90.0])
    assert oximetry.fall_after(60, 80) == (7, 60, 124, 1.0, True)


def test_what_was_still_low_from_the_event_before_is_no_evidence() -> None:
    """Measured from the baseline, each event after a deep one would have a desaturation."""
    oximetry = seen([*STEADY, *course((90, 25), (91, 70))])
    assert oximetry.fall_after(80, 100).percent == 0
    assert oximetry.drop_since(80) == 7


def test_one_sample_above_the_baseline_is_no_peak() -> None:
    oximetry = seen([*STEADY, 99, *course((96, 15), (94.5, 60))])
    assert oximetry.fall_after(60, 80).percent == 2.5


def test_a_fall_that_no_one_saw_is_unknown_and_not_zero() -> None:
    oximetry = seen([*STEADY, *course((LOST, 80))])
    assert oximetry.fall_after(60, 80) == (None, None, None, 0.0, True)
    assert oximetry.drop_since(60) is None


def test_a_fall_seen_in_part_says_how_much_of_it() -> None:
    fall = seen([*STEADY, *course((97, 20), (94, 10), (LOST, 35))]).fall_after(60, 80)
    assert fall.percent == 3
    assert fall.known_fraction == pytest.approx(30 / 65)


def test_what_is_longer_ago_than_the_history_is_unknown() -> None:
    oximetry = seen(course((97, HISTORY_S), (95, 10)))
    assert np.isnan(oximetry.saturation(-5, 10)).all()
    assert oximetry.saturation(HISTORY_S - 1, HISTORY_S + 2).tolist() == [97, 95, 95]
    assert oximetry.known_fraction(0, 20) == 0.5
    assert oximetry.known_fraction(3, 3) == 0


def test_seconds_of_an_abrupt_fall_are_unknown_until_they_are_settled() -> None:
    oximetry = seen([*STEADY, 90, 90])
    assert oximetry.settled_s == 60
    assert np.isnan(oximetry.saturation(60, 62)).all()
    take(oximetry, course((90, 4)))
    assert oximetry.saturation(60, 66).tolist() == [90] * 6
    assert oximetry.drop_since(0) == 7


def test_a_rule_is_the_strictest_that_a_desaturation_meets() -> None:
    events = [desaturation_event(each, 500.0) for each in said_of([*STEADY, *course((94, 10), (93, 10), (97, 30))])]
    assert [(e.status, e.rule, e.start_s, e.end_s) for e in events] == [
        ("preliminary", RULE_3, 560, None),
        ("preliminary", RULE_4, 560, None),
        ("final", RULE_4, 560, 580),
    ]
    assert {e.event_id for e in events} == {"desaturation-0"}
    assert [e.revision for e in events] == [0, 1, 2]
    assert events[-1].signals == ("spo2",)
    assert events[-1].confidence == 1
    assert events[-1].reason == "4.0 % below 97.0 %, came back"


def test_a_desaturation_that_was_lost_is_worth_less_than_one_that_came_back() -> None:
    lost = said_of([*STEADY, *course((93, 12), (LOST, 60))])[-1]
    half = said_of([*STEADY, *course((93, 8), (LOST, 8), (97, 30))])[-1]
    assert desaturation_event(lost, 0).confidence == 0.5
    assert desaturation_event(half, 0).confidence == 0.5  # half of it was not seen
