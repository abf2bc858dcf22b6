import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.engine.respiration.windows import last_windows


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 4), st.integers(0, 5), st.integers(0, 2))
def test_windows_are_those_that_numpy_makes(count: int, length: int, step: int, before: int, row: int) -> None:
    values = np.arange(4.0 * (before + length + step * (count - 1))).reshape(4, -1)
    expected = np.lib.stride_tricks.sliding_window_view(values, length, axis=1)[:, ::-step][:, :count][:, ::-1]
    np.testing.assert_array_equal(last_windows(values, count, length, step), expected)
    np.testing.assert_array_equal(last_windows(values, count, length, step, range(row, 4)), expected[row:])


def test_windows_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match="no 3 windows"):
        last_windows(np.zeros((2, 11)), 3, 10)
    with pytest.raises(ValueError, match="contiguous"):
        last_windows(np.zeros((2, 22))[:, ::2], 1, 10)
