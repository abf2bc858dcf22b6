import math

from hypnostream.engine.respiration.saturation import (
    HELD,
    KNOWN,
    MISSING,
    SPIKE,
    SaturationSettings,
    SaturationState,
    Settled,
    settle,
)

NAN = math.nan


def settled_of(values: list[float], baseline: float = 97.0) -> list[list[Settled]]:
    """What each second settles."""
    state = SaturationState()
    return [settle(state, value, baseline, SaturationSettings()) for value in values]


def whys(values: list[float], baseline: float = 97.0) -> list[str]:
    return [each.why for step in settled_of(values, baseline) for each in step]


def test_a_steady_second_is_settled_at_once_with_its_value() -> None:
    assert settled_of([97, 96, 97]) == [[(97, KNOWN)], [(96, KNOWN)], [(97, KNOWN)]]


def test_an_abrupt_fall_that_is_back_at_once_is_unknown() -> None:
    assert whys([97, 90, 90, 96, 96]) == [KNOWN, SPIKE, SPIKE, KNOWN, KNOWN]


def test_an_abrupt_fall_that_stays_is_known_with_its_values_and_late() -> None:
    """Oximeters that report each 5 s fall by 6 % from one second to the next in a real desaturation."""
    steps = settled_of([97, 91, 91, 91, 91, 91, 88, 97])
    assert [len(step) for step in steps] == [1, 0, 0, 0, 0, 0, 6, 1]
    assert [each.percent for step in steps for each in step] == [97, 91, 91, 91, 91, 91, 88, 97]
    assert {each.why for step in steps for each in step} == {KNOWN}


def test_a_fall_of_four_percent_in_a_second_waits_for_nothing() -> None:
    assert settled_of([97, 93, 97]) == [[(97, KNOWN)], [(93, KNOWN)], [(97, KNOWN)]]


def test_an_abrupt_fall_that_ends_in_loss_is_a_finger_that_slipped_out() -> None:
    assert whys([97, 80, 60, NAN, 97]) == [KNOWN, SPIKE, SPIKE, MISSING, KNOWN]


def test_an_abrupt_rise_is_how_people_recover() -> None:
    assert whys([85, 97, 97]) == [KNOWN] * 3


def test_what_comes_after_a_loss_is_compared_with_nothing() -> None:
    assert whys([97, NAN, 88, 88]) == [KNOWN, MISSING, KNOWN, KNOWN]


def test_a_normal_value_may_stay_for_half_an_hour_and_a_low_one_for_two_minutes() -> None:
    """The longest in 62 real nights are 2073 s at 98 % and, 3 % below the baseline, 102 s."""
    assert whys([97.99] * 2073) == [KNOWN] * 2073
    assert whys([92.0] * 130) == [KNOWN] * 120 + [HELD] * 10


def test_an_oximeter_that_repeats_itself_is_believed_again_when_it_moves() -> None:
    assert whys([92.0] * 121 + [92.5, 92.5]) == [KNOWN] * 120 + [HELD, KNOWN, KNOWN]


def test_a_value_without_a_baseline_is_never_low() -> None:
    assert whys([80.0] * 200, baseline=NAN) == [KNOWN] * 200
