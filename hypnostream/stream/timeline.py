"""Which samples of a stream belong together in time: segments without gaps, free of jitter, duplicates and drift.

Within a segment sample j is at origin + j / rate. A stamp may be off by the tolerance, which is a sender's jitter;
further ahead is a gap and opens a new segment, further behind is time going backward and is dropped. Every decision
depends on the samples' order alone, never on how they were cut into chunks.
"""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TimelineSettings:
    """What is jitter, what is drift and what is a gap.

    The tolerance is max(`jitter_s`, half a sample): senders stamp packets some ms late, but one lost sample of a
    slow stream must be seen. Losses below it shift samples by less than the tolerance. Each `drift_block_s` the
    origin moves by the mean error of its stamps, which follows clocks that are up to about 2000 ppm apart.
    A leap of more than `leap_s` is believed once a second's worth of samples agree: it is most often one bad stamp.
    One of more than `longest_gap_s` never is.
    """

    jitter_s: float = 0.03
    drift_block_s: float = 10.0
    leap_s: float = 3600.0
    longest_gap_s: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive samples of one segment: the `rows` of a chunk, and the segment's `origin_s` that holds for them."""

    rows: slice | NDArray[np.intp]
    origin_s: float
    opens_segment: bool


@dataclass(slots=True)
class TimelineState:
    """Arrays and numbers only. `errors_s` are stamp minus expected time in the current drift block."""

    origin_s: float
    count: int = 0
    started: bool = False
    leaping: int = 0
    dropped: int = 0
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    segments: int = 0
    errors_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    recent_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


# Stamps of files are exact; errors below this are rounding, and correcting them would only cost time.
_EXACT_S = 1e-5


class Timeline:
    """Sorts the stamps of one stream into runs. `state.dropped` counts samples that had to be dropped."""

    def __init__(self, rate_hz: float, t0_s: float, settings: TimelineSettings | None = None) -> None:
        self.settings = settings or TimelineSettings()
        self.rate_hz = rate_hz
        self.tolerance_s = max(self.settings.jitter_s, 0.5 / rate_hz)
        self._block = max(1, round(self.settings.drift_block_s * rate_hz))
        self._remembered = math.ceil(self.tolerance_s * rate_hz) + 1
        self.state = TimelineState(origin_s=t0_s)

    def accept(self, timestamps: NDArray[np.float64]) -> list[Run]:
        """Sort `timestamps` (n,) of the next samples into runs, oldest first; what is in no run is dropped."""
        state = self.state
        fresh = self._fresh(timestamps)
        stamps = timestamps if fresh is None else timestamps[fresh]
        state.dropped += len(timestamps) - len(stamps)
        spans: list[tuple[int, int, float, bool]] = []
        i = 0
        while i < len(stamps):
            n = min(len(stamps) - i, self._block - len(state.errors_s)) if state.started else 0
            errors = stamps[i : i + n] - (state.origin_s + np.arange(state.count, state.count + n) / self.rate_hz)
            off = np.abs(errors) > self.tolerance_s
            good = int(off.argmax()) if off.any() else n
            if good:
                opens = state.count == 0
                if spans and not opens and spans[-1][1:3] == (i, state.origin_s):
                    spans[-1] = (spans[-1][0], i + good, *spans[-1][2:])
                else:
                    spans.append((i, i + good, state.origin_s, opens))
                self._take(stamps[i : i + good], errors[:good])
                i += good
            elif (late_s := stamps[i] - self._expected_s()) < 0 and state.started:
                behind = stamps[i:] < self._expected_s() - self.tolerance_s
                skipped = len(behind) if behind.all() else int(behind.argmin())
                state.dropped += skipped
                i += skipped
            elif late_s > self.settings.longest_gap_s or (
                late_s > self.settings.leap_s and state.leaping + 1 < self.rate_hz
            ):
                state.leaping += 1
                state.dropped += 1
                i += 1
            else:
                state.origin_s = float(stamps[i])
                state.started, state.count, state.errors_s = True, 0, np.zeros(0)
                state.segments += 1
        kept = None if fresh is None else np.flatnonzero(fresh)
        return [Run(slice(a, b) if kept is None else kept[a:b], origin, opens) for a, b, origin, opens in spans]

    def _expected_s(self) -> float:
        return self.state.origin_s + self.state.count / self.rate_hz

    def _take(self, stamps: NDArray[np.float64], errors: NDArray[np.float64]) -> None:
        state = self.state
        state.count += len(stamps)
        state.leaping = 0
        state.recent_s = np.concatenate((state.recent_s, stamps[-self._remembered :]))[-self._remembered :]
        state.errors_s = np.concatenate((state.errors_s, errors))
        if len(state.errors_s) == self._block:
            if np.abs(state.errors_s).max() > _EXACT_S:
                state.origin_s += float(state.errors_s.mean())
            state.errors_s = np.zeros(0)

    def _fresh(self, timestamps: NDArray[np.float64]) -> NDArray[np.bool_] | None:
        """Which stamps are finite and were not seen just before; None when all are (they rise, as they should)."""
        known = self.state.recent_s
        finite = np.isfinite(timestamps)
        stamps = np.concatenate((known[-1:], timestamps))
        if finite.all() and (stamps[1:] > stamps[:-1]).all():
            return None
        stamps = np.concatenate((known, timestamps))
        first = np.zeros(len(stamps), bool)
        first[np.unique(stamps, return_index=True)[1]] = True
        fresh: NDArray[np.bool_] = first[len(known) :] & finite
        return fresh
