"""From a stream's chunks to conditioned seconds on the grid; the same class in training, on a replay and live.

Channels are derived (C4-M1 from C4 and M1), judged, filtered causally at their own rate and resampled onto the grid.
Samples wait until a whole second and its look-ahead are there, so what comes out, to the last bit, does not depend
on how the samples were cut into chunks, and a chunk that completes no second costs next to nothing.
"""

import copy
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.channels import MISSING, OK, Derivation
from hypnostream.stream.conditioning_group import Group, GroupState
from hypnostream.stream.quality import QualitySettings
from hypnostream.stream.resample import ResampleSettings, place
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import Chunk, StreamInfo
from hypnostream.stream.timeline import Timeline
from hypnostream.stream.timeline_state import Run, TimelineSettings, TimelineState

# Seconds that are conditioned at once at most; it bounds memory, nothing else.
_BLOCK = 60
# Samples wait this long for a second to complete (before t0, say) until they are filtered nevertheless.
_LONGEST_WAIT_S = 10


@dataclass(frozen=True, slots=True)
class ConditioningSettings:
    """All thresholds of conditioning, by step."""

    timeline: TimelineSettings = field(default_factory=TimelineSettings)
    resample: ResampleSettings = field(default_factory=ResampleSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)


@dataclass(slots=True)
class ConditionerState:
    """Arrays and numbers only. `received` counts the samples of the segment, `pending` are those not yet filtered.

    `next_second` is the next to come out; it is ready when `received` reaches `needed`.
    """

    timeline: TimelineState
    groups: list[GroupState]
    pending: NDArray[np.float32]  # (raw channels in use, n)
    origin_s: float = math.nan
    received: int = 0
    next_second: int = 0
    needed: int = 0


