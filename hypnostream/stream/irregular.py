"""Streams that speak when they have something to say: oxygen saturation on change, a heart rate each few seconds.

A value stays until the next one, for at most `hold_s`; then nothing is known and the second is MISSING. A point of the
grid has the last value that was said at or before it, so nothing is seen early, nothing is interpolated, and the same
bits come out however the samples were cut into chunks.

No one can tell from such a stream alone that a second is complete: silence may mean "no change", "late" or "dead". So
nothing waits for it. A second comes out of `push` when a later sample proves it complete, else out of `flush`, which
the bed calls with what the grid is about to close. A sample that comes behind that is no loss either: its value holds
from the first open second on.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.channels import MISSING, OK, Derivation
from hypnostream.stream.quality import BAD, QualityJudge, QualitySettings
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import Chunk, StreamInfo
from hypnostream.stream.timeline_state import TimelineSettings

# Streams below this rate are held like irregular ones: the filters and the resampler need at least a sample a second.
SLOWEST_STEADY_HZ: Final = 1.0
# Kinds whose values change slowly enough to be held, and for how long, in seconds. Oximeters average over 4 to 16 s and
# report each 1 to 3 s, so 10 s bridge a lost packet or two but not a finger that slipped out. Heart rate is reported
# likewise. A position sensor on change may be silent for hours, in which it cannot be told from a dead one: one that
# is to be believed repeats itself.
HOLD_S: Final[Mapping[str, float]] = {"spo2": 10.0, "hr": 10.0, "position": 10.0}
# Stamps and grid points this near to one another are the same time: it is rounding, not an order of events.
_ROUNDING_S: Final = 1e-3


def steady(info: StreamInfo) -> bool:
    """Whether a stream's samples come evenly and often enough to be filtered, resampled and waited for."""
    return SLOWEST_STEADY_HZ <= info.rate_hz < math.inf


@dataclass(frozen=True, slots=True)
class IrregularSettings:
    """`hold_s` by kind of sensor, `otherwise_s` for the rest; a stream that states a rate is held for two periods."""

    hold_s: Mapping[str, float] = field(default_factory=lambda: dict(HOLD_S))
    otherwise_s: float = 2.0
    timeline: TimelineSettings = field(default_factory=TimelineSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)

    def hold_of(self, kind: str, rate_hz: float) -> float:
        """For how long a value of this kind of sensor is believed."""
        periods_s = 2 / rate_hz if 0 < rate_hz < math.inf else 0.0
        return max(self.hold_s.get(kind, self.otherwise_s), periods_s)


@dataclass(slots=True)
class IrregularState:
    """Arrays and numbers only. `held` (channels,) are the last values, NaN where there is none, said at `last_s`.

    `points` are, by channel, the grid's values from `next_second` on that no later sample can change. `leapt_s` is a
    stamp too far ahead to be believed yet. `received` counts all samples, `dropped` those not taken, of which are
    `duplicated` and `out_of_order`; `lost` stays 0, as no one can know.
    """

    held: NDArray[np.float32]
    points: list[NDArray[np.float32]]
    next_second: int
    last_s: float = -math.inf
    leapt_s: float = math.nan
    received: int = 0
    lost: int = 0
    dropped: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    gaps: int = 0


