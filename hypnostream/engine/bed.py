"""One bed: the whole way of a sample, from a stream's chunk to what the session says. No clock, no socket, no file.

    chunk -> path (ring, conditioner; one a stream) -> grid -> session

Replay and live run this same class; they differ only in where steps come from. What it says depends on its steps
alone, and all that it remembers can be written down and taken up again.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby

from hypnostream.engine.bed_state import BedState, Said
from hypnostream.engine.path import StreamCounts, StreamPath
from hypnostream.engine.results import StageResult
from hypnostream.engine.serving import NOT_WANTED, difference, offer, why_absent
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.channels import Derivation, Montage
from hypnostream.stream.grid import Grid
from hypnostream.stream.irregular import steady
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import (
    SOURCE_CHANGED,
    SOURCE_FOUND,
    SOURCE_LOST,
    SOURCE_REFUSED,
    Annotation,
    Chunk,
    Notice,
    Step,
    StreamInfo,
)

STALL_S = 2.5
_FAR = 1 << 20  # seconds
RETRY_S = 10.0  # how often a stream may ask for a place that another has
HAND_OVER_S = 30.0  # a stream that has said nothing for so long gives its place to one that offers to serve


class Bed:
    """The pipeline of one bed. `streams` that the montage takes nothing from are ignored; others may come in steps.

    `overrides` are the configuration's [channels]; `stall_s` is after how much silence a stream has stalled, in
    seconds of the session's clock, `reorder_s` how long what overtook a chunk waits for it (in files nothing does).
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
    ) -> None:
        self.session, self.provisional = session, provisional
        self._specs, self._stall_s, self._reorder_s = montage.specs, stall_s, reorder_s
        self._overrides = dict(overrides or {})
        self._streams = {info.stream_id: info for info in streams}
        self._paths: dict[str, StreamPath] = {}
        self._waiting: dict[str, float] = {}
        self._past: dict[str, StreamCounts] = {}
        self.grid = Grid(montage.specs, session.t0_s, {}, lateness_s)
        for info in streams:
            derivations = [d for d in montage.derivations if d.stream_id == info.stream_id]
            if derivations:
                self._open(info, derivations, session.t0_s, 0)

    @property
    def montage(self) -> Montage:
        """Who serves what as things stand."""
        derivations = {d.spec.name: d for path in self._paths.values() for d in path.derivations}
        serving = tuple(derivations[spec.name] for spec in self._specs if spec.name in derivations)
        absent = [spec for spec in self._specs if spec.name not in derivations]
        return Montage(self._specs, serving, why_absent(self.streams, absent, self._overrides))

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """Every stream that declared itself, serving or not."""
        return tuple(self._streams.values())

    @property
    def counts(self) -> dict[str, StreamCounts]:
        """Each stream that serves, or did, in numbers; they only grow."""
        now = {name: path.counts for name, path in self._paths.items()}
        return {name: _sum(self._past.get(name), now.get(name)) for name in {**self._past, **now}}

    @property
    def stalled(self) -> tuple[str, ...]:
        """The streams that have stalled."""
        return tuple(name for name, path in self._paths.items() if path.stalled)

    @property
    def reached_s(self) -> float:
        """Stream time up to which samples have come; a stamp that no one believes does not count."""
        serving = [path for path in self._paths.values() if path.places]
        steadily = [path.conditioner.reached_s for path in serving if steady(path.info)]
        return max(steadily or [path.conditioner.reached_s for path in serving], default=self.session.t0_s)

    @property
    def reached_by_stream(self) -> dict[str, float]:
        """Stream time up to which each stream's samples have come."""
        return {name: path.conditioner.reached_s for name, path in self._paths.items()}

    @property
    def look_ahead_s(self) -> float:
        """How long after a second's end its last samples are due that the resamplers wait for."""
        return max(
            (s for path in self._paths.values() if (s := path.conditioner.look_ahead_s) < self.grid.lateness_s),
            default=0.0,
        )

    @property
    def gaps(self) -> dict[str, int]:
        """Gaps seen so far, by stream."""
        return {name: path.conditioner.gaps for name, path in self._paths.items()}

    def step(self, step: Step) -> Said:
        """Take one step: what came, then what follows from it and from the time that has passed."""
        said = Said()
        for kind, group in groupby(step.arrivals, type):
            arrivals = list(group)
            if kind is StreamInfo:  # side by side they are weighed against one another
                said.notices += self._declare([each for each in arrivals if isinstance(each, StreamInfo)], step.now_s)
                continue
            for arrival in arrivals:
                if isinstance(arrival, Chunk):
                    said.notices += self._push(arrival, step.now_s)
                elif isinstance(arrival, Annotation):
                    said.annotations.append(arrival)
                elif isinstance(arrival, Notice) and not self._said_already(arrival):
                    said.notices.append(arrival)
                    if arrival.kind == SOURCE_LOST and arrival.subject in self._paths:
                        self._paths[arrival.subject].stalled = True  # so that its return is said
        for path in self._paths.values():
            for block in path.release(step.now_s):
                self.grid.push(block)
            said.notices += path.watch(step.now_s)
        said.results = self.advance(step.now_s)
        if any(result.final for result in said.results):
            said.notices += self.losses()
        return said

    def losses(self) -> list[Notice]:
        """How many samples of which stream did not come since this was asked last."""
        return [notice for path in self._paths.values() for notice in path.losses()]

    def push(self, chunks: Sequence[Chunk], now_s: float = 0.0) -> None:
        """Take what came. What follows from it is said by `advance`, so that streams read in turn do not race."""
        for chunk in chunks:
            self._push(chunk, now_s)

    def advance(self, now_s: float) -> list[StageResult]:
        """Say what follows, at `now_s` of the session's clock on the scale of stream time, from all that was pushed."""
        due = self.grid.due(now_s)
        for path in self._paths.values():
            for block in path.flush(due, incomplete=False):
                self.grid.push(block)
        return self._say(self.grid.advance(now_s))

    def finish(self, end_s: float) -> list[StageResult]:
        """No sample comes any more: close everything up to the end of the epoch that `end_s` lies in."""
        whole = int(end_s - self.session.t0_s + 1e-6)
        for path in self._paths.values():
            for block in (*path.release(math.inf), *path.flush(whole)):
                self.grid.push(block)
        return self._say(self.grid.finish(end_s))

    def snapshot(self) -> BedState:
        """A copy of all that this bed remembers."""
        return BedState(
            t0_s=self.session.t0_s,
            streams=list(self._streams.values()),
            waiting=dict(self._waiting),
            past=dict(self._past),
            paths=[path.snapshot() for path in self._paths.values()],
            grid=self.grid.snapshot(),
            session=self.session.snapshot(),
        )

    def restore(self, state: BedState) -> None:
        """Go on from a snapshot of a bed with the same bundle and settings."""
        self._streams = {info.stream_id: info for info in state.streams}
        self._waiting = dict(state.waiting)
        self._past = dict(state.past)
        self._paths = {
            path.info.stream_id: StreamPath.restored(path, state.t0_s, self._stall_s, self._reorder_s)
            for path in state.paths
        }
        self.grid.restore(state.grid)
        self.session.restore(state.session)

    def _push(self, chunk: Chunk, now_s: float) -> list[Notice]:
        notices = self._ask_again(chunk.stream_id, now_s) if chunk.stream_id in self._waiting else []
        path = self._paths.get(chunk.stream_id)
        if path is None:
            return notices
        seconds, more = path.push(chunk, now_s)
        for block in seconds:
            self.grid.push(block)
        return notices + more

    def _ask_again(self, name: str, now_s: float) -> list[Notice]:
        """A stream whose place another has speaks: it may take what is free by now."""
        if now_s < self._waiting[name] or not any(self._is_gone(path, now_s) for path in self._paths.values()):
            return []
        self._waiting[name] = now_s + RETRY_S
        info = self._streams.pop(name)
        return [notice for notice in self._declare([info], now_s) if name in self._paths]

    def _said_already(self, notice: Notice) -> bool:
        """That a stream with samples was found is said with what it serves."""
        return notice.kind == SOURCE_FOUND and notice.subject in self._streams

    def _declare(self, infos: Sequence[StreamInfo], now_s: float) -> list[Notice]:
        """Streams that are new, or that came back; of one that is as it was there is nothing to say."""
        notices: list[Notice] = []
        new = [info for info in infos if info.stream_id not in self._streams]
        if new:
            derivations, why, lost = self._offered(new, now_s, None)
            notices += lost
            for info in new:
                serves = [d for d in derivations if d.stream_id == info.stream_id]
                notices.append(self._serve(info, serves, now_s, self.grid.next_second, "", why))
        for info in infos:
            changed = difference(self._streams[info.stream_id], info)
            if not changed:
                self._streams[info.stream_id] = info
                continue
            own, first = self._paths.get(info.stream_id), self.grid.next_second
            if own is not None:  # what it said when it was another counts, and is not said again
                for block in own.release(math.inf):
                    self.grid.push(block)
                # Of a stream without a rate all that is certain has come out; more would be said of the future.
                until = own.conditioner.next_second + _FAR if steady(own.info) else first
                for block in own.flush(until, incomplete=False):
                    self.grid.push(block)
                first = max(first, own.conditioner.next_second)
                notices += own.losses()
            derivations, why, lost = self._offered([info], now_s, own)
            notices += lost
            notices.append(self._serve(info, derivations, now_s, first, changed, why))
        return notices

    def _offered(
        self, infos: Sequence[StreamInfo], now_s: float, own: StreamPath | None
    ) -> tuple[Sequence[Derivation], str, list[Notice]]:
        """What streams can serve of what is free, or served by `own`, or by a stream that has long said nothing.

        With it, what had not come of those that give up something for it.
        """
        others = [path for path in self._paths.values() if path is not own and not self._is_gone(path, now_s)]
        taken = {derivation.spec.name for path in others for derivation in path.derivations}
        derivations, why = offer(infos, [spec for spec in self._specs if spec.name not in taken], self._overrides)
        lost = self._release({derivation.spec.name for derivation in derivations}, own, now_s)
        return derivations, why, lost

    def _serve(
        self,
        info: StreamInfo,
        derivations: Sequence[Derivation],
        now_s: float,
        first_second: int,
        changed: str,
        why: str,
    ) -> Notice:
        """Open the stream's path, or close it, and say so."""
        name = info.stream_id
        self._streams[name] = info
        try:
            if derivations:
                self._open(info, derivations, now_s, first_second)
        except UserError as error:
            derivations, why = (), str(error)
        if derivations:
            serves = ", ".join(f"{d.spec.name} from {d.label}" for d in derivations)
            serves += f" ({why})" if why else ""
            if changed:
                return Notice(SOURCE_CHANGED, name, now_s, f"{changed}; a new segment, {serves}")
            return Notice(SOURCE_FOUND, name, now_s, serves)
        self._close(name)
        with suppress(UserError):  # what it is like is looked after although nothing is taken from it
            self._open(info, (), now_s, first_second)
        self._waiting[name] = now_s + RETRY_S
        if changed:
            return Notice(SOURCE_REFUSED, name, now_s, f"{changed}: {why}")
        return Notice(SOURCE_FOUND, name, now_s, f"serves nothing: {why or NOT_WANTED}")

    def _open(self, info: StreamInfo, derivations: Sequence[Derivation], now_s: float, first_second: int) -> None:
        places = {spec.name: index for index, spec in enumerate(self._specs)}
        served = [places[d.spec.name] for d in derivations]
        if (before := self._paths.get(info.stream_id)) is not None:
            self._past[info.stream_id] = _sum(self._past.get(info.stream_id), before.counts)
        path = StreamPath(
            info, derivations, served, self.session.t0_s, now_s, self._stall_s, first_second, self._reorder_s
        )
        self.grid.serve(info.stream_id, served, steady(info))
        self._paths[info.stream_id] = path
        self._waiting.pop(info.stream_id, None)

    def _close(self, name: str) -> None:
        if (path := self._paths.pop(name, None)) is not None:
            self._past[name] = _sum(self._past.get(name), path.counts)
        self.grid.serve(name, ())

    def _is_gone(self, path: StreamPath, now_s: float) -> bool:
        return bool(path.places) and path.stalled and now_s - path.heard_s >= max(HAND_OVER_S, path.stall_s)

    def _release(self, wanted: set[str], own: StreamPath | None, now_s: float) -> list[Notice]:
        """Streams that have long said nothing give up what another offers to serve; what had not come of them."""
        lost: list[Notice] = []
        for path in list(self._paths.values()):
            if path is own or not wanted & {d.spec.name for d in path.derivations}:
                continue
            kept = [d for d in path.derivations if d.spec.name not in wanted]
            name = path.info.stream_id
            lost += path.losses()
            self._close(name)
            if not kept:
                self._waiting[name] = now_s
            else:
                self._open(path.info, kept, path.heard_s, max(self.grid.next_second, path.conditioner.next_second))
                self._paths[name].stalled = True
        return lost

    def _say(self, closed: Sequence[Seconds]) -> list[StageResult]:
        """Every final stage; of provisional ones the latest: one that is overtaken before it is said helps nobody.

        So a bed that fell behind, or runs many times faster than life, catches up instead of falling behind further.
        """
        results: list[StageResult] = []
        for place, block in enumerate(closed):
            behind = block.count - 1 if self.provisional and place == len(closed) - 1 else block.count
            if behind:
                results += self.session.advance(block.part(0, behind), provisional=False)
            if behind < block.count:
                results += self.session.advance(block.part(behind, block.count), provisional=True)
        return results


def _sum(past: StreamCounts | None, now: StreamCounts | None) -> StreamCounts:
    pairs = [(getattr(past, name, 0), getattr(now, name, 0)) for name in StreamCounts.__slots__]
    return StreamCounts(*(before + since for before, since in pairs))
