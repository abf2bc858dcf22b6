"""Do two things that were recorded minute by minute belong to the same minutes? Asked by correlation."""

import numpy as np
from numpy.typing import NDArray

Minutes = NDArray[np.float64]  # (m,) a number a minute from the start, NaN where there is none
_FEWEST = 30


def swing(percent: NDArray[np.float32]) -> Minutes:
    """How far the saturation (n,), one a second, swings in each minute: ln(1 + hundredths of a percent)."""
    count = len(percent) // 60
    out = np.full(count, np.nan)
    for minute, values in enumerate(percent[: count * 60].reshape(count, 60)):
        there = values[np.isfinite(values)]
        if len(there) > _FEWEST:
            out[minute] = np.log1p(min(100 * float(there.max() - there.min()), 2000.0))
    return out


def restlessness(beats_s: NDArray[np.float64]) -> Minutes:
    """How much the heart's rate comes and goes in each minute: ln of the spread of RR, smoothed over five beats."""
    rr = np.convolve(np.diff(beats_s), np.full(5, 0.2), mode="same")
    which = (beats_s[1:] // 60).astype(int)
    out = np.full(which[-1] + 1 if len(which) else 0, np.nan)
    for minute in np.unique(which):
        values = rr[which == minute]
        if len(values) > 20:
            out[minute] = np.log(values.std() + 1e-4)
    return out


def agreement_at(a: Minutes, b: Minutes, shift: int = 0) -> float:
    """The correlation of `a` with `b` moved later by `shift` minutes; 0.0 where it has none."""
    a, b = a[max(shift, 0) :], b[max(-shift, 0) :]
    count = min(len(a), len(b))
    both = np.isfinite(a[:count]) & np.isfinite(b[:count])
    x, y = a[:count][both], b[:count][both]
    if len(x) < _FEWEST or x.std() == 0 or y.std() == 0:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def best_shift(a: Minutes, b: Minutes, most: int) -> tuple[int, float]:
    """The shift of `b`, up to `most` minutes either way, that agrees best with `a`, and how much better than none."""
    found = {shift: agreement_at(a, b, shift) for shift in range(-most, most + 1)}
    best = max(found, key=lambda shift: (found[shift], -abs(shift)))
    return best, found[best] - found[0]
