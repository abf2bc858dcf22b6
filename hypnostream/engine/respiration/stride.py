"""Seconds of breathing that are prepared together, which is cheaper: those up to the next at which the baseline and
the window over which excursions are taken may change. What comes out does not depend on how many they are.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from hypnostream.engine.respiration import envelope as env
from hypnostream.engine.respiration.baseline import RENEWED_EVERY_S
from hypnostream.engine.respiration.effort import belts_phases
from hypnostream.engine.respiration.envelope import TICKS, EnvelopeSettings, EnvelopeState
from hypnostream.engine.respiration.history import ABDOMEN, FLOW, THORAX
from hypnostream.engine.respiration.rules import RuleSettings


@dataclass(frozen=True, slots=True)
class Stride:
    """`count` seconds, n.

    `excursion` (n, 5) is that of the end of each second, `left` (5, 5 n) what is left of the baseline at each tick,
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
    samples: NDArray[np.float64],
    known: NDArray[np.bool_],
) -> Stride:
    """The stride that begins with `second`, as long as it may be, of `samples` (n, 4, 25) that are `known` (n, 4).

    `level` (5,) is the baseline. The envelope is brought to the stride's end.
    """
    count = min(len(samples), -second % RENEWED_EVERY_S + 1)
    ticks = env.smoothed(envelope, samples[:count], known[:count])
    thorax, abdomen = ticks[THORAX : ABDOMEN + 1] / level[THORAX : ABDOMEN + 1, None]
    # The sum of the belts, each of which counts by its own baseline: the mean of those that are known.
    total = np.where(np.isnan(thorax), abdomen, np.where(np.isnan(abdomen), thorax, (thorax + abdomen) / 2))
    excursion = env.excursions(envelope, settings, np.concatenate((ticks, total[None])))
    left: NDArray[np.float64] = excursion / level[:, None]
    ends: list[list[float]] = left[:4, TICKS - 1 :: TICKS].T.tolist()
    if rules.linearise:
        left[FLOW] = np.sqrt(left[FLOW])
    flowing = (left[FLOW].reshape(count, TICKS) >= rules.reduced_below).all(axis=1)
    return Stride(count, excursion[:, TICKS - 1 :: TICKS].T, left, ends, flowing.tolist(), _phases(envelope, count))


def _phases(envelope: EnvelopeState, count: int) -> list[float]:
    """Of the belts over the window that ends with each of the last `count` seconds."""
    belts, window = envelope.smooth[THORAX : ABDOMEN + 1], envelope.window_ticks
    recent = belts[:, belts.shape[1] - TICKS * (count - 1) - window :]
    if np.isnan(recent).all(axis=1).any():
        return [math.nan] * count
    if count == 1:
        return belts_phases(recent[None])
    return belts_phases(sliding_window_view(recent, window, axis=1)[:, ::TICKS].swapaxes(0, 1))