class IrregularConditioner:
    """`StreamConditioner` for streams without a rate, or with one below 1 Hz: the same calls, the same promises.

    Values that are no numbers, or absurd, end what was held: the sender says that it knows nothing.
    Raises UserError for a rate that needs the other, ValueError for derivations of another stream.
    """

    look_ahead_s = 0.0

    def __init__(
        self,
        info: StreamInfo,
        derivations: Sequence[Derivation],
        spec_indices: Sequence[int],
        t0_s: float,
        settings: IrregularSettings | None = None,
        first_second: int = 0,
    ) -> None:
        if not 0 <= info.rate_hz < SLOWEST_STEADY_HZ:
            raise UserError(
                f"stream {info.stream_id!r} has a rate of {info.rate_hz:g} Hz: values are held from streams without a "
                f"rate (0 Hz) or below {SLOWEST_STEADY_HZ:g} Hz"
            )
        if len(derivations) != len(spec_indices) or any(d.stream_id != info.stream_id for d in derivations):
            raise ValueError(f"stream {info.stream_id!r} needs its own derivations and one spec index for each")
        self.info = info
        self.t0_s = t0_s
        self.settings = settings or IrregularSettings()
        self.channels = tuple(spec_indices)
        self._terms = tuple(derivation.terms for derivation in derivations)
        specs = [derivation.spec for derivation in derivations]
        self._rates = tuple(spec.rate_hz for spec in specs)
        self._holds = tuple(self.settings.hold_of(spec.kind, info.rate_hz) for spec in specs)
        self._longest_hold_s = max(self._holds, default=0.0)
        self._judges = [QualityJudge([spec], float(spec.rate_hz), self.settings.quality) for spec in specs]
        self._state = IrregularState(
            np.full(len(specs), np.nan, np.float32), [np.zeros(0, np.float32) for _ in specs], first_second
        )

    @property
    def next_second(self) -> int:
        """The second that will come out next."""
        return self._state.next_second

    @property
    def reached_s(self) -> float:
        """Stream time of the last sample that was believed."""
        return max(self.t0_s, self._state.last_s)

    @property
    def dropped_samples(self) -> int:
        """Samples dropped because their time went backward, repeated itself or was absurd."""
        return self._state.dropped

    @property
    def timeline(self) -> IrregularState:
        """The counts of samples, under the names that a stream with a rate has for them."""
        return self._state

    @property
    def gaps(self) -> int:
        """Silences so far that were longer than any value is held."""
        return self._state.gaps

    def snapshot(self) -> IrregularState:
        """A copy of all that this conditioner remembers."""
        return copy.deepcopy(self._state)

    def restore(self, state: IrregularState) -> None:
        """Go on from a snapshot of a conditioner with the same settings."""
        self._state = copy.deepcopy(state)

    def push(self, chunk: Chunk) -> list[Seconds]:
        """Take the next samples; the seconds that they prove complete. Raises ValueError for a misfit."""
        n = len(chunk.timestamps)
        if chunk.stream_id != self.info.stream_id or chunk.samples.shape != (n, len(self.info.channels)):
            raise ValueError(
                f"chunk {chunk.samples.shape} of stream {chunk.stream_id!r} with {n} stamps does not fit stream "
                f"{self.info.stream_id!r} with {len(self.info.channels)} channels"
            )
        before_s = self._state.last_s
        rows = self._believed(chunk.timestamps)
        if not rows or not self.channels:
            return []
        stamps, values = chunk.timestamps[rows], self._derive(chunk.samples[rows])
        seconds: list[Seconds] = []
        silences = np.diff(stamps, prepend=before_s) > self._longest_hold_s + 2
        borders = [0, *(np.flatnonzero(silences[1:]) + 1).tolist(), len(stamps)]
        for start, stop in pairwise(borders):
            if silences[start]:
                # Said without making the points of a silence one by one, however long it was.
                seconds += self._until(math.floor(stamps[start] - self.t0_s), before_s)
            seconds += self._take(stamps[start:stop], values[:, start:stop], before_s)
            before_s = float(stamps[stop - 1])
        return seconds

    def flush(self, until_second: int, incomplete: bool = True) -> list[Seconds]:
        """What comes before `until_second`, by what was said so far; a silence that is too long is MISSING.

        `incomplete` makes no difference here: of a stream like this no second ever waits for a certain sample.
        """
        return self._until(until_second, self._state.last_s)

    def _believed(self, timestamps: NDArray[np.float64]) -> list[int]:
        """The rows whose stamps go forward. A leap ahead is believed when the next sample agrees."""
        state, limits = self._state, self.settings.timeline
        state.received += len(timestamps)
        rows = []
        for row, stamp in enumerate(timestamps.tolist()):
            started = state.last_s > -math.inf
            ahead_s = stamp - (state.last_s if started else self.t0_s)
            leaps = ahead_s > limits.leap_s and not 0 < stamp - state.leapt_s <= limits.leap_s
            if not math.isfinite(stamp) or (started and ahead_s <= 0) or ahead_s > limits.longest_gap_s or leaps:
                if leaps and ahead_s <= limits.longest_gap_s:
                    state.leapt_s = stamp
                state.dropped += 1
                state.duplicated += started and ahead_s == 0
                state.out_of_order += started and ahead_s < 0
                continue
            state.gaps += started and ahead_s > self._longest_hold_s
            state.last_s, state.leapt_s = stamp, math.nan
            rows.append(row)
        return rows

    def _derive(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sums of terms (channels, n) in the spec's unit, NaN where bad."""
        derived = np.zeros((len(self.channels), len(raw)))
        with np.errstate(invalid="ignore", over="ignore"):
            for row, terms in enumerate(self._terms):
                for term in terms:
                    derived[row] += raw[:, term.channel_index] * np.float64(term.weight)
        derived[~(np.abs(derived) <= self.settings.quality.absurd)] = np.nan
        return derived.astype(np.float32)

    def _take(self, stamps: NDArray[np.float64], values: NDArray[np.float32], before_s: float) -> list[Seconds]:
        """The seconds that samples which follow one another make; the sample before them was at `before_s`."""
        state = self._state
        known_s = np.concatenate(([before_s], stamps))
        known = np.concatenate((state.held[:, None], values), axis=1)
        for row, rate in enumerate(self._rates):
            stop = math.floor((stamps[-1] - self.t0_s) * rate) + 1
            self._decide(row, stop, known_s, known[row], certain_until_s=float(stamps[-1]))
        state.held = values[:, -1].copy()
        return self._emit()

    def _until(self, until_second: int, last_s: float) -> list[Seconds]:
        """The seconds before `until_second`, knowing nothing that was said after `last_s`."""
        state = self._state
        if until_second <= state.next_second or not self.channels:
            return []
        # From here on nothing is held, and what is in the making is over.
        over = max(state.next_second + 1, math.ceil(max(last_s, self.t0_s) + self._longest_hold_s - self.t0_s) + 1)
        for row, rate in enumerate(self._rates):
            self._decide(row, min(over, until_second) * rate, np.array([last_s]), state.held[row : row + 1])
        seconds = self._emit()
        n = until_second - state.next_second
        if n > 0:
            # Views of one zero: hours of nothing take no memory.
            nothing = tuple(np.broadcast_to(np.float32(0), (n, rate)) for rate in self._rates)
            quality = np.broadcast_to(np.uint8(MISSING), (len(self.channels), n))
            seconds.append(Seconds(state.next_second, self.channels, nothing, quality))
            state.next_second = until_second
        return seconds

    def _decide(
        self,
        row: int,
        stop: int,
        known_s: NDArray[np.float64],
        known: NDArray[np.float32],
        certain_until_s: float = math.inf,
    ) -> None:
        """Settle a channel's grid points before point `stop`, by samples `known` said at `known_s`, rising.

        Points after `certain_until_s` stay open: a sample may yet come for them.
        """
        state, rate = self._state, self._rates[row]
        first = state.next_second * rate + len(state.points[row])
        if stop <= first:
            return
        times = self.t0_s + np.arange(first, stop) / rate + _ROUNDING_S
        times = times[times <= certain_until_s]
        at = np.searchsorted(known_s, times, side="right") - 1
        values = np.where((at >= 0) & (times - known_s[at] <= self._holds[row] + 2 * _ROUNDING_S), known[at], np.nan)
        state.points[row] = np.concatenate((state.points[row], values.astype(np.float32)))

    def _emit(self) -> list[Seconds]:
        """The seconds whose points are settled in all channels, judged."""
        state = self._state
        count = min(len(points) // rate for points, rate in zip(state.points, self._rates, strict=True))
        if count == 0:
            return []
        samples: list[NDArray[np.float32]] = []
        quality = np.empty((len(self.channels), count), np.uint8)
        for row, rate in enumerate(self._rates):
            points, state.points[row] = np.split(state.points[row], [count * rate])
            values = points.reshape(1, count, rate)
            flags = np.where(np.isnan(values), np.uint8(BAD), np.uint8(0))
            values = np.nan_to_num(values)
            quality[row] = self._judges[row].judge(values, flags, np.full(count, rate))[0]
            samples.append(np.where(quality[row][:, None] == OK, values[0], np.float32(0)))
        block = Seconds(state.next_second, self.channels, tuple(samples), quality)
        state.next_second += count
        return [block]