class StreamConditioner:
    """Conditions the channels that one stream serves. Second k is [t0 + k, t0 + k + 1) of stream time.

    `derivations` are those of this stream and `spec_indices` the places of their specs in the montage; `Seconds`
    come out with these as `channels`. They come in order, without overlap, from `first_second` on (a stream that came
    late has nothing to say of what was before); seconds that a gap touches are MISSING.
    Raises UserError for a rate that cannot be conditioned, ValueError for derivations of another stream.
    """

    def __init__(
        self,
        info: StreamInfo,
        derivations: Sequence[Derivation],
        spec_indices: Sequence[int],
        t0_s: float,
        settings: ConditioningSettings | None = None,
        first_second: int = 0,
    ) -> None:
        if not 1 <= info.rate_hz < math.inf:
            raise UserError(f"stream {info.stream_id!r} has a rate of {info.rate_hz:g} Hz: at least 1 Hz is needed")
        if len(derivations) != len(spec_indices) or any(d.stream_id != info.stream_id for d in derivations):
            raise ValueError(f"stream {info.stream_id!r} needs its own derivations and one spec index for each")
        self.info = info
        self.t0_s = t0_s
        self.settings = settings or ConditioningSettings()
        self.channels = tuple(spec_indices)
        # Streams of one kind are conditioned alike, but for what each remembers.
        alike = [(d.spec, d.terms, [info.channels[t.channel_index] for t in d.terms]) for d in derivations]
        self.kind = sys.intern(repr((info.rate_hz, self.channels, self.settings, alike)))
        self._rates = tuple(derivation.spec.rate_hz for derivation in derivations)
        self._used = sorted({term.channel_index for derivation in derivations for term in derivation.terms})
        self.groups = Group.of(info, derivations, self._used, self.settings.resample, self.settings.quality)
        self.window = math.ceil(info.rate_hz)
        self._timeline = Timeline(info.rate_hz, t0_s, self.settings.timeline)
        self.tolerated = math.ceil(
            self._timeline.tolerance_s * info.rate_hz
        )  # samples by which an origin may move back
        self.state = ConditionerState(
            self._timeline.state,
            [group.fresh() for group in self.groups],
            np.zeros((len(self._used), 0), np.float32),
            next_second=first_second,
        )

    @property
    def look_ahead_s(self) -> float:
        """How long after its end a second may have to wait for the resampler."""
        return max((group.resampler.half + 2 for group in self.groups), default=0) / self.info.rate_hz

    @property
    def is_due(self) -> bool:
        """Whether something that was held back waits for `emit`."""
        state = self.state
        if not self.groups or math.isnan(state.origin_s):
            return False
        return state.received >= state.needed or state.pending.shape[1] >= _LONGEST_WAIT_S * self.info.rate_hz

    @property
    def next_second(self) -> int:
        """The second that will come out next."""
        return self.state.next_second

    @property
    def reached_s(self) -> float:
        """Stream time up to which samples were accepted; what was dropped for its stamp does not count."""
        timeline = self._timeline.state
        return max(self.t0_s, timeline.origin_s + timeline.count / self.info.rate_hz)

    @property
    def dropped_samples(self) -> int:
        """Samples dropped because their time went backward, repeated itself or was absurd."""
        return self._timeline.state.dropped

    @property
    def timeline(self) -> TimelineState:
        """What is known of the stream's time: its counts of samples above all."""
        return self._timeline.state

    @property
    def gaps(self) -> int:
        """Gaps seen so far."""
        return max(0, self._timeline.state.segments - 1)

    def snapshot(self) -> ConditionerState:
        """A copy of all that this conditioner remembers."""
        return copy.deepcopy(self.state)

    def restore(self, state: ConditionerState) -> None:
        """Go on from a snapshot of a conditioner with the same settings."""
        self.state = copy.deepcopy(state)
        self._timeline.state = self.state.timeline

    def push(self, chunk: Chunk, hold: bool = False) -> list[Seconds]:
        """Take the next samples; the seconds that they complete. Raises ValueError when the chunk does not fit.

        With `hold` those that `emit` would give now stay for it to give: others may be due with them.
        """
        n = len(chunk.timestamps)
        if chunk.stream_id != self.info.stream_id or chunk.samples.shape != (n, len(self.info.channels)):
            raise ValueError(
                f"chunk {chunk.samples.shape} of stream {chunk.stream_id!r} with {n} stamps does not fit stream "
                f"{self.info.stream_id!r} with {len(self.info.channels)} channels"
            )
        seconds: list[Seconds] = []
        for run in self._timeline.accept(chunk.timestamps):
            seconds += self._take(run, chunk.samples[run.rows], hold)
        return seconds

    def flush(self, until_second: int, incomplete: bool = True) -> list[Seconds]:
        """What comes before `until_second`, without waiting any longer for look-ahead.

        A second that has all its samples comes out as if the last sample stayed. Those that have not come out as
        MISSING; with `incomplete` False they stay open instead, and may still come out of a later `push`.
        """
        seconds = self.emit(padded=True, until=until_second)
        if incomplete:
            seconds += self._skip(until_second)
        return seconds

    def _take(self, run: Run, samples: NDArray[np.float32], hold: bool) -> list[Seconds]:
        state = self.state
        seconds: list[Seconds] = []
        if run.opens_segment:
            seconds += self.emit(padded=True)
            state.groups = [group.fresh() for group in self.groups]
            state.pending = state.pending[:, :0]
            state.origin_s, state.received = run.origin_s, 0
            seconds += self._skip(self._first_whole_second())
        if run.opens_segment or run.origin_s != state.origin_s:
            state.origin_s = run.origin_s
            self._look_ahead()
        pending = np.empty((len(self._used), state.pending.shape[1] + len(samples)), np.float32)
        pending[:, : state.pending.shape[1]] = state.pending
        for row, channel in enumerate(self._used):
            pending[row, state.pending.shape[1] :] = samples[:, channel]
        state.pending = pending
        state.received += len(samples)
        return seconds if hold else seconds + self.emit()

    def starts(self, second: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Where `count` seconds from `second` on, and the one behind them, start in the segment.

        The sample at or before each start, the phase beyond it, and the first sample that lies in the second.
        """
        offset_s: NDArray[np.float64] = self.t0_s - self.state.origin_s + np.arange(second, second + count + 1.0)
        bases, phases = place(offset_s * self.info.rate_hz)
        return bases, phases, bases + (phases > 0)

    def _first_whole_second(self) -> int:
        """The first second from which no sample is missing at the segment's start."""
        second = math.floor(self.state.origin_s - self.t0_s)
        return second if self.starts(second, 0)[2][0] >= 0 else second + 1

    def _needed(self, second: int) -> int:
        """How many samples of the segment a second needs, look-ahead included."""
        bases, phases, first = self.starts(second, 1)
        base, phase = int(bases[0]), int(phases[0])
        return max(int(first[1]), *(base + group.resampler.needed(phase) for group in self.groups))

    def _look_ahead(self) -> None:
        self.state.needed = self._needed(self.state.next_second) if self.groups else 1 << 62

    def emit(self, padded: bool = False, until: int | None = None) -> list[Seconds]:
        """The seconds that are ready and were held back; `padded`: those too that only miss their look-ahead."""
        state = self.state
        if until is not None and until <= state.next_second:
            return []
        if not (self.is_due or (padded and not math.isnan(state.origin_s) and self.groups)):
            return []
        if state.pending.shape[1]:
            for group, memory in zip(self.groups, state.groups, strict=True):
                group.filter(memory, state.pending)
            state.pending = state.pending[:, :0]
        blocks: list[Seconds] = []
        count = _BLOCK
        while count == _BLOCK and (count := self._ready(padded, until)) > 0:
            blocks.append(self._condition(count))
            state.next_second += count
        self._look_ahead()
        keep = int(self.starts(state.next_second, 0)[0][0]) - self.tolerated
        for group, memory in zip(self.groups, state.groups, strict=True):
            group.forget(memory, keep)
        return blocks

    def _ready(self, padded: bool, until: int | None) -> int:
        """How many seconds from the next one on are ready, _BLOCK at most."""
        state = self.state
        most = _BLOCK if until is None else min(_BLOCK, until - state.next_second)
        if most <= 0:
            return 0
        bases, phases, first = self.starts(state.next_second, most)
        needed = first[1:]
        if not padded:
            each = phases[:-1].tolist()
            for group in self.groups:
                reach = {phase: group.resampler.needed(phase) for phase in set(each)}
                needed = np.maximum(needed, bases[:-1] + np.array([reach[phase] for phase in each]))
        return int((needed <= state.received).sum())

    def _condition(self, count: int) -> Seconds:
        """The next `count` seconds."""
        bases, phases, first = self.starts(self.state.next_second, count)
        samples: list[NDArray[np.float32]] = [np.empty((0, 0), np.float32)] * len(self.channels)
        quality = np.empty((len(self.channels), count), np.uint8)
        for group, memory in zip(self.groups, self.state.groups, strict=True):
            codes = group.judge(memory, first[:-1], np.diff(first), self.window)
            conditioned = group.resample(memory, bases[:-1], phases[:-1])
            conditioned[codes != OK] = 0.0
            for row, channel in enumerate(group.rows):
                samples[channel] = conditioned[row]
            quality[list(group.rows)] = codes
        return Seconds(self.state.next_second, self.channels, tuple(samples), quality)

    def _skip(self, until_second: int) -> list[Seconds]:
        """Say of everything before `until_second` that it is missing."""
        state = self.state
        n = until_second - state.next_second
        if n <= 0 or not self.channels:
            return []
        # Views of one zero: hours of nothing take no memory.
        nothing = tuple(np.broadcast_to(np.float32(0), (n, rate)) for rate in self._rates)
        quality = np.broadcast_to(np.uint8(MISSING), (len(self.channels), n))
        block = Seconds(state.next_second, self.channels, nothing, quality)
        state.next_second = until_second
        if not math.isnan(state.origin_s):
            self._look_ahead()
        return [block]
