"""From a sender's clock to the recorder's, by the offsets that were measured while an XDF file was recorded.

Every few seconds a recorder measures by how much its clock is ahead of the sender's. Between two minutes the offset is
a line through medians, so it follows a crystal that warms up and no single measurement that waited in a network. A
sender that was started again has another clock: the offset jumps, and a new line begins.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_KNOT_S = 120.0
_JUMP_S, _FASTEST_DRIFT = 0.1, 1e-3  # an offset that differs by more, and goes on to, is another clock's
_BACK_S = 1.0
_MEASURED_EVERY_S = 30.0  # recorders do every 5 s or so
_CONFIRMED_BY = 2  # measurements that follow and agree
_MOST_FOR_SLOPE: Final = 200


@dataclass(frozen=True, slots=True)
class Line:
    """The offset of one clock, measured `from_s` to `to_s`: straight between `knots_s`, beyond them with `slope`."""

    from_s: float
    to_s: float
    knots_s: NDArray[np.float64]
    offsets_s: NDArray[np.float64]
    slope: float

    def offset_s(self, stamps: NDArray[np.float64]) -> NDArray[np.float64]:
        """What to add to stamps (n,) of this clock."""
        first, last = self.knots_s[0], self.knots_s[-1]
        beyond = np.minimum(stamps - first, 0.0) + np.maximum(stamps - last, 0.0)
        offset: NDArray[np.float64] = np.interp(stamps, self.knots_s, self.offsets_s) + self.slope * beyond
        return offset

    def at(self, stamp_s: float) -> float:
        """The offset at one stamp."""
        return float(self.offset_s(np.array([stamp_s]))[0])


def lines(measured_s: NDArray[np.float64], offsets_s: NDArray[np.float64]) -> list[Line]:
    """A line for each clock that the sender had, in order, from measurements (n,) in the order in which they were made.

    [] without a measurement.
    """
    finite = np.isfinite(measured_s) & np.isfinite(offsets_s)
    measured_s, offsets_s = measured_s[finite], offsets_s[finite]
    starts = [0]
    for i in range(1, len(measured_s)):
        if _is_other(measured_s, offsets_s, i, i - 1) and _is_confirmed(measured_s, offsets_s, i, starts[-1]):
            starts.append(i)
    ends = [*starts[1:], len(measured_s)]
    return [_line(measured_s[a:b], offsets_s[a:b]) for a, b in zip(starts, ends, strict=True) if b > a]


def clock_of(clocks: list[Line], firsts_s: NDArray[np.float64], lasts_s: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which of several clocks stamped each run of samples; runs (n,) are in order and break wherever stamps jump.

    A run belongs to the next clock when that makes the jump before it smaller, or when its stamp is nearer to the next
    clock's first measurement than to the last one's. Clocks do not come again.
    """
    chosen = np.zeros(len(firsts_s), np.int64)
    if len(clocks) < 2:
        return chosen
    now = 0
    for i, stamp_s in enumerate(firsts_s.tolist()):
        for later in range(now + 1, len(clocks)):
            forward = clocks[now].to_s < clocks[later].from_s
            if forward and stamp_s < clocks[now].to_s - _MEASURED_EVERY_S:
                continue  # a gap of the old clock, however well the new one would explain it
            nearer = forward and clocks[later].from_s - stamp_s < stamp_s - clocks[now].to_s
            if nearer or (i and _fits_better(clocks, now, later, float(lasts_s[i - 1]), stamp_s)):
                now = later
        chosen[i] = now
    return chosen


def on_recorder_s(clocks: list[Line], chosen: NDArray[np.int64], stamps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Stamps (n,) on the recorder's clock, each by its clock's line; as they are where nothing was measured."""
    if not clocks:
        return stamps
    offsets = np.stack([line.offset_s(stamps) for line in clocks])
    corrected: NDArray[np.float64] = stamps + offsets[chosen, np.arange(len(stamps))]
    return corrected


def _fits_better(clocks: list[Line], now: int, later: int, before_s: float, stamp_s: float) -> bool:
    """Whether the recorder's time goes on more smoothly over a jump of stamps with the later clock."""
    reached_s = before_s + clocks[now].at(before_s)
    return abs(stamp_s + clocks[later].at(stamp_s) - reached_s) < abs(stamp_s + clocks[now].at(stamp_s) - reached_s)


def _is_other(measured_s: NDArray[np.float64], offsets_s: NDArray[np.float64], i: int, reference: int) -> bool:
    passed_s = measured_s[i] - measured_s[reference]
    if passed_s < -_BACK_S:
        return True
    return bool(abs(offsets_s[i] - offsets_s[reference]) > _JUMP_S + _FASTEST_DRIFT * abs(passed_s))


def _is_confirmed(measured_s: NDArray[np.float64], offsets_s: NDArray[np.float64], i: int, start: int) -> bool:
    """Measurement i is another clock's than the line from `start` on, and those that follow are of its clock."""
    following = range(i + 1, min(i + 1 + _CONFIRMED_BY, len(measured_s)))
    agreed = all(not _is_other(measured_s, offsets_s, each, i) for each in following)
    if measured_s[i] - measured_s[i - 1] < -_BACK_S:
        return agreed
    # a measurement that comes back to the line after one that was off is no new clock
    recent = slice(max(start, i - 1 - 2 * _CONFIRMED_BY), i)
    usual_s = float(np.median(offsets_s[recent]))
    passed_s = measured_s[i] - float(np.median(measured_s[recent]))
    off = abs(offsets_s[i] - usual_s) > _JUMP_S + _FASTEST_DRIFT * abs(passed_s)
    return bool(agreed and off and len(following) > 0)


def _line(measured_s: NDArray[np.float64], offsets_s: NDArray[np.float64]) -> Line:
    knot = np.floor((measured_s - measured_s[0]) / _KNOT_S)
    knots = [(np.median(measured_s[knot == k]), np.median(offsets_s[knot == k])) for k in np.unique(knot)]
    if len(knots) < 3:
        slope = _slope(measured_s, offsets_s)
        at_s = float(np.median(measured_s))
        offset_s = float(np.median(offsets_s - slope * (measured_s - at_s)))
        knots = [(at_s, offset_s)]
    else:
        slope = _slope(*np.array(knots).T)
    times_s, values_s = np.array(knots).T
    return Line(float(measured_s.min()), float(measured_s.max()), times_s, values_s, slope)


def _slope(times_s: NDArray[np.float64], values_s: NDArray[np.float64]) -> float:
    """The median slope between any two points (Theil and Sen), of at most `_MOST_FOR_SLOPE` of them."""
    some = np.unique(np.linspace(0, len(times_s) - 1, _MOST_FOR_SLOPE).astype(int))
    times_s, values_s = times_s[some], values_s[some]
    earlier, later = np.triu_indices(len(times_s), 1)
    apart_s = times_s[later] - times_s[earlier]
    steep = (values_s[later] - values_s[earlier])[apart_s > 0] / apart_s[apart_s > 0]
    return float(np.clip(np.median(steep), -_FASTEST_DRIFT, _FASTEST_DRIFT)) if len(steep) else 0.0
