"""How long things took: counted by bounds, as Prometheus wants it, so that hours cost no more memory than a second."""

import threading
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Spread:
    """Any thread adds, any thread reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts, self._sum_s = [0] * (len(BOUNDS_S) + 1), 0.0

    def add(self, seconds: float) -> None:
        """Something took so long; less than nothing counts as nothing."""
        seconds = max(seconds, 0.0)
        place = bisect_left(BOUNDS_S, seconds)
        with self._lock:
            self._counts[place] += 1
            self._sum_s += seconds

    def read(self) -> tuple[list[int], float]:
        """How many took as long as each of BOUNDS_S at most, last how many there were; and their sum in seconds."""
        with self._lock:
            return list(accumulate(self._counts)), self._sum_s


@dataclass(frozen=True, slots=True)
class Times:
    """From the last sample that an epoch waited for to its final stage; what the model took for one stage."""

    latency: Spread = field(default_factory=Spread)
    inference: Spread = field(default_factory=Spread)
