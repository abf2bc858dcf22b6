"""How far a count leaves its rate uncertain: the exact interval of a Poisson mean."""

import math
from functools import lru_cache

import numpy as np


@lru_cache(maxsize=4096)
def poisson_interval(count: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of the mean of a Poisson count (Garwood, Biometrika 1936;28:437), at least of `level`.

    Raises:
        ValueError: the count is negative, or the level is not between 0 and 1.
    """
    if count < 0 or not 0 < level < 1:
        raise ValueError(f"an interval of level {level} for a count of {count}: give 0 or more, and a level in (0, 1)")
    tail = (1 - level) / 2
    spread = 10 + 10 * math.sqrt(count + 1)
    high = _mean_at(count, tail, count, count + spread)
    # P(n >= count | low) = tail is P(n <= count - 1 | low) = 1 - tail
    low = 0.0 if count == 0 else _mean_at(count - 1, 1 - tail, max(0.0, count - spread), count)
    return low, high


def _mean_at(count: int, share: float, least: float, most: float) -> float:
    """The mean for which a Poisson number is at most `count` with probability `share`; it lies in [least, most]."""
    n = np.arange(count + 1)
    log_factorial = np.concatenate(([0.0], np.cumsum(np.log(n[1:]))))
    for _ in range(60):
        mean = (least + most) / 2
        if float(np.exp(n * math.log(mean) - mean - log_factorial).sum()) > share:
            least = mean
        else:
            most = mean
    return (least + most) / 2
