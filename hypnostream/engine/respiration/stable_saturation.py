"""The saturation of the last minutes outside of desaturations, and the quantile of it that is the baseline."""

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from itertools import takewhile


@dataclass(slots=True)
class StableSaturation:
    """The stable seconds, oldest first, with their percentages; `ordered` are the latest `window` of these by size.

    What is kept in order need not be sorted again with every second.
    """

    window: int
    seconds: list[int] = field(default_factory=list)
    percent: list[float] = field(default_factory=list)
    ordered: list[float] = field(default_factory=list)

    def append(self, second: int, percent: float) -> None:
        """Take the next stable second."""
        self.seconds.append(second)
        self.percent.append(percent)
        insort(self.ordered, percent)
        if len(self.ordered) > self.window:
            self._leave(self.percent[-1 - self.window])

    def forget_before(self, second: int) -> None:
        """Let go of what is older than `second`."""
        while self.seconds and self.seconds[0] < second:
            if len(self.percent) == len(self.ordered):
                self._leave(self.percent[0])
            del self.seconds[0], self.percent[0]

    def take_back(self, first: int) -> int:
        """The seconds from `first` on are not stable after all; how many they were."""
        count = sum(1 for _ in takewhile(lambda second: second >= first, reversed(self.seconds)))
        if count:
            del self.seconds[-count:], self.percent[-count:]
            self.ordered = sorted(self.percent[-self.window :])
        return count

    def clear(self) -> None:
        """There are none any more."""
        self.seconds.clear()
        self.percent.clear()
        self.ordered.clear()

    def quantile(self, share: float) -> float:
        """The value that this share of the latest lie below. There must be some."""
        return self.ordered[int(share * (len(self.ordered) - 1))]

    def _leave(self, percent: float) -> None:
        del self.ordered[bisect_left(self.ordered, percent)]
