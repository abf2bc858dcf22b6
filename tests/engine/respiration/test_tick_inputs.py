"""What the learned model is given: unknown is a mask and zeros, known is relative to the sleeper, all is bounded."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.engine.respiration.tick_inputs import NUMBERS, TICK_SENSORS, tick_inputs

FLOW, SPO2, HEART, EEG = (TICK_SENSORS.index(name) for name in ("flow", "spo2", "heart", "eeg"))


def given_of(seconds: int = 2, **known: float) -> tuple[np.ndarray, np.ndarray]:
    arrays = {
        "left": np.full((seconds, 5), known.get("left", np.nan)),
        "phase_degrees": np.full(seconds, known.get("phase", np.nan)),
        "percent": np.full(seconds, known.get("percent", np.nan)),
        "baseline_percent": np.full(seconds, known.get("baseline", np.nan)),
        "rate_bpm": np.full(seconds, known.get("rate", np.nan)),
        "usual_interval_s": np.full(seconds, known.get("usual", np.nan)),
        "cyclic_share": np.full(seconds, known.get("cyclic", np.nan)),
        "log_power": np.full((seconds, 3), known.get("power", np.nan)),
    }
    return tick_inputs(**arrays)


def test_where_nothing_is_known_there_are_zeros_and_no_sensor() -> None:
    numbers, mask = given_of(3)
    assert numbers.shape == (3, len(TICK_SENSORS), NUMBERS)
    assert not numbers.any()
    assert not mask.any()


def test_each_sensor_is_there_by_itself_and_relative_to_what_is_usual() -> None:
    numbers, mask = given_of(left=0.1)
    assert mask[0].tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert np.isclose(numbers[0, FLOW, 0], -1.8)  # nearly no air: far below the baseline's 0
    numbers, mask = given_of(percent=90.0, baseline=96.0)
    assert mask[0].tolist() == [0, 0, 0, 0, 1, 0, 0]
    assert np.isclose(numbers[0, SPO2, 0], -2.0)  # in units of 3 %
    numbers, _ = given_of(percent=90.0)
    assert numbers[0, SPO2, 0] == 0  # no baseline yet
    numbers, mask = given_of(rate=60.0, usual=1.0, cyclic=0.5)
    assert mask[0, HEART] == 1
    assert np.isclose(numbers[0, HEART, 0], 0.0)
    assert np.isclose(numbers[0, HEART, 2], 1.0)
    numbers, mask = given_of(power=5.0)
    assert mask[0, EEG] == 1


@given(st.lists(st.floats(0, 1e6) | st.just(float("nan")), min_size=8, max_size=8))
def test_no_value_is_endless_and_none_of_a_sensor_that_is_not_there(values: list[float]) -> None:
    names = ("left", "phase", "percent", "baseline", "rate", "usual", "cyclic", "power")
    with np.errstate(divide="ignore", invalid="ignore"):
        numbers, mask = given_of(2, **dict(zip(names, values, strict=True)))
    assert np.isfinite(numbers).all()
    assert np.abs(numbers).max() <= 6
    assert not numbers[mask == 0].any()
