"""Whether there was effort to breathe while no air came: what kind of an apnea it was.

Effort that goes on throughout makes it obstructive, none throughout central, none at first and then some mixed (AASM).
An obstruction also lets chest and belly move against each other: their correlation over a breath is the cosine of
their phase, which is 0° in free breathing and nears 180° in paradox.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.event import APNEA, CENTRAL_APNEA, MIXED_APNEA, OBSTRUCTIVE_APNEA

PARADOX_DEGREES = 90.0


@dataclass(frozen=True, slots=True)
class EffortSettings:
    """Effort is there while a belt moves by `present` of its baseline, or by `present_in_paradox` with the belts apart.

    An apnea of which effort was there for less than `central_below` of the time is central; one is mixed whose first
    `mixed_s` and more were without.
    """

    present: float = 0.25
    present_in_paradox: float = 0.12
    central_below: float = 0.2
    mixed_s: float = 3.0
    least_s: float = 2.0


class EffortVerdict(NamedTuple):
    """The kind of an apnea, how sure from 0 to 1, and a clause for people."""

    kind: str
    confidence: float
    reason: str


def belts_phases(belts: NDArray[np.float64]) -> list[float]:
    """The phase between the `belts` (2, n, ticks) in degrees, 0 to 180; NaN where one is not known or does not move."""
    around = belts - np.add.reduce(belts, axis=2, keepdims=True) / belts.shape[2]
    first, second = np.add.reduce(around * around, axis=2)
    both = np.add.reduce(around[0] * around[1], axis=1)
    return list(map(_degrees, both.tolist(), (first * second).tolist()))


def _degrees(both: float, power: float) -> float:
    return math.degrees(math.acos(max(-1.0, min(1.0, both / math.sqrt(power))))) if power > 0 else math.nan


def apnea_kind(effort: NDArray[np.float64], phase: NDArray[np.float64], settings: EffortSettings) -> EffortVerdict:
    """Judge by `effort` (2, seconds), what each belt moves as a share of its baseline, and `phase` (seconds,), degrees.

    NaN is unknown, and where no belt is known for long enough, so is the kind.
    """
    known = ~np.isnan(effort).all(axis=0)
    if known.sum() < settings.least_s:
        return EffortVerdict(APNEA, 1.0, "effort not known")
    most = np.fmax(effort[0], effort[1])[known]
    apart = phase[known] > PARADOX_DEGREES
    there = (most >= settings.present) | (apart & (most >= settings.present_in_paradox))
    share, left = float(there.mean()), float(np.median(most))
    degrees = phase[known & ~np.isnan(phase)]
    words = f"effort at {100 * left:.0f} % of before"
    if share >= settings.central_below and len(degrees) and np.median(degrees) > PARADOX_DEGREES:
        words += f", belts {np.median(degrees):.0f}° apart"
    one_belt = 1.0 if not np.isnan(effort[:, known]).any() else 0.9
    if share < settings.central_below:
        return EffortVerdict(CENTRAL_APNEA, one_belt * (1 - share), words)
    first = int(there.argmax())
    if first >= settings.mixed_s and there[first:].mean() > 0.5:
        return EffortVerdict(MIXED_APNEA, one_belt * 0.8, f"{words}, none in the first {first} s and more")
    return EffortVerdict(OBSTRUCTIVE_APNEA, one_belt * (0.5 + 0.5 * share), words)
