import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.engine.respiration.hypoxic_burden import (
    AROUND_S,
    HypoxicBurdenSettings,
    HypoxicBurdenState,
    measure,
    search_window,
)

SETTINGS = HypoxicBurdenSettings()


def around(first: int, last: int, percent: float, otherwise: float = 97.0) -> NDArray[np.float32]:
    """The saturation around an event's end that has one value from `first` to `last` s after it, another elsewhere."""
    lags = np.arange(-AROUND_S, AROUND_S + 1)
    return np.where((lags >= first) & (lags <= last), percent, otherwise).astype(np.float32)


def areas(*events: NDArray[np.float32]) -> list[float]:
    state = HypoxicBurdenState()
    for number, event in enumerate(events):
        measure(state, str(number), event, SETTINGS)
    return list(state.area.values())


def test_the_area_of_one_event_worked_by_hand() -> None:
    # 31 s at 4 % below the highest of the 100 s before the end
    assert areas(around(0, 30, 93)) == [pytest.approx(31 * 4 / 60)]


def test_only_what_lies_in_the_window_counts() -> None:
    assert areas(around(40, 60, 93)) == [pytest.approx(6 * 4 / 60)]
    assert areas(around(50, 90, 93)) == [0]


def test_the_highest_value_more_than_100_s_before_the_end_is_no_baseline() -> None:
    assert areas(around(-120, -101, 99, otherwise=95)) == [0]
    assert areas(around(-120, -100, 99, otherwise=95)) == [pytest.approx(51 * 4 / 60)]


def test_unknown_seconds_add_nothing_and_are_never_zero_percent() -> None:
    event = around(0, 30, 93)
    event[AROUND_S + 10 : AROUND_S + 20] = np.nan
    assert areas(event) == [pytest.approx(21 * 4 / 60)]


def test_an_event_of_which_too_little_is_known_has_no_area_instead_of_a_small_one() -> None:
    event = around(0, 30, 93)
    event[AROUND_S : AROUND_S + 46] = np.nan
    assert areas(event) == []


def test_after_ten_events_the_window_is_the_subjects_own() -> None:
    """Someone with a slow circulation: the fixed window would miss half of each area."""
    lags = np.arange(-AROUND_S, AROUND_S + 1)
    slow = (97 - 6 * np.exp(-(((lags - 40) / 12.0) ** 2))).astype(np.float32)
    state = HypoxicBurdenState()
    for number in range(9):
        measure(state, str(number), slow, SETTINGS)
    assert search_window(state, SETTINGS) == SETTINGS.window_s
    measure(state, "9", slow, SETTINGS)
    first, last = search_window(state, SETTINGS)
    assert -20 <= first <= 10
    assert 70 <= last <= 100
    whole = float((97 - slow).sum()) / 60
    assert state.area["0"] < 0.75 * whole
    assert state.area["9"] == pytest.approx(whole, rel=0.02)


def test_a_saturation_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(100,\) seconds"):
        measure(HypoxicBurdenState(), "a", np.zeros(100, np.float32), SETTINGS)
