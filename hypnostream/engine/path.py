"""One stream's way from chunks to conditioned seconds, and what is to be said of it on the way.

    chunk -> reorder -> conditioners (one a grid) -> seconds

It watches the stream too: that it stalled, that it speaks again, how many samples did not come.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hypnostream.stream.channels import Derivation
from hypnostream.stream.conditioner import Conditioner, conditioner_for
from hypnostream.stream.conditioning import ConditionerState, StreamConditioner
from hypnostream.stream.irregular import IrregularConditioner, IrregularState, steady
from hypnostream.stream.reorder import Reorder, ReorderState
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import SAMPLES_LOST, SOURCE_RESUMED, SOURCE_STALLED, Chunk, Notice, StreamInfo

PIECE_S = 120.0  # of a longer chunk, so much at once: what conditioning needs of memory is bounded
HAND_OVER_S = 30.0  # a stream that has said nothing for so long gives its place to one that offers to serve
_IRREGULAR_PIECE = 1024  # samples
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

    Of `filtered` and `held` the one has the stream's conditioners, in order.
    """

    info: StreamInfo
    derivations: tuple[Derivation, ...]
    places: tuple[int, ...]
    filtered: list[ConditionerState]
    held: list[IrregularState]
    reorder: ReorderState
    heard_s: float
    stalled: bool = False
    lost_said: int = 0


