"""What is left of a breath, against what this person's breaths are: by signals whose answer is known."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.engine.respiration.airflow import AirflowSettings, AirflowState, fresh_airflow, take_seconds
from hypnostream.engine.respiration.effort import EffortSettings, apnea_kind, belts_phases
from hypnostream.engine.respiration.event import APNEA, CENTRAL_APNEA, MIXED_APNEA, OBSTRUCTIVE_APNEA
from hypnostream.engine.respiration.history import HISTORY_S
from hypnostream.engine.respiration.lifecycle import ABSENT, NORMAL, REDUCED, UNKNOWN, Airflow
from hypnostream.engine.respiration.rules import RuleSettings

RATE = 25


def breathing(seconds: int, *falls: tuple[float, float, float], per_minute: float = 15.0) -> NDArray[np.float64]:
    """A sensor (seconds, 25); each fall is (start_s, end_s, what is left). It ends where a breath does."""
    t = np.arange(seconds * RATE) / RATE
    gain = np.ones(len(t))
    for start_s, end_s, left in falls:
        gain[(t >= start_s) & (t < end_s)] = left
    noise = 0.005 * np.random.default_rng(5).standard_normal(len(t))
    return (gain * np.sin(2 * np.pi * t * per_minute / 60) + noise).reshape(seconds, RATE)


def run(
    flow: NDArray[np.float64],
    thermistor: NDArray[np.float64] | None = None,
    belts: NDArray[np.float64] | None = None,
    known: NDArray[np.bool_] | None = None,
    settings: AirflowSettings | None = None,
) -> tuple[AirflowState, list[Airflow]]:
    """All that is told; a sensor that is not given is not there."""
    settings = settings or AirflowSettings()
    state, told = fresh_airflow(settings), []
    for second in range(len(flow)):
        samples, there = np.zeros((4, RATE)), np.zeros(4, bool)
        samples[0], there[0] = flow[second], known is None or known[second]
        if thermistor is not None:
            samples[1], there[1] = thermistor[second], True
        if belts is not None:
            samples[2:], there[2:] = belts[second], True
        samples[~there] = 0.0
        told += next(take_seconds(state, settings, samples[None], there[None]))
    return state, told


def changes(told: list[Airflow], after_s: float = 60.0) -> list[tuple[int, float]]:
    """(level, since) each time that the level changed."""
    pairs = itertools.pairwise(told)
    return [(now.level, now.since_s) for before, now in pairs if now.level != before.level and now.now_s > after_s]


@pytest.mark.parametrize("per_minute", [10.0, 15.0, 24.0])
def test_a_pause_begins_where_the_last_breath_ended_and_ends_where_one_begins(per_minute: float) -> None:
    flow = breathing(240, (120.0, 144.0, 0.02), per_minute=per_minute)
    found = changes(run(flow)[1])
    assert [level for level, _ in found] == [REDUCED, ABSENT, REDUCED, NORMAL]
    half_breath_s = 30 / per_minute
    assert 120 - half_breath_s - 0.6 <= found[1][1] <= 120.6
    assert 143.4 <= found[2][1] <= 145.0
    assert 143.4 <= found[3][1] <= 144.6 + half_breath_s


def test_the_baseline_is_pulled_down_by_no_event_and_by_no_row_of_events() -> None:
    row = [(120.0 + 44 * i, 144.0 + 44 * i, 0.3) for i in range(8)]
    state, told = run(breathing(480, *row))
    usual = run(breathing(120))[0].baseline.level[0]
    assert state.baseline.level[0] == pytest.approx(usual, rel=0.03)
    assert [level for level, _ in changes(told)] == [REDUCED, NORMAL] * 8


def test_the_baseline_is_not_pushed_up_by_the_deep_breaths_after_an_event() -> None:
    deep = [(120.0 + 40 * i, 136.0 + 40 * i, 0.1) for i in range(6)]
    deep += [(136.0 + 40 * i, 152.0 + 40 * i, 1.8) for i in range(6)]
    state, _ = run(breathing(380, *deep))
    assert state.baseline.level[0] == pytest.approx(run(breathing(120))[0].baseline.level[0], rel=0.1)


def test_breathing_that_stays_smaller_for_minutes_is_the_new_baseline_and_smaller_breaths_for_a_while_are_not() -> None:
    usual = run(breathing(120))[0].baseline.level[0]
    assert run(breathing(250, (120.0, 999.0, 0.5)))[0].baseline.level[0] == pytest.approx(usual, rel=0.02)
    state, told = run(breathing(420, (120.0, 999.0, 0.5)))
    assert state.baseline.level[0] == pytest.approx(usual / 2, rel=0.05)
    assert told[-1].level == NORMAL


def test_the_heart_in_the_flow_and_drift_are_no_breaths() -> None:
    flow = breathing(240, (120.0, 144.0, 0.0)).ravel()
    t = np.arange(len(flow)) / RATE
    beats = 0.15 * np.sin(2 * np.pi * 1.1 * t) + 0.1 * np.sin(2 * np.pi * 4 * t) + 0.01 * (t % 100)
    assert ABSENT in [level for level, _ in changes(run((flow + beats).reshape(-1, RATE))[1])]


def test_unstable_breathing_is_measured_by_its_three_largest_breaths() -> None:
    waxing = breathing(240).ravel() * (0.6 + 0.4 * np.sin(2 * np.pi * np.arange(240 * RATE) / RATE / 50))
    level = run(waxing.reshape(-1, RATE))[0].baseline.level[0]
    assert 0.7 < level / run(breathing(120))[0].baseline.level[0] < 1.02


def test_a_second_that_is_missing_is_unknown_and_never_without_airflow() -> None:
    known = np.ones(240, bool)
    known[120:160] = False
    found = changes(run(breathing(240), known=known)[1])
    assert [level for level, _ in found] == [UNKNOWN, NORMAL]


def test_a_cannula_that_shows_nothing_while_the_thermistor_breathes_is_no_apnea() -> None:
    state, told = run(breathing(500, (120.0, 999.0, 0.0)), thermistor=breathing(500))
    found = changes(told)
    assert [level for level, _ in found] == [REDUCED, NORMAL]  # while the last breath leaves the window
    assert found[1][1] - found[0][1] < 10
    assert state.baseline.level[0] == pytest.approx(run(breathing(120))[0].baseline.level[0], rel=0.05)


def test_a_belt_that_is_off_says_nothing_of_effort_and_does_not_become_effort() -> None:
    belts = np.stack((breathing(300, (120.0, 999.0, 0.0)), breathing(300)), axis=1)
    state, _ = run(breathing(300), belts=belts)
    assert np.isnan(state.history.left[2, 250])
    assert state.history.left[3, 250] == pytest.approx(1.0, abs=0.1)


def test_a_sensor_that_shows_nothing_for_longer_than_anyone_lives_is_off_and_its_baseline_is_kept() -> None:
    state, told = run(breathing(900, (120.0, 800.0, 0.0)))
    assert {airflow.level for airflow in told if 350 < airflow.now_s < 800} == {UNKNOWN}
    assert told[-1].level == NORMAL
    assert state.baseline.level[0] == pytest.approx(run(breathing(120))[0].baseline.level[0], rel=0.05)


def test_nasal_pressure_goes_with_the_square_of_flow_when_it_is_asked_to() -> None:
    flow = breathing(200, (120.0, 150.0, 0.6))  # a root of 0.77 is no hypopnea
    linear = AirflowSettings(rules=RuleSettings(linearise=True))
    assert REDUCED in [level for level, _ in changes(run(flow)[1])]
    assert changes(run(flow, settings=linear)[1]) == []


def test_the_phase_between_the_belts_is_measured() -> None:
    t = np.arange(40) / 5 * 2 * np.pi / 4
    for degrees in (0.0, 60.0, 150.0):
        belts = np.stack((np.sin(t), 0.7 * np.sin(t + np.radians(degrees)) + 3))
        assert belts_phases(belts[:, None])[0] == pytest.approx(degrees, abs=4)
    assert np.isnan(belts_phases(np.full((2, 1, 40), np.nan))[0])
    assert np.isnan(belts_phases(np.zeros((2, 1, 40)))[0])


def test_effort_tells_one_kind_of_apnea_from_another_and_without_belts_none() -> None:
    some, none, unknown = np.full((2, 12), 0.8), np.full((2, 12), 0.05), np.full((2, 12), np.nan)
    calm, apart = np.full(12, 20.0), np.full(12, 150.0)
    mixed = np.concatenate((none[:, :6], some[:, :6]), axis=1)
    settings = EffortSettings()
    assert apnea_kind(some, calm, settings).kind == OBSTRUCTIVE_APNEA
    assert apnea_kind(none, calm, settings).kind == CENTRAL_APNEA
    assert apnea_kind(mixed, calm, settings).kind == MIXED_APNEA
    assert apnea_kind(unknown, unknown[0], settings).kind == APNEA
    assert apnea_kind(3 * none, apart, settings).kind == OBSTRUCTIVE_APNEA
    assert apnea_kind(3 * none, calm, settings).kind == CENTRAL_APNEA
    one = np.stack((none[0], unknown[0]))
    assert apnea_kind(one, unknown[0], settings).confidence < apnea_kind(none, calm, settings).confidence


def test_belts_alone_are_a_surrogate_that_sees_an_obstruction_by_their_paradox() -> None:
    t = np.arange(300 * RATE) / RATE
    lag = np.where((t >= 150) & (t < 180), 2.8, 0.1)
    belts = np.stack((np.sin(np.pi / 2 * t), np.sin(np.pi / 2 * t - lag)))
    belts = belts.reshape(2, 300, RATE).swapaxes(0, 1)
    state, told = run(np.zeros((300, RATE)), belts=belts, known=np.zeros(300, bool))
    found = changes(told)
    assert ABSENT in [level for level, _ in found]
    assert state.history.sensors[250 % HISTORY_S] == 4
