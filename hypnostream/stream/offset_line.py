"""A robust straight line through measurements of a clock's offset.

Weighted least squares with Huber's weights (Huber 1964), and a slope that is held near nought until the probes say
otherwise: two clocks differ by parts per million.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# What the slope is believed to be before anything is measured: the spread of clocks, as a standard deviation.
_USUAL_SLOPE = 200e-6
_LARGEST_SLOPE = 1e-3
# No probe is better than this.
_BEST_S = 1e-4
_ROUNDS = 4
# A line is not believed further from its middle than this.
_FARTHEST_S = 3600.0


@dataclass(frozen=True, slots=True)
class OffsetLine:
    """The offset is `level_s` at `middle_s` on the sender's clock and grows by `slope` seconds a second."""

    middle_s: float = 0.0
    level_s: float = 0.0
    slope: float = 0.0
    uncertainty_s: float = math.inf

    def at(self, sender_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """The offset at these times on the sender's clock."""
        since_s = np.maximum(np.minimum(sender_s - self.middle_s, _FARTHEST_S), -_FARTHEST_S)
        return self.level_s + self.slope * since_s

    def at_time(self, sender_s: float) -> float:
        """The offset at one time: the same number, without NumPy's price for a single one."""
        since_s = max(min(sender_s - self.middle_s, _FARTHEST_S), -_FARTHEST_S)
        return self.level_s + self.slope * since_s


def fit_offsets(probes: NDArray[np.float64]) -> OffsetLine:
    """The line through `probes` (n, 3): when on the sender's clock, offset, uncertainty (of the round trip).

    Its own uncertainty is that of its level, and half the best round trip, which may all be in one direction.
    """
    sigma = np.maximum(probes[:, 2] / 2, _BEST_S)  # an offset is off by half the round trip at most
    weights = 1 / sigma**2
    middle_s = float(np.median(probes[:, 0]))
    base_s = float(np.median(probes[:, 1]))
    since, offsets = probes[:, 0] - middle_s, probes[:, 1] - base_s
    prior = np.diag([0.0, 1 / _USUAL_SLOPE**2])
    design = np.stack((np.ones(len(since)), since), axis=1)
    used = weights
    for _ in range(_ROUNDS):
        normal = (design.T * used) @ design + prior
        level, slope = np.linalg.solve(normal, (design.T * used) @ offsets)
        errors = np.abs(offsets - level - slope * since) / sigma
        scale = 1.345 * max(1.0, float(np.median(errors)) / 0.6745)
        used = weights * np.minimum(1, scale / np.maximum(errors, 1e-9))
    slope = float(np.clip(slope, -_LARGEST_SLOPE, _LARGEST_SLOPE))
    uncertainty_s = math.sqrt(float(np.linalg.inv(normal)[0, 0])) + float(sigma.min())
    return OffsetLine(middle_s, base_s + float(level), slope, uncertainty_s)
