"""The grid: whole seconds of all channels, each exactly once and in order, whatever arrives and whenever.

Second k is [t0 + k, t0 + k + 1), epoch e the seconds 30 e to 30 e + 29. A stream has *passed* a second when it
delivered it or a later one. A second closes in the first `advance`

1. at which every stream that is waited for has passed it;
2. `lateness_s` after that in which the first stream had passed it, with the others missing;
3. when no stream got any further for `lateness_s` and a second: `lateness_s` after its end by the session's clock.

A stream without a rate is never waited for and never the first: its silence says nothing, and its samples do not say
how far the others should be. When only such streams are there, the clock closes seconds.

A stream that a closing second leaves behind is no longer waited for. It is again as soon as it delivers something
that is behind the grid by no more than `lateness_s`. Only the order of the calls and the times given to `advance`
decide, so a replay decides as life did. What comes for a second that is closed is counted and dropped.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import MISSING, NEVER_PRESENT, ChannelSpec
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S

# Seconds in one block that leaves the grid, at most: twenty epochs.
_BLOCK = 20 * EPOCH_S


def epoch_count(duration_s: float) -> int:
    """How many epochs a recording has, the last one cut short if need be; a microsecond too much does not count."""
    return max(0, math.ceil((duration_s - 1e-6) / EPOCH_S))


@dataclass(slots=True)
class GridStream:
    """One stream as the grid knows it. `passed` is the first second that it has not passed; one that is not `steady`
    is never waited for: no one knows when it will speak.
    """

    channels: tuple[int, ...]
    passed: int = 0
    awaited: bool = True
    steady: bool = True
    blocks: list[Seconds] = field(default_factory=list)


@dataclass(slots=True)
class GridState:
    """All that a grid remembers. `fronts` says when the front, the first second that no stream has passed, was seen
    where: (front, now_s), rising. `gone` are streams that serve nothing any more and left seconds behind.
    """

    streams: dict[str, GridStream]
    gone: list[GridStream]
    next_second: int
    present: NDArray[np.bool_]
    fronts: list[tuple[int, float]]
    late_seconds: NDArray[np.int64]


class Grid:
    """Joins the conditioned seconds of all streams into blocks of all specs (`Seconds` with every spec as a channel).

    `streams` says which spec indices each stream serves; a spec that none serves is NEVER_PRESENT throughout, and
    one that is served is NEVER_PRESENT until its first second that is not MISSING. The grid has no clock: `now_s` is
    the session's, on the scale of stream time. Call `push` for all that came, then `advance`, which alone closes
    seconds: streams that are read one after the other do not race. Between the two, `due` says what `advance` is
    about to close, so that a conditioner that only waits for look-ahead can `flush(due, incomplete=False)` into `push`.
    """

    def __init__(
        self, specs: Sequence[ChannelSpec], t0_s: float, streams: Mapping[str, Sequence[int]], lateness_s: float = 2.0
    ) -> None:
        self.specs = tuple(specs)
        self.t0_s = t0_s
        self.lateness_s = lateness_s
        self.state = GridState(
            streams={},
            gone=[],
            next_second=0,
            present=np.zeros(len(self.specs), bool),
            fronts=[(0, t0_s)],
            late_seconds=np.zeros(len(self.specs), np.int64),
        )
        self._stream_of: dict[int, str] = {}
        self._places = tuple(range(len(self.specs)))
        for name, channels in streams.items():
            self.serve(name, channels)

    @property
    def next_second(self) -> int:
        """The first second that is still open."""
        return self.state.next_second

    @property
    def late_seconds(self) -> NDArray[np.int64]:
        """What came too late (specs,), in seconds of each spec that held something."""
        return self.state.late_seconds

    @property
    def awaited(self) -> tuple[str, ...]:
        """The streams that seconds are waiting for."""
        return tuple(name for name, stream in self.state.streams.items() if stream.awaited)

    def serve(self, name: str, channels: Sequence[int], steady: bool = True) -> None:
        """From now on the stream `name` serves these specs and no others; what it delivered before still counts.

        One that is not `steady` is never waited for; one that comes when seconds were closed already, once it delivers.
        Raises ValueError for a spec that another stream serves.
        """
        state = self.state
        other = [c for c in channels if self._stream_of.get(c, name) != name]
        if other or len(set(channels)) != len(channels):
            raise ValueError(f"specs {other or channels} are served by two streams; the grid takes each from one")
        before = state.streams.pop(name, None)
        if before is not None:
            if before.blocks:
                state.gone.append(before)
            self._stream_of = {channel: of for channel, of in self._stream_of.items() if of != name}
        if len(channels):
            began = before is None and state.next_second > 0
            passed = before.passed if before is not None else state.next_second
            state.streams[name] = GridStream(tuple(channels), passed, steady and not began, steady)
            self._stream_of |= dict.fromkeys(channels, name)

    @property
    def is_served(self) -> bool:
        """Whether any stream serves anything."""
        return bool(self.state.streams)

    def snapshot(self) -> GridState:
        """A copy of all that this grid remembers."""
        return copy.deepcopy(self.state)

    def restore(self, state: GridState) -> None:
        """Go on from a snapshot of a grid with the same specs and t0."""
        self.state = copy.deepcopy(state)
        self._stream_of = {channel: name for name, stream in state.streams.items() for channel in stream.channels}

    def push(self, seconds: Seconds) -> None:
        """Take what one stream delivered. Raises ValueError for channels that are not those of one stream."""
        names = {self._stream_of.get(channel) for channel in seconds.channels}
        if len(names) != 1 or (name := names.pop()) is None:
            raise ValueError(f"seconds of channels {seconds.channels} are not those of one stream of this grid")
        stream = self.state.streams[name]
        late = min(self.state.next_second - seconds.start, seconds.count)
        if late > 0:
            np.add.at(
                self.state.late_seconds, list(seconds.channels), (seconds.quality[:, :late] != MISSING).sum(axis=1)
            )
        if late < seconds.count:
            stream.blocks.append(seconds)
        if (end := seconds.start + seconds.count) > stream.passed:
            stream.passed = end
            stream.awaited |= stream.steady and end >= self.state.next_second - self.lateness_s

    def due(self, now_s: float) -> int:
        """The second before which `advance(now_s)` will close everything, as things stand."""
        state = self.state
        steady = [stream.passed for stream in state.streams.values() if stream.steady]
        front = max(steady, default=0)
        latest, seen_s = state.fronts[-1]
        if front > latest:
            if seen_s == now_s:  # a clock that stands still must not make the list grow
                state.fronts.pop()
            state.fronts.append((front, now_s))
            seen_s = now_s
        due = max(state.next_second, self._passed_by_all())
        for front, at_s in reversed(state.fronts):
            if at_s + self.lateness_s <= now_s:
                due = max(due, front)
                break
        if not steady or seen_s + self.lateness_s + 1 <= now_s:
            due = max(due, math.floor(now_s - self.t0_s - self.lateness_s))
        return due

    def advance(self, now_s: float, due: int | None = None) -> list[Seconds]:
        """The blocks that close at `now_s`, after everything that came by then was pushed.

        Who knows better what is `due`, as another grid goes before this one, says so.
        """
        until = self.due(now_s) if due is None else due
        while len(self.state.fronts) > 1 and self.state.fronts[1][1] + self.lateness_s <= now_s:
            del self.state.fronts[0]
        return self._close(until)

    def finish(self, end_s: float) -> list[Seconds]:
        """Close everything up to the end of the epoch in which stream time `end_s` lies; 8 h have 960 epochs.

        Seconds that were delivered beyond it are not given out, unless the grid was there already.
        """
        return self._close(max(epoch_count(end_s - self.t0_s), epoch_count(self.state.next_second)) * EPOCH_S)

    def _passed_by_all(self) -> int:
        return min([stream.passed for stream in self.state.streams.values() if stream.awaited], default=0)

    def _close(self, until: int) -> list[Seconds]:
        blocks = []
        while self.state.next_second < until:
            count = min(until - self.state.next_second, _BLOCK)
            blocks.append(self._block(count))
            self.state.next_second += count
        if blocks:
            for stream in self.state.streams.values():
                stream.awaited &= stream.passed >= self.state.next_second
            for stream in (*self.state.streams.values(), *self.state.gone):
                stream.blocks = [kept for kept in stream.blocks if kept.start + kept.count > self.state.next_second]
            self.state.gone = [stream for stream in self.state.gone if stream.blocks]
        return blocks

    def _block(self, count: int) -> Seconds:
        """The next `count` seconds of all specs, from what was delivered of them."""
        state, first, until = self.state, self.state.next_second, self.state.next_second + count
        samples: list[NDArray[np.float32] | None] = [None] * len(self.specs)
        quality = np.full((len(self.specs), count), MISSING, np.uint8)
        for stream in (*state.gone, *state.streams.values()):
            for block in stream.blocks:
                start, stop = max(block.start, first), min(block.start + block.count, until)
                if start >= stop:
                    continue
                here, there = slice(start - first, stop - first), slice(start - block.start, stop - block.start)
                quality[list(block.channels), here] = block.quality[:, there]
                for row, channel in enumerate(block.channels):
                    if stop - start == count:  # nearly always: no copy
                        samples[channel] = block.samples[row][there]
                        continue
                    if (joined := samples[channel]) is None:
                        joined = np.zeros((count, self.specs[channel].rate_hz), np.float32)
                    elif joined.base is not None:  # what was delivered is another's
                        joined = joined.copy()
                    joined[here] = block.samples[row][there]
                    samples[channel] = joined
        if not state.present.all():
            present = np.logical_or.accumulate(quality != MISSING, axis=1) | state.present[:, None]
            state.present = present[:, -1]
            quality[~present] = NEVER_PRESENT
        whole = tuple(
            np.zeros((count, spec.rate_hz), np.float32) if own is None else own
            for spec, own in zip(self.specs, samples, strict=True)
        )
        return Seconds(first, self._places, whole, quality)
