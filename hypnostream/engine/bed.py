"""One bed: the whole way of a sample, from a stream's chunk to what the session says. No clock, no socket, no file.

    chunk -> path (reorder, conditioners; one a stream) -> grids -> session -> breathing

Replay and live run this same class; they differ only in where steps come from. What it says depends on its steps
alone, and all that it remembers can be written down and taken up again.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

from hypnostream.engine.asking import Asking, alone
from hypnostream.engine.asks import conditioned
from hypnostream.engine.bed_state import BedState, Said, StreamsState
from hypnostream.engine.grids import Grids
from hypnostream.engine.path import StreamCounts
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.engine.streams import Streams
from hypnostream.stream.channels import Montage
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import SOURCE_FOUND, SOURCE_LOST, Annotation, Chunk, Notice, Step, StreamInfo

STALL_S = 2.5


class Bed:
    """The pipeline of one bed. `streams` that the montage takes nothing from are ignored; others may come in steps.

    `overrides` are the configuration's [channels]; `stall_s` is after how much silence a stream has stalled, in
    seconds of the session's clock, `reorder_s` how long what overtook a chunk waits for it (in files nothing does).
    The montage's first specs are the session's; those after them are for `breathing` (None: nothing is said of it), in
    pieces of `breathing_every_s`: what it says does not depend on that, only when.
    """

    def __init__(
        self,
        streams: Sequence[StreamInfo],
        montage: Montage,
        session: Session,
        lateness_s: float = 2.0,
        provisional: bool = True,
        overrides: Mapping[str, str] | None = None,
        stall_s: float = STALL_S,
        reorder_s: float = 0.0,
        breathing: Breathing | None = None,
        breathing_every_s: int = 1,
    ) -> None:
        self.session, self.breathing, self.provisional = session, breathing, provisional
        self._grids = Grids(montage.specs, len(session.bundle.channels), session.t0_s, lateness_s, breathing_every_s)
        self._streams = Streams(self._grids, streams, montage.derivations, overrides or {}, stall_s, reorder_s)

    @property
    def montage(self) -> Montage:
        """Who serves what as things stand."""
        return self._streams.montage

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """Every stream that declared itself, serving or not."""
        return self._streams.infos

    @property
    def counts(self) -> dict[str, StreamCounts]:
        """Each stream that serves, or did, in numbers; they only grow."""
        return self._streams.counts

    @property
    def gaps(self) -> dict[str, int]:
        """Gaps seen so far, by stream."""
        return {name: counts.gaps for name, counts in self.counts.items()}

    @property
    def stalled(self) -> tuple[str, ...]:
        """The streams that have stalled."""
        return tuple(path.info.stream_id for path in self._streams.paths if path.stalled)

    @property
    def reached_s(self) -> float:
        """Stream time up to which samples have come; a stamp that no one believes does not count."""
        return self._streams.reached_s

    @property
    def reached_by_stream(self) -> dict[str, float]:
        """Stream time up to which each stream's samples have come."""
        return {path.info.stream_id: path.accepted_s for path in self._streams.paths}

    @property
    def look_ahead_s(self) -> float:
        """How long after a second's end its last samples are due that the model's resamplers wait for."""
        return self._streams.look_ahead_s

    def step(self, step: Step) -> Said:
        """Take one step: what came, then what follows from it and from the time that has passed."""
        return alone(self.asking(step, together=False))

    def asking(self, step: Step, together: bool = True) -> Asking[Said]:
        """As `step`, with what the graph is to be run on asked for, and `together` what is to be conditioned too.

        No other step may begin before this one is over.
        """
        said = Said()
        for kind, group in groupby(step.arrivals, type):
            arrivals = list(group)
            if kind is StreamInfo:  # side by side they are weighed against one another
                if together:
                    yield from self._condition()
                said.notices += self._streams.declare(
                    [each for each in arrivals if isinstance(each, StreamInfo)], step.now_s
                )
                continue
            for arrival in arrivals:
                if isinstance(arrival, Chunk):
                    said.notices += self._streams.push(arrival, step.now_s, hold=together)
                elif isinstance(arrival, Annotation):
                    said.annotations.append(arrival)
                elif isinstance(arrival, Notice) and not self._said_already(arrival):
                    said.notices.append(arrival)
                    if arrival.kind == SOURCE_LOST:
                        self._streams.lose(arrival.subject)
        if together:
            yield from self._condition()
        said.notices += self._streams.watch(step.now_s)
        yield from self._advance(step.now_s, said)
        if any(result.final for result in said.results):
            said.notices += self.losses()
        return said

    def losses(self) -> list[Notice]:
        """How many samples of which stream did not come since this was asked last."""
        return self._streams.losses()

    def push(self, chunks: Sequence[Chunk], now_s: float = 0.0) -> None:
        """Take what came. What follows from it is said by `advance`, so that streams read in turn do not race."""
        for chunk in chunks:
            self._streams.push(chunk, now_s)

    def advance(self, now_s: float) -> list[StageResult]:
        """The stages that follow, at `now_s` of the session's clock on the scale of stream time; see `step`."""
        return alone(self._advance(now_s, Said())).results

    def finish(self, end_s: float) -> list[StageResult]:
        """The stages that `end` says."""
        return self.end(end_s).results

    def end(self, end_s: float) -> Said:
        """No sample comes any more: close everything up to the end of the epoch that `end_s` lies in."""
        return alone(self.ending(end_s))

    def ending(self, end_s: float) -> Asking[Said]:
        """As `end`, with what the graph is to be run on asked for."""
        self._streams.finish(int(end_s - self.session.t0_s + 1e-6))
        said = yield from self._say(*self._grids.finish(end_s), Said())
        if self.breathing is not None:
            said.events += self.breathing.finish()
        return said

    def snapshot(self) -> BedState:
        """A copy of all that this bed remembers."""
        breathing = None if self.breathing is None else self.breathing.snapshot()
        return BedState(*self._streams.snapshot(), self._grids.snapshot(), self.session.snapshot(), breathing)

    def restore(self, state: BedState) -> None:
        """Go on from a snapshot of a bed with the same bundle and settings."""
        self._streams.restore(StreamsState(state.t0_s, state.streams, state.waiting, state.past, state.paths))
        self._grids.restore(state.grids)
        self.session.restore(state.session)
        if (self.breathing is None) != (state.breathing is None):
            raise ValueError("a snapshot of a bed with breathing and one without do not fit")
        if self.breathing is not None and state.breathing is not None:
            self.breathing.restore(state.breathing)

    def _said_already(self, notice: Notice) -> bool:
        """That a stream with samples was found is said with what it serves."""
        return notice.kind == SOURCE_FOUND and notice.subject in {info.stream_id for info in self.streams}

    def _condition(self) -> Asking[None]:
        """The seconds that were held back."""
        if due := self._streams.due:
            self._streams.deliver((yield from conditioned(due)))

    def _advance(self, now_s: float, said: Said) -> Asking[Said]:
        due = self._grids.due(now_s)
        if self._streams.flush(due):
            due = self._grids.due(now_s)
        return (yield from self._say(*self._grids.advance(now_s, due), said))

    def _say(self, closed: Sequence[Seconds], breathed: Sequence[Seconds], said: Said) -> Asking[Said]:
        """Every final stage; of provisional ones the latest: one that is overtaken before it is said helps nobody.

        So a bed that fell behind, or runs many times faster than life, catches up instead of falling behind further.
        """
        for place, block in enumerate(closed):
            results = list[StageResult]()
            behind = block.count - 1 if self.provisional and place == len(closed) - 1 else block.count
            if behind:
                results += yield from self.session.asking(block.part(0, behind), provisional=False)
            if behind < block.count:
                results += yield from self.session.asking(block.part(behind, block.count), provisional=True)
            if self.breathing is not None:
                self.breathing.hear(block, [result.stage for result in results if result.final])
            said.results += results
        if self.breathing is not None:
            for block in breathed:
                said.events += self.breathing.advance(block)
        return said
