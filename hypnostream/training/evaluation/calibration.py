"""Whether a probability means what it says.

Bins hold equally many answers (equal mass), as bins of equal width leave most of them nearly empty where a model is
sure of itself; answers with one and the same probability stay in one bin, so that their order cannot matter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """`count` (K,) answers in each bin, their mean `confidence` (K,) and the share that was right, `accuracy` (K,)."""

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> float | None:
        """ECE (Naeini et al. 2015): the mean gap of confidence and accuracy, weighted by answers; None with none."""
        if not self.count.sum():
            return None
        return float((self.count * np.abs(self.confidence - self.accuracy)).sum() / self.count.sum())


def equal_mass_bins(confidence: NDArray[np.floating], bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each answer (n,), 0 to at most `bins` - 1; fewer bins where many answers are equal."""
    if not confidence.size:
        return np.zeros(0, np.int64)
    edges = np.unique(np.quantile(confidence, np.arange(1, bins) / bins, method="lower"))
    return np.searchsorted(edges, confidence, side="right").astype(np.int64)


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """What was claimed beside what came true. Both (n,), no NaN; bins that hold nothing are left out."""
    which = equal_mass_bins(confidence, bins)
    count = np.bincount(which, minlength=1)
    held = count > 0
    claimed = np.bincount(which, confidence, minlength=1)[held] / count[held]
    came_true = np.bincount(which, right, minlength=1)[held] / count[held]
    return Reliability(count[held].astype(np.int64), claimed, came_true)
