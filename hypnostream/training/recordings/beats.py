"""Heart beats as points of a recording."""

import numpy as np
from numpy.typing import NDArray

from hypnostream.training.recordings.recording import Points


def beats_of(time_s: NDArray[np.float64], until_s: float) -> Points:
    """Beats (n,) in order, those before `until_s`: the value of each is the interval that ends with it, in seconds.

    The first beat ends no interval and is left out, and so is one at the very time of the one before.
    """
    order = np.unique(time_s)
    rr = np.diff(order)
    kept = order[1:] < until_s
    return Points("beat", order[1:][kept].astype(np.float64), rr[kept].astype(np.float64))
