"""A line of the table."""

import statistics
from collections.abc import Sequence

import msgspec

from benchmarks.report import quantile

COLUMNS = ("what", "size", "ms, median", "ms, p99", "of it filling", "beds in real time", "times the floor", "note")


class Row(msgspec.Struct, frozen=True):
    """What was measured, of which size, and the seconds that each time took; None and "" where a column is not of it.

    `floor_s` is the least that it could take, `filling_s` the part of each time in which inputs are copied to where
    they are taken from.
    """

    what: str
    size: str
    took_s: list[float]
    beds: int | None = None
    floor_s: float | None = None
    filling_s: list[float] | None = None
    note: str = ""

    @property
    def cells(self) -> Sequence[str]:
        """As `COLUMNS` name them."""
        median_s = statistics.median(self.took_s)
        return (
            self.what,
            self.size,
            _ms(median_s),
            _ms(quantile(self.took_s, 0.99)) if len(self.took_s) > 1 else "",
            "" if self.filling_s is None else _ms(statistics.median(self.filling_s)),
            "" if self.beds is None else f"{self.beds / median_s:,.0f}",
            "" if self.floor_s is None else f"{median_s / self.floor_s:.1f}",
            self.note,
        )


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.3f}"
