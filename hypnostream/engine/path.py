"""One stream's way from chunks to conditioned seconds, and what is to be said of it on the way.

    chunk -> reorder -> ring -> conditioner -> seconds

It watches the stream too: that it stalled, that it speaks again, how many samples did not come.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hypnostream.stream.channels import Derivation
from hypnostream.stream.conditioner import conditioner_for
from hypnostream.stream.conditioning import ConditionerState, StreamConditioner
from hypnostream.stream.irregular import IrregularConditioner, IrregularState, steady
from hypnostream.stream.reorder import Reorder, ReorderState
from hypnostream.stream.ring import RingBuffer
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import SAMPLES_LOST, SOURCE_RESUMED, SOURCE_STALLED, Chunk, Notice, StreamInfo

RING_S = 120.0  # how much raw signal a ring keeps: more than any chunk, little enough for a ward in memory
HAND_OVER_S = 30.0  # a stream that has said nothing for so long gives its place to one that offers to serve
_IRREGULAR_RING = 1024  # samples
_FAR = 1 << 20  # seconds


@dataclass(frozen=True, slots=True)
class StreamCounts:
    """A stream in numbers since the session began: samples, and gaps in time."""

    received: int
    lost: int
    duplicated: int
    out_of_order: int
    dropped: int
    gaps: int

    def __add__(self, later: "StreamCounts") -> "StreamCounts":
        return StreamCounts(*(getattr(self, name) + getattr(later, name) for name in self.__slots__))


@dataclass(slots=True)
class PathState:
    """All that a path remembers, with what it was made from. `heard_s` is the session's time of its last samples.

    Of `filtered` and `held` the one is given that the stream's conditioner has.
    """

    info: StreamInfo
    derivations: tuple[Derivation, ...]
    places: tuple[int, ...]
    filtered: ConditionerState | None
    held: IrregularState | None
    reorder: ReorderState
    heard_s: float
    stalled: bool = False
    lost_said: int = 0


class StreamPath:
    """The path of one stream that serves the specs at `places` of the montage by `derivations`."""

    def __init__(
        self,
        info: StreamInfo,
        derivations: Sequence[Derivation],
        places: Sequence[int],
        t0_s: float,
        now_s: float,
        stall_s: float,
        first_second: int = 0,
        reorder_s: float = 0.0,
    ) -> None:
        self.info, self.derivations, self.places = info, tuple(derivations), tuple(places)
        self.stall_s = max(stall_s, 3.0 / info.rate_hz) if info.rate_hz else 10 * stall_s
        self.conditioner = conditioner_for(info, derivations, places, t0_s, first_second)
        self._reorder = Reorder(info.rate_hz, reorder_s)
        self._ring = RingBuffer(len(info.channels), round(RING_S * info.rate_hz) or _IRREGULAR_RING)
        self._reader = self._ring.reader()
        self.heard_s = now_s
        self.stalled = False
        self._lost_said = 0

    @property
    def counts(self) -> StreamCounts:
        """The stream in numbers."""
        timeline = self.conditioner.timeline
        return StreamCounts(
            received=timeline.received,
            lost=timeline.lost,
            duplicated=timeline.duplicated,
            out_of_order=timeline.out_of_order,
            dropped=timeline.dropped,
            gaps=self.conditioner.gaps,
        )

    @property
    def reached_s(self) -> float:
        """Stream time up to which samples came; of one that has said nothing yet, when it was heard of."""
        return self.conditioner.reached_s if self.conditioner.timeline.received else self.heard_s

    def is_gone(self, now_s: float) -> bool:
        """Whether it serves something, and has said nothing for so long that another may."""
        return bool(self.places) and self.stalled and now_s - self.heard_s >= max(HAND_OVER_S, self.stall_s)

    def push(self, chunk: Chunk, now_s: float) -> tuple[list[Seconds], list[Notice]]:
        """Take samples that came by `now_s` of the session's clock."""
        if not len(chunk.timestamps):
            return [], []
        before_s = self.reached_s
        in_order = self._reorder.push(chunk, now_s) if self._reorder.wait_s else [chunk]
        seconds = [second for each in in_order for second in self._condition(each)]
        notices: list[Notice] = []
        if self.stalled:
            # No sample is from later than now, unless its stamp was believed.
            back_s = min(float(chunk.timestamps[0]), max(now_s, self.conditioner.reached_s))
            gap_s = max(0.0, back_s - before_s)
            notices.append(
                self._notice(
                    SOURCE_RESUMED,
                    before_s + gap_s,
                    _after(gap_s),
                    gap_s,
                )
            )
        self.heard_s, self.stalled = now_s, False
        return seconds, notices

    def release(self, now_s: float) -> list[Seconds]:
        """What comes of samples that waited for others which have not come by `now_s`."""
        if not self._reorder.held_samples:
            return []
        return [second for each in self._reorder.release(now_s) for second in self._condition(each)]

    def flush(self, until_second: int, incomplete: bool = True) -> list[Seconds]:
        """What comes before `until_second`: see StreamConditioner.flush."""
        return self.conditioner.flush(until_second, incomplete)

    def end(self, until_second: int) -> list[Seconds]:
        """What still comes of a stream that is another one from `until_second` on."""
        held = self.release(math.inf)
        # Of a stream without a rate all that is certain has come out; more would be said of the future.
        until = self.conditioner.next_second + _FAR if steady(self.info) else until_second
        return held + self.flush(until, incomplete=False)

    def _condition(self, chunk: Chunk) -> list[Seconds]:
        seconds: list[Seconds] = []
        # A chunk longer than the ring goes through it piece by piece, so that none of it is lost.
        for start in range(0, len(chunk.timestamps), self._ring.capacity):
            part = slice(start, start + self._ring.capacity)
            self._ring.append(chunk.samples[part], chunk.timestamps[part])
            samples, timestamps = self._reader.read()
            seconds += self.conditioner.push(Chunk(chunk.stream_id, samples, timestamps))
        return seconds

    def watch(self, now_s: float) -> list[Notice]:
        """That the stream has said nothing for too long, once."""
        silent_s = now_s - self.heard_s
        if self.stalled or silent_s < self.stall_s:
            return []
        self.stalled = True
        return [self._notice(SOURCE_STALLED, self.reached_s, f"nothing has come for {silent_s:.1f} s", silent_s)]

    def losses(self) -> list[Notice]:
        """How many samples did not come since this was asked last."""
        lost = self.conditioner.timeline.lost - self._lost_said
        if lost <= 0:
            return []
        self._lost_said += lost
        total = self.conditioner.timeline.lost
        detail = f"{lost} samples did not come, {total} in all"
        at_s = self.conditioner.reached_s
        return [Notice(SAMPLES_LOST, self.info.stream_id, at_s, detail, samples=lost)]

    def snapshot(self) -> PathState:
        """A copy of all that this path remembers. The ring is empty between steps: what came was read."""
        remembered = self.conditioner.snapshot()
        return PathState(
            self.info,
            self.derivations,
            self.places,
            remembered if isinstance(remembered, ConditionerState) else None,
            remembered if isinstance(remembered, IrregularState) else None,
            self._reorder.snapshot(),
            self.heard_s,
            self.stalled,
            self._lost_said,
        )

    @classmethod
    def restored(cls, state: PathState, t0_s: float, stall_s: float, reorder_s: float) -> "StreamPath":
        """The path that a snapshot is of. Raises ValueError when it does not fit its own stream."""
        path = cls(state.info, state.derivations, state.places, t0_s, state.heard_s, stall_s, reorder_s=reorder_s)
        path._reorder.restore(state.reorder)
        if isinstance(path.conditioner, IrregularConditioner) and state.held is not None:
            path.conditioner.restore(state.held)
        elif isinstance(path.conditioner, StreamConditioner) and state.filtered is not None:
            path.conditioner.restore(state.filtered)
        else:
            raise ValueError(f"a snapshot of stream {state.info.stream_id!r} without its conditioner")
        path.stalled, path._lost_said = state.stalled, state.lost_said
        return path

    def _notice(self, kind: str, at_s: float, detail: str, seconds: float) -> Notice:
        return Notice(kind, self.info.stream_id, at_s, detail, seconds=seconds)


def _after(gap_s: float) -> str:
    return f"after a gap of {gap_s:.2f} s" if gap_s >= 0.01 else "late; nothing is missing"
