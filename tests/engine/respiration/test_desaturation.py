from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.respiration.desaturation import Desaturation
from hypnostream.engine.respiration.oximetry import Oximetry
from tests.engine.respiration.oximeter import LOST, course, found_in, ramp, said_of, take

STEADY = course((97, 60))


def test_a_dip_of_five_percent_worked_by_hand() -> None:
    dip = [*STEADY, *ramp(96, 92, 5), *course((92, 10)), *ramp(93, 96, 4), *course((97, 30))]
    first, deeper, final = said_of(dip)
    assert (first.status, first.start_s, first.depth_percent, first.end_s) == ("preliminary", 61, 3, None)
    assert (deeper.status, deeper.depth_percent, deeper.revision) == ("preliminary", 4, 1)
    assert (final.status, final.ended, final.revision) == ("final", "recovered", 2)
    assert (final.start_s, final.nadir_s, final.end_s) == (61, 64, 78)  # 96 is 4 of 5 back: more than two thirds
    assert (final.baseline_percent, final.nadir_percent, final.known_s) == (97, 92, 17)


def test_it_is_said_in_the_very_second_in_which_it_reaches_three_percent() -> None:
    seconds = take(Oximetry(), [*STEADY, *ramp(96, 92, 5)])
    assert [each.second for each in seconds if each.desaturations] == [62, 63]


@pytest.mark.parametrize(("depth", "count"), [(2.9, 0), (2.99, 1), (3.0, 1)])
def test_three_percent_less_a_recorders_rounding_is_needed(depth: float, count: int) -> None:
    assert len(found_in([*STEADY, *course((97 - depth, 20), (97, 30))])) == count


def test_a_dip_shorter_than_ten_seconds_is_withdrawn() -> None:
    said = said_of([*STEADY, *course((93.5, 8), (97, 30))])
    assert [each.status for each in said] == ["preliminary", "withdrawn"]
    assert said[-1].ended == "short"


def test_a_slow_drift_is_no_desaturation() -> None:
    assert not said_of([*course((97, 120)), *ramp(97, 91, 900), *course((91, 120))])


def test_nothing_is_said_before_there_is_a_baseline() -> None:
    assert not said_of(course((97, 4), (90, 10), (97, 60)))
    assert said_of(course((97, 15), (93, 12), (97, 60)))


def test_a_new_level_is_one_desaturation_and_then_the_baseline() -> None:
    found = found_in([*STEADY, *course((93, 90)), *course((92, 90)), *course((93, 600))])
    assert [(each.ended, each.end_s) for each in found] == [("limit", 240)]
    again = found_in([*STEADY, *course((93, 90), (92, 90), (93, 300), (89, 20), (93, 60))])
    assert [each.baseline_percent for each in again] == [97, 93]


def test_the_baseline_does_not_follow_a_desaturation_down() -> None:
    """Where each minute has one, most seconds are low: a plain quantile of the last minutes would call that normal."""
    train = course((97, 15), (95, 5), (91, 30), (89, 10)) * 20
    found = found_in([*STEADY, *train])
    assert len(found) == 19
    assert {each.baseline_percent for each in found} == {97}


def test_after_a_partial_recovery_the_next_is_measured_from_its_peak() -> None:
    # back by 8 of 12: over. Then 2 lower is no new one, and 4 lower is one of 4, not of 8.
    half = [*STEADY, *course((93, 10), (85, 15), (93, 20))]
    assert len(found_in([*half, *course((91, 20), (97, 30))])) == 1
    first, second = found_in([*half, *course((89, 20), (97, 30))])
    assert (first.depth_percent, second.baseline_percent, second.depth_percent) == (12, 93, 4)


def test_a_rise_and_a_fall_of_three_percent_part_two_desaturations_at_the_peak() -> None:
    values = [*STEADY, *course((93, 5), (85, 15), (89, 10), (84, 15), (97, 30))]
    first, second = found_in(values)
    assert (first.ended, first.end_s, first.nadir_percent) == ("turned", 90, 85)
    assert (second.start_s, second.baseline_percent, second.nadir_percent, second.end_s) == (90, 89, 84, 105)
    assert (first.known_s, second.known_s) == (30, 15)


def test_a_short_loss_within_a_desaturation_is_bridged_and_counted_as_unknown() -> None:
    (found,) = found_in([*STEADY, *course((93, 10), (LOST, 10), (92, 10), (97, 30))])
    assert (found.start_s, found.end_s, found.known_s) == (60, 90, 20)


def test_a_long_loss_ends_a_desaturation_at_the_last_second_known() -> None:
    (found,) = found_in([*STEADY, *course((93, 12), (LOST, 60), (97, 60))])
    assert (found.ended, found.end_s) == ("lost", 72)


def test_a_finger_that_slips_out_is_no_desaturation() -> None:
    assert not said_of([*STEADY, 85, 60, 40, *course((LOST, 60), (97, 60))])


def test_low_values_that_never_move_are_withdrawn() -> None:
    said = said_of([*STEADY, *course((90, 200), (97, 60))])
    assert [(each.status, each.ended) for each in said] == [("preliminary", ""), ("withdrawn", "held")]


def test_the_beginning_is_never_in_a_long_loss() -> None:
    (found,) = found_in([*STEADY, *course((LOST, 60), (93, 20), (97, 30))])
    assert found.start_s == 120


VALUES = st.lists(
    st.tuples(st.sampled_from([98.0, 97.0, 96.0, 94.0, 93.0, 90.0, 88.0, 80.0, LOST]), st.integers(1, 40)),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_revisions_follow_one_another_and_desaturations_too(parts: list[tuple[float, int]]) -> None:
    said = said_of([*STEADY, *course(*parts)])
    latest: dict[int, Desaturation] = {}
    for each in said:
        before = latest.get(each.number)
        assert each.revision == (0 if before is None else before.revision + 1)
        assert before is None or before.status == "preliminary"
        assert before is None or (before.start_s, before.baseline_percent) == (each.start_s, each.baseline_percent)
        assert each.depth_percent >= 2.95
        assert each.start_s <= each.nadir_s
        latest[each.number] = each
    assert list(latest) == list(range(len(latest)))
    ended = [each for each in latest.values() if each.end_s is not None]
    for each in ended:
        assert each.end_s is not None
        assert each.nadir_s < each.end_s
        assert 1 <= each.known_s <= each.end_s - each.start_s
        assert each.status == "withdrawn" or 10 <= each.end_s - each.start_s <= 180
    for one, other in pairwise(ended):
        assert one.end_s is not None
        assert one.end_s <= other.start_s
