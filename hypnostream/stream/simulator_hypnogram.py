"""A night's hypnogram out of nothing: a semi-Markov walk through sleep cycles.

Stage lengths are gamma distributed around means that change from cycle to cycle: N3 early, REM late, about ninety
minutes a cycle. The means give the proportions of healthy adults in Ohayon et al. 2004 (Sleep 27:1255) and the
cycle lengths of Feinberg and Floyd 1979 (Psychophysiology 16:283): N1 5-10 %, N2 45-55 %, N3 10-20 %, REM 18-25 %,
half an hour awake after sleep onset.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import STAGES

WAKE, N1, N2, N3, REM = range(len(STAGES))

# Mean lengths in epochs of 30 s, by cycle; later cycles repeat the last column.
_N2_DESCENDING = (22, 14, 16, 20, 24)
_N3 = (58, 40, 24, 12, 4)
_N2_ASCENDING = (34, 48, 52, 54, 50)
_REM = (12, 26, 36, 40, 40)
_N3_BOUT, _REM_BOUT = 16, 18  # a bout is broken by a short spell of lighter sleep
_SLEEP_LATENCY, _FINAL_WAKE = 26, 10
_AROUSAL_PER_EPOCH = 0.028  # of N2 and REM: an awakening, then N1

Run = tuple[int, int]  # stage, epochs


def simulate_hypnogram(epochs: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """`epochs` stages as indices into STAGES, beginning and (given an hour or more) ending awake.

    A recording shorter than two hours keeps the first part of the night with a sleep latency cut to an eighth of it.
    """
    latency = min(_length(_SLEEP_LATENCY, rng), max(1, epochs // 8))
    final_wake = min(_length(_FINAL_WAKE, rng), epochs // 12)
    stages = [WAKE] * latency
    for stage, length in _cycles(rng):
        stages += [stage] * length
        if len(stages) >= epochs - final_wake:
            break
    night = np.full(epochs, WAKE, dtype=np.int8)
    asleep = stages[: epochs - final_wake]
    night[: len(asleep)] = asleep
    return night


def _cycles(rng: np.random.Generator) -> Iterator[Run]:
    """Cycle after cycle without end."""
    cycle = 0
    while True:
        column = min(cycle, len(_N3) - 1)
        yield N1, _length(5 if cycle == 0 else 2, rng)
        yield from _with_arousals(N2, _length(_N2_DESCENDING[column], rng), rng)
        yield from _bouts(N3, _length(_N3[column], rng) - 1, _N3_BOUT, N2, rng)
        yield from _with_arousals(N2, _length(_N2_ASCENDING[column], rng), rng)
        yield from _bouts(REM, _length(_REM[column], rng), _REM_BOUT, N1, rng)
        cycle += 1


def _bouts(stage: int, epochs: int, mean_bout: int, between: int, rng: np.random.Generator) -> Iterator[Run]:
    """`epochs` of a stage in bouts, with one or two epochs of lighter sleep between them."""
    while epochs > 0:
        bout = min(_length(mean_bout, rng), epochs)
        yield from _with_arousals(stage, bout, rng) if stage == REM else ((stage, bout),)
        epochs -= bout
        if epochs > 0:
            yield between, int(rng.integers(1, 3))


def _with_arousals(stage: int, epochs: int, rng: np.random.Generator) -> Iterator[Run]:
    """A run of a stage, broken where the sleeper wakes for a minute or so and dozes off through N1."""
    while epochs > 0:
        until_arousal = int(rng.geometric(_AROUSAL_PER_EPOCH))
        yield stage, min(until_arousal, epochs)
        epochs -= until_arousal
        if epochs > 0:
            yield WAKE, int(rng.geometric(0.35))
            yield N1, int(rng.geometric(0.5))


def _length(mean: float, rng: np.random.Generator) -> int:
    """A gamma distributed number of epochs, at least one; the spread is about half the mean."""
    return max(1, round(float(rng.gamma(4.0, mean / 4.0))))
