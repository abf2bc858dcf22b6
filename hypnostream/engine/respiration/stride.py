"""Seconds of breathing that are prepared together, which is cheaper: those up to the next at which the baseline and
the window over which excursions are taken may change. What comes out does not depend on how many they are.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration import envelope as env
from hypnostream.engine.respiration.baseline import RENEWED_EVERY_S
from hypnostream.engine.respiration.effort import belts_phases
from hypnostream.engine.respiration.envelope import TICKS, EnvelopeSettings, EnvelopeState
from hypnostream.engine.respiration.history import EFFORT_SUM, FLOW, THORAX
from hypnostream.engine.respiration.rules import RuleSettings
from hypnostream.engine.respiration.windows import last_windows


@dataclass(frozen=True, slots=True)
class Stride:
    """`count` seconds, n.

    `excursion` (5, n) is that of the end of each second, `left` (5, 5 n) what is left of the baseline at each tick,
    `ends` its values at the end of each second, `flowing` whether flow tells of normal breathing throughout a second,
    `phases` are between the belts.
    """

    count: int
    excursion: NDArray[np.float64]
    left: NDArray[np.float64]
    ends: list[list[float]]
    flowing: list[bool]
    phases: list[float]

    def ticks(self, place: int) -> NDArray[np.float64]:
        """What is left (5, 5) at the ticks of a second."""
        return self.left[:, TICKS * place : TICKS * (place + 1)]

    def behind(self, place: int) -> int:
        """How many ticks come after a second's."""
        return TICKS * (self.count - 1 - place)


def prepared(
    envelope: EnvelopeState,
    settings: EnvelopeSettings,
    level: NDArray[np.float64],
    rules: RuleSettings,
    second: int,
    ticks: NDArray[np.float64],
) -> Stride:
    """The stride that begins with `second`, as long as it may be, of the `ticks` (4, 5 n) of the next seconds.

    `level` (5,) is the baseline. The envelope is brought to the stride's end.
    """
    count = min(ticks.shape[1] // TICKS, -second % RENEWED_EVERY_S + 1)
    ticks = ticks[:, : TICKS * count]
    excursion = env.excursions(envelope, settings, ticks, _of_both(ticks[THORAX:] / level[THORAX:EFFORT_SUM, None]))
    left: NDArray[np.float64] = excursion / level[:, None]
    ends: list[list[float]] = left[:4, TICKS - 1 :: TICKS].T.tolist()
    if rules.linearise:
        left[FLOW] = np.sqrt(left[FLOW])
    flowing = np.logical_and.reduce(left[FLOW].reshape(count, TICKS) >= rules.reduced_below, axis=1)
    return Stride(count, excursion[:, TICKS - 1 :: TICKS], left, ends, flowing.tolist(), _phases(envelope, count))


def _of_both(belts: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of the belts (2, ticks), each of which counts by its own baseline: the mean of those that are known."""
    thorax, abdomen = belts
    total: NDArray[np.float64] = (thorax + abdomen) / 2
    if (total != total).any():
        for one, other in ((thorax, abdomen), (abdomen, thorax)):
            unknown = np.isnan(one)
            total[unknown] = other[unknown]
    return total


def _phases(envelope: EnvelopeState, count: int) -> list[float]:
    """Of the belts over the window that ends with each of the last `count` seconds."""
    smooth, window = envelope.smooth, envelope.window_ticks
    first = smooth.shape[1] - TICKS * (count - 1) - window
    belts = smooth[THORAX:EFFORT_SUM, first:]
    if any(last != last for last in belts[:, -1].tolist()) and np.isnan(belts).all(axis=1).any():
        return [math.nan] * count
    return belts_phases(last_windows(smooth, count, window, TICKS, range(THORAX, EFFORT_SUM)))
