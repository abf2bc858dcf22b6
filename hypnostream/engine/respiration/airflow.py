"""From samples to levels of airflow: normal, reduced, absent or unknown, and since when; one second after another."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration import envelope as env
from hypnostream.engine.respiration.baseline import (
    RENEWED_EVERY_S,
    BaselineSettings,
    BaselineState,
    count_again,
    fresh_baseline,
    not_counted,
    renew_baseline,
    take_second,
)
from hypnostream.engine.respiration.envelope import DELAY_S, TICK_S, TICKS, EnvelopeSettings, EnvelopeState
from hypnostream.engine.respiration.history import (
    BY_EFFORT,
    BY_FLOW,
    BY_THERMISTOR,
    EFFORT_SUM,
    FLOW,
    HISTORY_S,
    THERMISTOR,
    THORAX,
    History,
    fresh_history,
    ring_places,
)
from hypnostream.engine.respiration.lifecycle import ABSENT, NORMAL, REDUCED, TOLD_WITHIN_S, UNKNOWN, Airflow
from hypnostream.engine.respiration.rules import RuleSettings
from hypnostream.engine.respiration.stride import Stride, prepared

_ROWS = 5  # four sensors and the sum of the belts
_FAR_TICKS = 20  # a breath's turning point is looked for so far back
_BREATH_BEGINS = 0.15  # of its excursion
_FALLING_S = 2  # so long before it is seen to be low an excursion falls
_ALL_NORMAL: Final = [NORMAL] * TICKS


@dataclass(frozen=True, slots=True)
class AirflowSettings:
    """Of the envelope, the baseline and the rules; belts at `surrogate_absent_below` of their sum move no air.

    A belt that shows nothing for `belt_off_s` is off. (An airflow sensor is for the rules' `longest_s`.)
    """

    envelope: EnvelopeSettings = field(default_factory=EnvelopeSettings)
    baseline: BaselineSettings = field(default_factory=BaselineSettings)
    rules: RuleSettings = field(default_factory=RuleSettings)
    surrogate_absent_below: float = 0.25
    belt_off_s: int = 60


@dataclass(slots=True)
class AirflowState:
    """`level` and `unknown_s` are of the last tick; `low_from` is the first second of the fall under way, -1 for none.

    `silent_s` (4,) is how long each sensor has shown nothing.
    """

    envelope: EnvelopeState
    baseline: BaselineState
    history: History
    silent_s: NDArray[np.int64]
    level: int = UNKNOWN
    unknown_s: float = 0.0
    low_from: int = -1


def fresh_airflow(settings: AirflowSettings) -> AirflowState:
    """The state before the first second."""
    return AirflowState(
        env.fresh_envelope(4, settings.envelope, derived=1),
        fresh_baseline(_ROWS),
        fresh_history(),
        np.zeros(4, np.int64),
    )


def take_seconds(
    state: AirflowState, settings: AirflowSettings, samples: NDArray[np.float64], known: NDArray[np.bool_]
) -> Iterator[list[Airflow]]:
    """Take the next seconds: `samples` (n, 4, 25) of flow, thermistor, thorax and abdomen, and whether each is `known`.

    Of each second in turn, what airflow is, in order of time: at every tick at which its level changes, and at its end.
    Times are in seconds of the session. All of it is to be taken, and with each second the state is as of it.
    """
    ticks = env.smoothed(state.envelope, samples, known)
    while ticks.shape[1]:
        stride = prepared(
            state.envelope,
            settings.envelope,
            state.baseline.level,
            settings.rules,
            state.history.next_second,
            ticks,
        )
        for told in _judged(state, settings, stride):
            state.history.next_second += 1
            yield told
        ticks = ticks[:, TICKS * stride.count :]


def _judged(state: AirflowState, settings: AirflowSettings, stride: Stride) -> list[list[Airflow]]:
    """What is told of each second of the stride. They are remembered at once, and known as they are counted."""
    first = state.history.next_second
    state.history.window_s = state.envelope.window_ticks * TICK_S + DELAY_S
    _silence(state, settings, stride)
    told: list[list[Airflow]] = []
    told_by: list[int] = []
    deep: list[bool] = []
    low = False
    for place in range(stride.count):
        levels, sensors = _levels(stride, place, settings)
        told.append(_told(state, first + place, levels, sensors, stride.behind(place)))
        told_by.append(sensors)
        low = max(levels) >= REDUCED
        in_event = _in_event(state, settings, first + place, low, levels[-1])
        deep.append(take_second(state.baseline, settings.baseline, first + place, in_event))
    _remember(state, first, stride, told_by)
    _renew(state, settings, first, stride, deep, 0 if low else told_by[-1])
    return told


def _silence(state: AirflowState, settings: AirflowSettings, stride: Stride) -> None:
    """A sensor that shows nothing for too long is off, and unknown (what is `left` becomes NaN).

    What it shows while it shows nothing is not counted to its baseline (its `excursion` becomes NaN): it must come
    back to what it was.
    """
    if not any(last < settings.rules.absent_below for ends in stride.ends for last in ends):
        state.silent_s[:] = 0
        return
    for place, ends in enumerate(stride.ends):
        silent = [row for row, last in enumerate(ends) if last < settings.rules.absent_below]
        since_s = state.silent_s[silent] + 1 if silent else state.silent_s[:0]
        state.silent_s[:] = 0
        if silent:
            state.silent_s[silent] = since_s
            stride.excursion[silent, place] = np.nan
            state.baseline.age_s[silent] = -place  # 0 by then: it is counted on at the stride's end
            limit_s = np.where(np.array(silent) < THORAX, settings.rules.longest_s, settings.belt_off_s)
            for row in np.array(silent)[since_s > limit_s].tolist():
                stride.ticks(place)[row] = ends[row] = np.nan


def _levels(stride: Stride, place: int, settings: AirflowSettings) -> tuple[list[int], int]:
    """The level at each tick, and the sensors that told of it. Where flow is normal nothing else can change that."""
    if stride.flowing[place]:
        thermistor_end = stride.ends[place][THERMISTOR]
        return _ALL_NORMAL, BY_FLOW | BY_THERMISTOR * (thermistor_end == thermistor_end)
    by_row = stride.ticks(place).tolist()  # of so few numbers it is faster than by numpy
    flow, thermistor, effort = by_row[FLOW], by_row[THERMISTOR], by_row[EFFORT_SUM]
    if not any(one == one or other == other for one, other in zip(flow, thermistor, strict=True)):
        return [_by_effort(each, settings) for each in effort], BY_EFFORT if effort[-1] == effort[-1] else 0
    levels = [_by_airflow(one, other, settings.rules) for one, other in zip(flow, thermistor, strict=True)]
    flowing = flow[-1] == flow[-1] and not _is_mouth(flow[-1], thermistor[-1], settings.rules)
    return levels, BY_FLOW * flowing | BY_THERMISTOR * (thermistor[-1] == thermistor[-1])


def _by_effort(effort: float, settings: AirflowSettings) -> int:
    if math.isnan(effort):
        return UNKNOWN
    return _coded(effort < settings.rules.reduced_below, effort < settings.surrogate_absent_below)


def _by_airflow(flow: float, thermistor: float, rules: RuleSettings) -> int:
    """Each sensor is the other's substitute, and its witness: who breathes through the mouth breathes."""
    has_flow, has_thermistor = not math.isnan(flow), not math.isnan(thermistor)
    if not has_flow and not has_thermistor:
        return UNKNOWN
    if has_thermistor:
        absent = thermistor < rules.absent_below and not flow >= rules.reduced_below
    else:
        absent = flow < rules.absent_below
    by_flow = has_flow and not _is_mouth(flow, thermistor, rules)
    return _coded((flow if by_flow else thermistor) < rules.reduced_below, absent)


def _is_mouth(flow: float, thermistor: float, rules: RuleSettings) -> bool:
    return flow < rules.absent_below and thermistor >= rules.reduced_below


def _coded(reduced: bool, absent: bool) -> int:
    return ABSENT if absent else REDUCED if reduced else NORMAL


def _told(state: AirflowState, second: int, levels: list[int], sensors: int, behind: int) -> list[Airflow]:
    if levels is _ALL_NORMAL and state.level == NORMAL:
        return [Airflow(second + 1.0, NORMAL, second + 1.0)]
    told: list[Airflow] = []
    for tick, level in enumerate(levels):
        now_s = second + (tick + 1) * TICK_S
        if level != state.level:
            row = FLOW if sensors & BY_FLOW else THERMISTOR if sensors & BY_THERMISTOR else EFFORT_SUM
            after = behind + TICKS - 1 - tick
            since_s = now_s if level == UNKNOWN else _since_s(state, row, after, level > state.level, level, now_s)
            state.level = level
            told.append(Airflow(now_s, level, max(since_s, state.unknown_s)))
        if level == UNKNOWN:
            state.unknown_s = now_s
    if not told or told[-1].now_s < second + 1:
        told.append(Airflow(second + 1.0, state.level, second + 1.0))
    return told


def _since_s(state: AirflowState, row: int, behind: int, falls: bool, level: int, now_s: float) -> float:
    """When the level began that is seen at the tick after which so many come that are kept: a fall where the last
    breath ended, a rise where a breath began."""
    smooth, window = state.envelope.smooth[row], state.envelope.window_ticks
    end = len(smooth) - behind
    seen = smooth[end - window : end]
    at_s = now_s - DELAY_S
    if np.isnan(seen).all():
        return now_s
    low, high = np.nanmin(seen), np.nanmax(seen)
    if falls:
        start = end - window
        if level == ABSENT:  # the tail of the breath before is part of the pause: back to its turning point
            before = np.abs(smooth[max(0, start - _FAR_TICKS) : start + 1][::-1] - (low + high) / 2)
            ends = np.flatnonzero(~(before[1:] > before[:-1]))
            start -= int(ends[0]) if len(ends) else len(before) - 1
        return max(at_s - (end - start) * TICK_S, now_s - TOLD_WITHIN_S)
    rest, size = (low, high - low) if seen[-1] - low > high - seen[-1] else (high, low - high)
    moved = (seen - rest) / size if size else np.zeros(len(seen))
    still = np.flatnonzero(moved < _BREATH_BEGINS)
    return at_s - (len(seen) - 1 - int(still[-1]) if len(still) else 0) * TICK_S


def _in_event(state: AirflowState, settings: AirflowSettings, second: int, low: bool, last: int) -> bool:
    """Whether a second is in an event for the baseline; what came before it is known better now, and counts again or
    no more. `last` is its last level."""
    if not low:
        if state.low_from >= 0 and second - state.low_from + state.history.window_s < settings.rules.least_s:
            count_again(state.baseline, state.low_from, second)
        state.low_from = -1
        return False
    if state.low_from < 0:
        state.low_from = max(0, second - _FALLING_S)
        not_counted(state.baseline, state.low_from, second)
    if second - state.low_from > settings.rules.longest_s and last == REDUCED:
        count_again(state.baseline, state.low_from, second)  # no event lasts so long: this is how he breathes now
        return False
    return True


def _remember(state: AirflowState, first: int, stride: Stride, told_by: list[int]) -> None:
    history = state.history
    places = ring_places(first, stride.count, HISTORY_S)
    history.left[:, places] = stride.left[:, TICKS - 1 :: TICKS]
    history.sensors[places] = told_by
    history.phase[places] = stride.phases


def _renew(
    state: AirflowState, settings: AirflowSettings, first: int, stride: Stride, deep: list[bool], sensors: int
) -> None:
    """With every fifth second the baseline, and by its `sensors` (0: they say nothing of normal breaths) the window."""
    envelope, last = state.envelope, first + stride.count - 1
    renew_baseline(
        state.baseline, settings.baseline, first, stride.excursion, deep, max(1, envelope.window_ticks // TICKS)
    )
    if sensors and last % RENEWED_EVERY_S == 0:
        row = FLOW if sensors & BY_FLOW else THERMISTOR if sensors & BY_THERMISTOR else EFFORT_SUM
        period_s = env.breath_period_s(envelope.smooth[row], float(state.baseline.level[row]), settings.envelope)
        if period_s is not None:
            envelope.window_ticks = env.window_ticks(settings.envelope, period_s)
