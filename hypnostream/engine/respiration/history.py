"""The last minutes of breathing, a second each: what events are judged by when they are over."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

HISTORY_S: Final = 300
FLOW, THERMISTOR, THORAX, ABDOMEN, EFFORT_SUM = range(5)
ROW_NAMES: Final = ("flow", "thermistor", "thorax", "abdomen")
# Which sensor told of airflow, as bits; BY_EFFORT when there was none of it.
BY_FLOW, BY_THERMISTOR, BY_EFFORT = 1, 2, 4


@dataclass(slots=True)
class History:
    """Second s at place s % HISTORY_S. `left` is what is left of the baseline, NaN unknown; `sensors` are bits."""

    left: NDArray[np.float64]  # (5, HISTORY_S)
    phase: NDArray[np.float64]  # (HISTORY_S,) between the belts, in degrees
    sensors: NDArray[np.uint8]  # (HISTORY_S,)
    window_s: float = 0.0  # a second's value is of the signal of so long before its end
    next_second: int = 0


def fresh_history() -> History:
    """Nothing was yet."""
    return History(np.full((5, HISTORY_S), np.nan), np.full(HISTORY_S, np.nan), np.zeros(HISTORY_S, np.uint8))


def ring_places(first: int, count: int, length: int) -> slice | NDArray[np.int64]:
    """Where so many seconds from the `first` on lie in a ring of this length: side by side, as mostly, is a slice."""
    place = first % length
    return slice(place, place + count) if place + count <= length else np.arange(first, first + count) % length


def within(history: History, start_s: float, end_s: float) -> NDArray[np.int64]:
    """The places of the seconds that lie in a time, in seconds of the session, as far as they are remembered."""
    first = max(math.ceil(start_s), history.next_second - HISTORY_S, 0)
    return np.arange(first, max(first, min(math.floor(end_s), history.next_second))) % HISTORY_S
