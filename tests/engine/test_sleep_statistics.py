import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.sleep_statistics import SleepStatistics, sleep_statistics
from hypnostream.stream.stages import STAGES, UNSCORED, stage_codes


def statistics_of(text: str) -> SleepStatistics:
    names = {"w": "W", "1": "N1", "2": "N2", "3": "N3", "r": "R", ".": None}
    return sleep_statistics(stage_codes(names[letter] for letter in text))


def test_statistics_of_a_short_night_worked_by_hand() -> None:
    result = statistics_of("wwww" + "1222" + "33" + "w" + "12" + "rrr" + "ww" + "22")
    assert result.recording_min == result.answered_min == 10.0
    assert (result.epochs, result.epochs_absent) == (20, 0)
    assert result.total_sleep_min == 6.5
    assert result.sleep_efficiency_percent == pytest.approx(65.0)
    assert result.sleep_latency_min == 2.0
    assert result.rem_latency_min == 4.5
    assert result.wake_after_sleep_onset_min == 1.5
    assert result.stage_min == {"W": 3.5, "N1": 1.0, "N2": 3.0, "N3": 1.0, "R": 1.5}
    assert result.stage_percent == pytest.approx({"N1": 200 / 13, "N2": 600 / 13, "N3": 200 / 13, "R": 300 / 13})
    assert result.stage_transitions == 9
    assert result.awakenings == 2


def test_an_epoch_without_an_answer_is_no_wake_and_no_transition() -> None:
    result = statistics_of("w..22.2..w")
    assert result.epochs_absent == 5
    assert result.epochs_absent_before_sleep == 2
    assert result.answered_min == 2.5
    assert result.recording_min == 5.0
    assert result.stage_min["W"] == 1.0
    assert result.wake_after_sleep_onset_min == 0.5
    assert result.sleep_efficiency_percent == pytest.approx(60.0)
    assert result.sleep_latency_min == 1.5
    assert (result.stage_transitions, result.awakenings) == (0, 0)


@pytest.mark.parametrize("text", ["", "...", "www", "w.w"])
def test_without_sleep_nothing_that_needs_sleep_is_said(text: str) -> None:
    result = statistics_of(text)
    assert result.total_sleep_min == 0.0
    assert result.sleep_latency_min is result.rem_latency_min is result.wake_after_sleep_onset_min is None
    assert set(result.stage_percent.values()) == {None}
    assert result.sleep_efficiency_percent == (0.0 if "w" in text else None)


def test_without_rem_there_is_no_rem_latency() -> None:
    assert statistics_of("w223").rem_latency_min is None
    assert statistics_of("wr").rem_latency_min == 0.0


def test_codes_that_are_no_stages_are_refused() -> None:
    with pytest.raises(ValueError, match="hypnogram"):
        sleep_statistics(np.array([0, 7]))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(UNSCORED, len(STAGES) - 1), max_size=120))
def test_every_minute_is_counted_once(codes: list[int]) -> None:
    result = sleep_statistics(np.array(codes, dtype=np.int8))
    json.dumps(asdict(result), allow_nan=False)
    assert sum(result.stage_min.values()) == result.answered_min
    assert result.answered_min + result.epochs_absent / 2 == result.recording_min
    assert result.stage_min["W"] + result.total_sleep_min == result.answered_min
    assert result.awakenings <= result.stage_transitions
    if result.total_sleep_min:
        assert sum(share or 0.0 for share in result.stage_percent.values()) == pytest.approx(100.0)
        before_sleep = codes[: codes.index(next(code for code in codes if code > 0))]
        assert result.wake_after_sleep_onset_min == result.stage_min["W"] - before_sleep.count(0) / 2
        assert result.epochs_absent_before_sleep == before_sleep.count(UNSCORED)


def test_lights_off_and_on_are_the_time_base() -> None:
    hypnogram = stage_codes(["W"] * 10 + ["N2"] * 4 + ["R"] * 4 + ["W"] * 6 + [None] * 4)
    result = sleep_statistics(hypnogram, lights_off_s=100.0, lights_on_s=640.0)
    assert result.recording_min == 9.0  # exactly from off to on
    assert result.epochs == 18  # epoch 3 has its middle at 105 s, epoch 20 at 615 s, epoch 21 at 645 s
    assert result.sleep_latency_min == pytest.approx((300 - 100) / 60)
    assert result.rem_latency_min == 2.0
    assert result.wake_after_sleep_onset_min == 1.5
    assert result.epochs_absent == 0
    assert result.sleep_efficiency_percent == pytest.approx(100 * 8 / 18)


@pytest.mark.parametrize(
    ("off_s", "epochs"), [(0.0, 4), (15.0, 4), (15.1, 3), (45.0, 3), (45.1, 2), (120.0, 0), (500.0, 0), (-9.0, 4)]
)
def test_an_epoch_counts_when_its_middle_is_after_lights_off(off_s: float, epochs: int) -> None:
    result = sleep_statistics(stage_codes(["N2"] * 4), lights_off_s=off_s)
    assert result.epochs == epochs
    assert result.total_sleep_min == epochs / 2
    assert result.recording_min == pytest.approx((120 - min(max(off_s, 0), 120)) / 60)


@pytest.mark.parametrize(("on_s", "epochs"), [(120.0, 4), (106.0, 4), (105.0, 3), (15.0, 0), (-1.0, 0), (1e9, 4)])
def test_an_epoch_counts_when_its_middle_is_before_lights_on(on_s: float, epochs: int) -> None:
    assert sleep_statistics(stage_codes(["N2"] * 4), lights_on_s=on_s).epochs == epochs


def test_sleep_in_the_epoch_that_lights_off_cuts_has_no_latency() -> None:
    assert sleep_statistics(stage_codes(["N2"] * 4), lights_off_s=10.0).sleep_latency_min == 0.0
    assert sleep_statistics(stage_codes(["W", "N2"]), lights_off_s=40.0).sleep_latency_min == 0.0


@given(st.lists(st.integers(UNSCORED, 4), max_size=20), st.floats(-100, 900), st.floats(-100, 900))
def test_no_lights_make_more_sleep_than_there_is(codes: list[int], off_s: float, on_s: float) -> None:
    hypnogram = np.array(codes, dtype=np.int8)
    part, whole = sleep_statistics(hypnogram, off_s, on_s), sleep_statistics(hypnogram)
    assert part.total_sleep_min <= whole.total_sleep_min
    assert abs(part.epochs / 2 - part.recording_min) <= 0.5
    assert part.sleep_latency_min is None or part.sleep_latency_min >= 0
