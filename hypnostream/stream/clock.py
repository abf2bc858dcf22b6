"""The session's clock: the pace at which stream time passes.

Live and replay differ in their source and in this clock, in nothing else. Every threshold that is compared with
`now()` is in seconds of the session, so at 60 times the speed of life it is 60 times shorter on the wall.
"""

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """Seconds of the session, which never go back."""

    def now(self) -> float:
        """The time in seconds of the session."""
        ...

    def wait_until(self, t_s: float) -> None:
        """Return when `now()` is at least `t_s`; at once if it already is."""
        ...

    def wall_s(self, duration_s: float) -> float:
        """How many seconds on the wall a duration of the session takes: the timeout to wait with."""
        ...


class RealTimeClock:
    """`speed` seconds of the session pass in each second on the wall; `start_s` is the session's time now."""

    def __init__(
        self,
        speed: float = 1.0,
        start_s: float = 0.0,
        wall: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 < speed < float("inf"):
            raise ValueError(f"speed {speed} is not a positive number")
        self.speed = speed
        self._start_s = start_s
        self._wall = wall
        self._sleep = sleep
        self._wall_start = wall()

    def now(self) -> float:
        """The time in seconds of the session."""
        return self._start_s + (self._wall() - self._wall_start) * self.speed

    def wait_until(self, t_s: float) -> None:
        """Sleep until `t_s`; a sleep that ends early is taken up again."""
        while (left_s := t_s - self.now()) > 0:
            self._sleep(self.wall_s(left_s))

    def wall_s(self, duration_s: float) -> float:
        """Seconds on the wall that `duration_s` of the session take."""
        return duration_s / self.speed


class VirtualClock:
    """As fast as it goes: waiting moves the time and takes none. Compute time does not count either."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._now_s = start_s

    def now(self) -> float:
        """The latest time that was waited for."""
        return self._now_s

    def wait_until(self, t_s: float) -> None:
        """Make it `t_s`, unless it is later already."""
        self._now_s = max(self._now_s, t_s)

    def wall_s(self, duration_s: float) -> float:
        """Nothing takes time on the wall."""
        return 0.0
