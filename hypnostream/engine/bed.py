"""One bed: the whole way of a sample, from a stream's chunk to what the session says. No clock, no socket, no file.

    chunk -> ring (per stream) -> conditioner (per stream) -> grid -> session

Replay and live run this same class; they differ only in where chunks come from and in how `now_s` passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.stream.channels import Montage
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.grid import Grid
from hypnostream.stream.ring import Reader, RingBuffer
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import Chunk, StreamInfo

RING_S = 120.0  # how much raw signal a ring keeps: more than any chunk, little enough for a ward in memory


@dataclass(slots=True)
class _StreamPath:
    ring: RingBuffer
    reader: Reader
    conditioner: StreamConditioner


class Bed:
    """The pipeline of one bed. `streams` that the montage takes nothing from are ignored."""

    def __init__(
        self,
        streams: Sequence[StreamInfo],
        montage: Montage,
        session: Session,
        lateness_s: float = 2.0,
        provisional: bool = True,
    ) -> None:
        self.session, self.montage, self.provisional = session, montage, provisional
        places = {spec.name: index for index, spec in enumerate(montage.specs)}
        self._paths: dict[str, _StreamPath] = {}
        serves: dict[str, list[int]] = {}
        for info in streams:
            derivations = [d for d in montage.derivations if d.stream_id == info.stream_id]
            if not derivations:
                continue
            serves[info.stream_id] = [places[d.spec.name] for d in derivations]
            ring = RingBuffer(len(info.channels), max(1, round(RING_S * info.rate_hz)))
            conditioner = StreamConditioner(info, derivations, serves[info.stream_id], session.t0_s)
            self._paths[info.stream_id] = _StreamPath(ring, ring.reader(), conditioner)
        self.grid = Grid(montage.specs, session.t0_s, serves, lateness_s)

    @property
    def lost_samples(self) -> int:
        """Samples that a ring overwrote before they were read, over all streams."""
        return sum(path.reader.lost for path in self._paths.values())

    @property
    def reached_s(self) -> float:
        """Stream time up to which samples have come; a stamp that no one believes does not count."""
        return max((path.conditioner.reached_s for path in self._paths.values()), default=self.session.t0_s)

    @property
    def gaps(self) -> dict[str, int]:
        """Gaps seen so far, by stream."""
        return {name: path.conditioner.gaps for name, path in self._paths.items()}

    def push(self, chunks: Sequence[Chunk]) -> None:
        """Take what came. What follows from it is said by `advance`, so that streams read in turn do not race."""
        for chunk in chunks:
            path = self._paths.get(chunk.stream_id)
            if path is None:
                continue
            # A chunk longer than the ring goes through it piece by piece, so that none of it is lost.
            for start in range(0, len(chunk.timestamps), path.ring.capacity):
                part = slice(start, start + path.ring.capacity)
                path.ring.append(chunk.samples[part], chunk.timestamps[part])
                samples, timestamps = path.reader.read()
                for block in path.conditioner.push(Chunk(chunk.stream_id, samples, timestamps)):
                    self.grid.push(block)

    def advance(self, now_s: float) -> list[StageResult]:
        """Say what follows, at `now_s` of the session's clock on the scale of stream time, from all that was pushed."""
        due = self.grid.due(now_s)
        for path in self._paths.values():
            for block in path.conditioner.flush(due, incomplete=False):
                self.grid.push(block)
        return self._say(self.grid.advance(now_s))

    def finish(self, end_s: float) -> list[StageResult]:
        """No sample comes any more: close everything up to the end of the epoch that `end_s` lies in."""
        whole = int(end_s - self.session.t0_s + 1e-6)
        for path in self._paths.values():
            for block in path.conditioner.flush(whole):
                self.grid.push(block)
        return self._say(self.grid.finish(end_s))

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