class StreamPath:
    """The path of one stream that serves the specs at `places` of the montage by `derivations`.

    `grid_of` says which grid a place belongs to; channels of different grids are conditioned apart, as a second of
    any comes out when the slowest of those that are conditioned together does.
    """

    def __init__(
        self,
        info: StreamInfo,
        derivations: Sequence[Derivation],
        places: Sequence[int],
        grid_of: Callable[[int], int],
        t0_s: float,
        now_s: float,
        stall_s: float,
        first_second: int = 0,
        reorder_s: float = 0.0,
    ) -> None:
        self.info, self.derivations, self.places = info, tuple(derivations), tuple(places)
        self.stall_s = max(stall_s, 3.0 / info.rate_hz) if info.rate_hz else 10 * stall_s
        self._conditioners: dict[int, Conditioner] = {}
        for grid in sorted({grid_of(place) for place in places}) or [0]:
            own = [(d, place) for d, place in zip(derivations, places, strict=True) if grid_of(place) == grid]
            self._conditioners[grid] = conditioner_for(
                info, [d for d, _ in own], [place for _, place in own], t0_s, first_second
            )
        self._first = next(iter(self._conditioners.values()))  # all of them know of the stream what any does
        self._reorder = Reorder(info.rate_hz, reorder_s)
        self._piece = round(PIECE_S * info.rate_hz) or _IRREGULAR_PIECE
        self.heard_s = now_s
        self.stalled = False
        self._lost_said = 0

    @property
    def counts(self) -> StreamCounts:
        """The stream in numbers."""
        timeline = self._first.timeline
        return StreamCounts(
            received=timeline.received,
            lost=timeline.lost,
            duplicated=timeline.duplicated,
            out_of_order=timeline.out_of_order,
            dropped=timeline.dropped,
            gaps=self._first.gaps,
        )

    @property
    def accepted_s(self) -> float:
        """Stream time up to which samples were accepted; what was dropped for its stamp does not count."""
        return self._first.reached_s

    @property
    def reached_s(self) -> float:
        """Stream time up to which samples came; of one that has said nothing yet, when it was heard of."""
        return self.accepted_s if self._first.timeline.received else self.heard_s

    @property
    def next_second(self) -> int:
        """The first second of which nothing has come out."""
        return max(each.next_second for each in self._conditioners.values())

    @property
    def look_ahead_s(self) -> dict[int, float]:
        """How long after its end a second may have to wait for the resampler, by grid."""
        return {grid: each.look_ahead_s for grid, each in self._conditioners.items()}

    def is_gone(self, now_s: float) -> bool:
        """Whether it serves something, and has said nothing for so long that another may."""
        return bool(self.places) and self.stalled and now_s - self.heard_s >= max(HAND_OVER_S, self.stall_s)

    @property
    def due(self) -> list[StreamConditioner]:
        """The conditioners whose seconds were held back."""
        return [each for each in self._conditioners.values() if isinstance(each, StreamConditioner) and each.is_due]

    def push(self, chunk: Chunk, now_s: float, hold: bool = False) -> tuple[list[Seconds], list[Notice]]:
        """Take samples that came by `now_s` of the session's clock; with `hold`, seconds that are `due` stay."""
        if not len(chunk.timestamps):
            return [], []
        before_s = self.reached_s
        in_order = self._reorder.push(chunk, now_s) if self._reorder.wait_s else [chunk]
        seconds = [second for each in in_order for second in self._condition(each, hold)]
        notices: list[Notice] = []
        if self.stalled:
            # No sample is from later than now, unless its stamp was believed.
            back_s = min(float(chunk.timestamps[0]), max(now_s, self.accepted_s))
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

    def flush(self, until: Sequence[int], incomplete: bool = True) -> list[Seconds]:
        """What comes before the second that is due in each grid: see StreamConditioner.flush."""
        return [second for grid, each in self._conditioners.items() for second in each.flush(until[grid], incomplete)]

    def end(self, until_second: int) -> list[Seconds]:
        """What still comes of a stream that is another one from `until_second` on."""
        seconds = self.release(math.inf)
        for each in self._conditioners.values():
            # Of a stream without a rate all that is certain has come out; more would be said of the future.
            until = each.next_second + _FAR if steady(self.info) else until_second
            seconds += each.flush(until, incomplete=False)
        return seconds

    def _condition(self, chunk: Chunk, hold: bool = False) -> list[Seconds]:
        seconds: list[Seconds] = []
        for start in range(0, len(chunk.timestamps), self._piece):
            piece = chunk
            if len(chunk.timestamps) > self._piece:
                rows = slice(start, start + self._piece)
                piece = Chunk(chunk.stream_id, chunk.samples[rows], chunk.timestamps[rows])
            for each in self._conditioners.values():
                seconds += each.push(piece, hold) if isinstance(each, StreamConditioner) else each.push(piece)
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
        lost = self._first.timeline.lost - self._lost_said
        if lost <= 0:
            return []
        self._lost_said += lost
        total = self._first.timeline.lost
        detail = f"{lost} samples did not come, {total} in all"
        return [Notice(SAMPLES_LOST, self.info.stream_id, self.accepted_s, detail, samples=lost)]

    def snapshot(self) -> PathState:
        """A copy of all that this path remembers."""
        remembered = [each.snapshot() for each in self._conditioners.values()]
        return PathState(
            self.info,
            self.derivations,
            self.places,
            [each for each in remembered if isinstance(each, ConditionerState)],
            [each for each in remembered if isinstance(each, IrregularState)],
            self._reorder.snapshot(),
            self.heard_s,
            self.stalled,
            self._lost_said,
        )

    @classmethod
    def restored(
        cls, state: PathState, grid_of: Callable[[int], int], t0_s: float, stall_s: float, reorder_s: float
    ) -> "StreamPath":
        """The path that a snapshot is of. Raises ValueError when it does not fit its own stream."""
        path = cls(
            state.info, state.derivations, state.places, grid_of, t0_s, state.heard_s, stall_s, reorder_s=reorder_s
        )
        path._reorder.restore(state.reorder)
        remembered = [*state.filtered, *state.held]
        if len(remembered) != len(path._conditioners):
            raise ValueError(f"a snapshot of stream {state.info.stream_id!r} without its conditioners")
        for conditioner, own in zip(path._conditioners.values(), remembered, strict=True):
            match conditioner, own:
                case StreamConditioner(), ConditionerState():
                    conditioner.restore(own)
                case IrregularConditioner(), IrregularState():
                    conditioner.restore(own)
                case _:
                    raise ValueError(f"a snapshot of stream {state.info.stream_id!r} with another's conditioner")
        path.stalled, path._lost_said = state.stalled, state.lost_said
        return path

    def _notice(self, kind: str, at_s: float, detail: str, seconds: float) -> Notice:
        return Notice(kind, self.info.stream_id, at_s, detail, seconds=seconds)


def _after(gap_s: float) -> str:
    return f"after a gap of {gap_s:.2f} s" if gap_s >= 0.01 else "late; nothing is missing"
