"""What this person's breaths are like without an event: the baseline of the AASM definition, causal.

It is the mean excursion of the two minutes before, or the mean of the three largest breaths of them where breathing is
not stable (Berry et al., J Clin Sleep Med 2012;8:597). Seconds of an event do not count, so neither the event nor a
row of them pulls it down; in the breaths after an event one counts at most as much as the baseline before it, so
hyperventilation does not push it up. Where too little is left, the last baseline stands for a while.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.history import ring_places

BASELINE_S: Final = 120
RENEWED_EVERY_S: Final = 5
_AS_BEFORE: Final = 0.9


@dataclass(frozen=True, slots=True)
class BaselineSettings:
    """`least_s` seconds of the two minutes are needed; a baseline that cannot be renewed stands for `stands_s`.

    Breathing is stable when the excursions' standard deviation is below `stable_variation` of their mean. A breath
    counts at most `largest` times the median one: more is a movement. `recovery_s` is how long after an event breaths
    are deeper than usual.
    """

    least_s: int = 30
    stands_s: int = 600
    stable_variation: float = 0.25
    largest: float = 1.5
    recovery_s: int = 20


@dataclass(slots=True)
class BaselineState:
    """The last 120 s, second s at place s % 120: `excursion` (rows, 120), NaN unknown; `in_event` (120,)."""

    excursion: NDArray[np.float64]
    in_event: NDArray[np.bool_]
    level: NDArray[np.float64]  # (rows,) the baseline, NaN while there is none
    age_s: NDArray[np.int64]  # (rows,) since it was renewed
    recovery_left_s: int = 0


def fresh_baseline(rows: int) -> BaselineState:
    """The state before the first second of so many channels."""
    return BaselineState(
        np.full((rows, BASELINE_S), np.nan),
        np.zeros(BASELINE_S, bool),
        np.full(rows, np.nan),
        np.zeros(rows, np.int64),
    )


def take_second(state: BaselineState, settings: BaselineSettings, second: int, in_event: bool) -> bool:
    """Take whether the next second was in an event; whether it is one of the deeper breaths after one."""
    state.in_event[second % BASELINE_S] = in_event
    if in_event:
        state.recovery_left_s = settings.recovery_s
        return False
    recovers = state.recovery_left_s > 0
    state.recovery_left_s -= recovers
    return recovers


def renew_baseline(
    state: BaselineState,
    settings: BaselineSettings,
    first: int,
    excursion: NDArray[np.float64],
    deep: Sequence[bool],
    breath_s: int,
) -> None:
    """Take the `excursion` (rows, n) of the seconds from `first` on, which were taken by `take_second`, and which of
    them it called `deep`; `breath_s` is about one breath.

    The level changes with every fifth second alone, so that those up to it can be taken together.
    """
    count = len(deep)
    if any(deep):
        # What is about as deep as before counts as just so, or noise would lower it with every event.
        level = state.level[:, None]
        excursion = np.where((excursion > _AS_BEFORE * level) & np.array(deep), level, excursion)
    state.excursion[:, ring_places(first, count, BASELINE_S)] = excursion
    state.age_s += count
    last = first + count - 1
    if last % RENEWED_EVERY_S == 0:
        if not state.in_event[last % BASELINE_S]:
            _renew(state, settings, breath_s)
        state.level[state.age_s > settings.stands_s] = np.nan


def count_again(state: BaselineState, first: int, stop: int) -> None:
    """The seconds from `first` to before `stop` were no event after all."""
    state.in_event[np.arange(max(first, stop - BASELINE_S), stop) % BASELINE_S] = False


def not_counted(state: BaselineState, first: int, stop: int) -> None:
    """The seconds from `first` to before `stop` were the beginning of an event."""
    state.in_event[np.arange(max(first, stop - BASELINE_S), stop) % BASELINE_S] = True


def _renew(state: BaselineState, settings: BaselineSettings, breath_s: int) -> None:
    counted = (state.excursion == state.excursion) & ~state.in_event
    count = np.add.reduce(counted, axis=1)
    if max(count.tolist()) < settings.least_s:
        return
    breaths = np.where(counted, state.excursion, 0.0)
    # The median of what counts lies behind the zeros of what does not.
    median = np.sort(breaths, axis=1)[np.arange(len(count)), BASELINE_S - count // 2 - 1]
    np.minimum(breaths, settings.largest * median[:, None], out=breaths)
    totals, squares = np.add.reduce(breaths, axis=1), np.add.reduce(breaths * breaths, axis=1)
    for row, (seconds, total, square) in enumerate(zip(count.tolist(), totals.tolist(), squares.tolist(), strict=True)):
        if seconds < settings.least_s:
            continue
        mean = total / seconds
        variance = max(square / seconds - mean * mean, 0.0)
        if variance > (settings.stable_variation * mean) ** 2:
            mean = _three_largest(breaths[row], breath_s)
        state.level[row], state.age_s[row] = mean, 0


def _three_largest(breaths: NDArray[np.float64], breath_s: int) -> float:
    """The mean of the three largest that are a breath apart; `breaths` (120,) is used up."""
    total = 0.0
    for _ in range(3):
        at = int(breaths.argmax())
        total += float(breaths[at])
        breaths[max(0, at - breath_s) : at + breath_s + 1] = 0.0
        breaths[: max(0, at + breath_s + 1 - BASELINE_S)] = 0.0  # it is a ring
        breaths[BASELINE_S + min(0, at - breath_s) :] = 0.0
    return total / 3
