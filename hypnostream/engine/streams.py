"""Which streams there are, which path each has, and who serves what of the montage, while they come, go and change.

What their paths deliver goes to the grids. A stream that nothing is taken from has a path too, so that its stalls and
losses are said; it asks for a place when it speaks and another stream has long said nothing.
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress

from hypnostream.engine.bed_state import StreamsState
from hypnostream.engine.grids import STAGES, Grids
from hypnostream.engine.path import StreamCounts, StreamPath
from hypnostream.engine.serving import difference, offer, taken_for, why_absent
from hypnostream.errors import UserError
from hypnostream.stream.channels import Derivation, Montage
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.irregular import steady
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import Chunk, Notice, StreamInfo

RETRY_S = 10.0  # how often a stream may ask for a place that another has


class Streams:
    """The streams of one bed. Those in `infos` serve what `derivations` says; others may be declared at any time.

    `overrides`, `stall_s` and `reorder_s` are the bed's.
    """

    def __init__(
        self,
        grids: Grids,
        infos: Sequence[StreamInfo],
        derivations: Sequence[Derivation],
        overrides: Mapping[str, str],
        stall_s: float,
        reorder_s: float,
    ) -> None:
        self._grids, self._overrides = grids, dict(overrides)
        self._stall_s, self._reorder_s = stall_s, reorder_s
        self._infos = {info.stream_id: info for info in infos}
        self._paths: dict[str, StreamPath] = {}
        self._waiting: dict[str, float] = {}
        self._past: dict[str, StreamCounts] = {}
        for info in infos:
            if own := [d for d in derivations if d.stream_id == info.stream_id]:
                self._open(info, own, grids.t0_s, 0)

    @property
    def infos(self) -> tuple[StreamInfo, ...]:
        """Every stream that declared itself, serving or not."""
        return tuple(self._infos.values())

    @property
    def paths(self) -> tuple[StreamPath, ...]:
        """The paths of those that serve, or are looked after."""
        return tuple(self._paths.values())

    @property
    def montage(self) -> Montage:
        """Who serves what as things stand."""
        specs = self._grids.specs
        derivations = {d.spec.name: d for path in self.paths for d in path.derivations}
        serving = tuple(derivations[spec.name] for spec in specs if spec.name in derivations)
        absent = [spec for spec in specs if spec.name not in derivations]
        return Montage(specs, serving, why_absent(self.infos, absent, self._overrides))

    @property
    def counts(self) -> dict[str, StreamCounts]:
        """Each stream that has a path, or had one, in numbers; they only grow."""
        return self._past | {name: self._counted(path) for name, path in self._paths.items()}

    @property
    def reached_s(self) -> float:
        """Stream time up to which samples have come; a stamp that no one believes does not count."""
        serving = [path for path in self.paths if path.places]
        steadily = [path.accepted_s for path in serving if steady(path.info)]
        return max(steadily or [path.accepted_s for path in serving], default=self._grids.t0_s)

    @property
    def look_ahead_s(self) -> float:
        """How long after a second's end its last samples are due that the model's resamplers wait for."""
        waits_s = [path.look_ahead_s.get(STAGES, 0.0) for path in self.paths]
        return max((wait_s for wait_s in waits_s if wait_s < self._grids.lateness_s), default=0.0)

    def push(self, chunk: Chunk, now_s: float, hold: bool = False) -> list[Notice]:
        """Take samples that came by `now_s` of the session's clock; those of no stream that is known are ignored.

        With `hold` the seconds that they complete are `due`, for the caller to `deliver`.
        """
        notices = self._ask_again(chunk.stream_id, now_s) if chunk.stream_id in self._waiting else []
        path = self._paths.get(chunk.stream_id)
        if path is None:
            return notices
        seconds, more = path.push(chunk, now_s, hold)
        self.deliver(seconds)
        return notices + more

    @property
    def due(self) -> list[StreamConditioner]:
        """The conditioners whose seconds were held back."""
        return [each for path in self.paths for each in path.due]

    def deliver(self, seconds: Sequence[Seconds]) -> None:
        """What a path or a conditioner gave goes to the grids."""
        for block in seconds:
            self._grids.push(block)

    def lose(self, name: str) -> None:
        """The source says that it lost this stream: it has stalled, so that its return is said."""
        if name in self._paths:
            self._paths[name].stalled = True

    def watch(self, now_s: float) -> list[Notice]:
        """What follows from the time that has passed: samples no longer wait for earlier ones, silence is a stall."""
        notices: list[Notice] = []
        for path in self.paths:
            self.deliver(path.release(now_s))
            notices += path.watch(now_s)
        return notices

    def flush(self, until: Sequence[int]) -> bool:
        """Whole seconds before the one that is due in each grid wait for no look-ahead any more; whether any did."""
        found = [second for path in self.paths for second in path.flush(until, incomplete=False)]
        self.deliver(found)
        return bool(found)

    def finish(self, until_second: int) -> None:
        """No sample comes any more: all up to `until_second` is delivered, missing or not."""
        for path in self.paths:
            self.deliver(path.release(math.inf))
            self.deliver(path.flush((until_second, until_second)))

    def losses(self) -> list[Notice]:
        """How many samples of which stream did not come since this was asked last."""
        return [notice for path in self.paths for notice in path.losses()]

    def snapshot(self) -> StreamsState:
        """A copy of all that is remembered."""
        paths = [path.snapshot() for path in self.paths]
        return StreamsState(self._grids.t0_s, list(self.infos), dict(self._waiting), dict(self._past), paths)

    def restore(self, state: StreamsState) -> None:
        """Go on from a snapshot with the same grids and settings. Raises ValueError for a path that is none."""
        self._infos = {info.stream_id: info for info in state.streams}
        self._waiting, self._past = dict(state.waiting), dict(state.past)
        self._paths = {
            path.info.stream_id: StreamPath.restored(
                path, self._grids.grid_of, state.t0_s, self._stall_s, self._reorder_s
            )
            for path in state.paths
        }

    def declare(self, infos: Sequence[StreamInfo], now_s: float) -> list[Notice]:
        """Streams that are new, or that came back; of one that is as it was there is nothing to say."""
        notices: list[Notice] = []
        new = [info for info in infos if info.stream_id not in self._infos]
        if new:
            derivations, why, notices = self._offered(new, now_s, None)
            for info in new:
                serves = [d for d in derivations if d.stream_id == info.stream_id]
                notices.append(self._serve(info, serves, now_s, self._grids.next_second, "", why))
        for info in infos:
            changed = difference(self._infos[info.stream_id], info)
            if not changed:
                self._infos[info.stream_id] = info
                continue
            own, first = self._paths.get(info.stream_id), self._grids.next_second
            if own is not None:  # what it said when it was another counts, and is not said again
                self.deliver(own.end(first))
                first = max(first, own.next_second)
                notices += own.losses()
            derivations, why, lost = self._offered([info], now_s, own)
            notices += lost
            notices.append(self._serve(info, derivations, now_s, first, changed, why))
        return notices

    def _ask_again(self, name: str, now_s: float) -> list[Notice]:
        """A stream whose place another has speaks: it may take what is free by now."""
        if now_s < self._waiting[name] or not any(path.is_gone(now_s) for path in self.paths):
            return []
        self._waiting[name] = now_s + RETRY_S
        info, own = self._infos[name], self._paths.get(name)
        derivations, why, notices = self._offered([info], now_s, own)
        if own is not None:
            if not derivations:  # it goes on as it was
                return []
            self.deliver(own.release(math.inf))
            notices += own.losses()
        notice = self._serve(info, derivations, now_s, self._grids.next_second, "", why)
        return [*notices, notice] if name in self._paths else notices

    def _offered(
        self, infos: Sequence[StreamInfo], now_s: float, own: StreamPath | None
    ) -> tuple[Sequence[Derivation], str, list[Notice]]:
        """What streams can serve of what is free, or served by `own`, or by a stream that has long said nothing.

        With it, what had not come of those that give up something for it.
        """
        others = [path for path in self.paths if path is not own and not path.is_gone(now_s)]
        taken = {derivation.spec.name for path in others for derivation in path.derivations}
        derivations, why = offer(infos, [spec for spec in self._grids.specs if spec.name not in taken], self._overrides)
        lost = self._release({derivation.spec.name for derivation in derivations}, own, now_s)
        return derivations, why, lost

    def _release(self, wanted: set[str], own: StreamPath | None, now_s: float) -> list[Notice]:
        """Streams that have long said nothing give up what another offers to serve; what had not come of them."""
        lost: list[Notice] = []
        for path in self.paths:
            if path is own or not wanted & {d.spec.name for d in path.derivations}:
                continue
            kept = [d for d in path.derivations if d.spec.name not in wanted]
            name = path.info.stream_id
            lost += path.losses()
            self._close(name)
            if not kept:
                self._waiting[name] = now_s
            else:
                self._open(path.info, kept, path.heard_s, max(self._grids.next_second, path.next_second))
                self._paths[name].stalled = True
        return lost

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
        self._infos[name] = info
        try:
            if derivations:
                self._open(info, derivations, now_s, first_second)
        except UserError as error:
            derivations, why = (), str(error)
        if not derivations:
            self._close(name)
            with suppress(UserError):  # what it is like is looked after although nothing is taken from it
                self._open(info, (), now_s, first_second)
            self._waiting[name] = now_s + RETRY_S
        return taken_for(name, now_s, derivations, changed, why)

    def _open(self, info: StreamInfo, derivations: Sequence[Derivation], now_s: float, first_second: int) -> None:
        places = {spec.name: index for index, spec in enumerate(self._grids.specs)}
        served = [places[d.spec.name] for d in derivations]
        before = self._paths.get(info.stream_id)
        path = StreamPath(
            info,
            derivations,
            served,
            self._grids.grid_of,
            self._grids.t0_s,
            now_s,
            self._stall_s,
            first_second,
            self._reorder_s,
        )
        if before is not None:
            self._past[info.stream_id] = self._counted(before)
        self._grids.serve(info.stream_id, served, steady(info))
        self._paths[info.stream_id] = path
        self._waiting.pop(info.stream_id, None)

    def _close(self, name: str) -> None:
        if (path := self._paths.pop(name, None)) is not None:
            self._past[name] = self._counted(path)
        self._grids.serve(name, ())

    def _counted(self, path: StreamPath) -> StreamCounts:
        """The stream of a path in numbers, with what came by paths that it had before."""
        past = self._past.get(path.info.stream_id)
        return path.counts if past is None else past + path.counts
