"""The windows that end with each of the last values of some signals, as views.

They are made by hand: of a few dozen short windows numpy's own way costs more than what is done with them.
"""

import numpy as np
from numpy.typing import NDArray


def last_windows(
    values: NDArray[np.float64], count: int, length: int, step: int = 1, rows: range | None = None
) -> NDArray[np.float64]:
    """The last `count` windows (rows, count, length) of `values` (rows, n), each a `step` after the one before; of some
    `rows`, side by side, or all. Raises ValueError where there are fewer values, or they are not C-contiguous.
    """
    rows = range(len(values)) if rows is None else rows
    row, place = values.strides
    first = values.shape[1] - length - step * (count - 1)
    if first < 0:
        raise ValueError(f"{values.shape[1]} values have no {count} windows of {length}, {step} apart")
    strides = row, step * place, place
    return np.ndarray((len(rows), count, length), values.dtype, values, rows.start * row + first * place, strides)
