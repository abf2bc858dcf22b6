"""The LSL streams of a session, as the process that reads them tells of them: who is there and what came."""

import math
import time
from collections.abc import Callable

from hypnostream.bridges.lsl_frames import (
    Alive,
    Drop,
    Failed,
    Found,
    FromReader,
    Known,
    Lost,
    Message,
    Overflowed,
    Probe,
    Refused,
    Samples,
    Seen,
    Texts,
    unpack,
)
from hypnostream.bridges.lsl_stream import LiveStream
from hypnostream.bridges.stream_description import Description
from hypnostream.errors import UserError
from hypnostream.stream.source import SOURCE_FOUND, SOURCE_LOST, SOURCE_REFUSED, Arrival, Chunk, Notice, StreamInfo

_MOST_WARNINGS = 500


class LiveStreams:
    """What the reader says becomes `arrivals` and `warnings` here. `send` is how it is answered.

    With `choosing`, streams of either clock are let in until `choose_clock`; else the first one says which it is.
    `ahead_s` is LSL's clock less the monotonic one, None until the reader spoke; `seen` its answer to `Look`, `failed`
    its last words. `here_s` is when, on the monotonic clock, the first samples among the arrivals were taken from LSL.
    """

    def __init__(self, send: Callable[[Message], None], choosing: bool) -> None:
        self._send = send
        self._choosing = choosing
        self._streams: dict[str, LiveStream] = {}
        self.stream_clock: bool | None = None
        self.arrivals: list[Arrival] = []
        self.here_s: float | None = None
        self.warnings: list[str] = []
        self.matched = 0
        self.ahead_s: float | None = None
        self.seen: tuple[tuple[str, str], ...] | None = None
        self.failed = ""
        self.newest_s: float | None = None
        self._first_s: float | None = None

    @property
    def known(self) -> tuple[Known, ...]:
        """All streams that ever were, for a reader that begins anew."""
        return tuple(stream.found.known for stream in self._streams.values())

    @property
    def infos(self) -> tuple[StreamInfo, ...]:
        """The streams of samples, as each declared itself last; by id, since they come in any order."""
        return tuple(sorted((stream.info for stream in self.numeric()), key=lambda info: info.stream_id))

    @property
    def declared(self) -> Description | None:
        """The first description that declares stream time."""
        return next((stream.found.description for stream in self.numeric() if stream.stream_clock), None)

    @property
    def first_s(self) -> float | None:
        """The first stamp of all."""
        return self._first_s

    @property
    def now_s(self) -> float:
        """Stream time now; where the streams declare their own, that of the newest sample."""
        if self.declared:
            return self.declared.start_s if self.newest_s is None else self.newest_s
        return time.monotonic() + (self.ahead_s or 0.0)

    @property
    def uncertainty_s(self) -> float | None:
        """How unsure the stamps of the worst stream are; None where the streams carry stream time, or it is unknown."""
        known = [stream.uncertainty_s for stream in self.numeric() if stream.connected]
        worst_s = max((value for value in known if value is not None), default=math.inf)
        return worst_s if math.isfinite(worst_s) else None  # of one whose clock was not measured yet

    def numeric(self) -> list[LiveStream]:
        """The streams of samples that are not refused."""
        return [stream for stream in self._streams.values() if not stream.found.text and not stream.refused]

    def hear(self, messages: list[FromReader], raw: bytearray) -> list[Chunk]:
        """A frame. Returns its chunks, which are among the arrivals too."""
        at = 0
        chunks: list[Chunk] = []
        for message in messages:
            if isinstance(message, Samples):
                at = self._samples(message, raw, at, chunks)
            else:
                self._hear(message)
        chunks.sort(key=lambda chunk: float(chunk.timestamps[0]))
        if chunks:
            if self._first_s is None:
                self._first_s = float(chunks[0].timestamps[0])
            newest_s = max(float(chunk.timestamps[-1]) for chunk in chunks)
            self.newest_s = newest_s if self.newest_s is None else max(newest_s, self.newest_s)
            self.arrivals += chunks
        return chunks

    def await_all(self) -> None:
        """The reader begins anew: what was there is to come back."""
        for stream in self._streams.values():
            stream.awaited, stream.connected = stream.connected or stream.awaited, False

    def await_no_longer(self) -> None:
        """What did not come back is lost."""
        for stream in self._streams.values():
            if stream.awaited:
                stream.awaited = False
                self.notice(SOURCE_LOST, stream.stream_id, "it was gone when the reader was back")

    def _hear(self, message: FromReader) -> None:
        match message:
            case Alive(ahead_s):
                self.ahead_s = ahead_s
            case Found():
                self._found(message)
            case Probe(stream_id):
                self._streams[stream_id].probe(message)
                self.arrivals += self._streams[stream_id].jumps(self.now_s)
            case Texts(stream_id):
                stream = self._streams[stream_id]
                if not stream.refused:
                    self.arrivals += stream.annotations(message)
                    self.arrivals += stream.jumps(self.now_s)
            case Lost(stream_id, detail):
                self._streams[stream_id].connected = False
                if not self._streams[stream_id].refused:
                    self.notice(SOURCE_LOST, stream_id, detail)
            case Refused(name, detail):
                self._warn(f"LSL stream {name!r} is left out: {detail}" if name else detail)
                self.notice(SOURCE_REFUSED, name, detail)
            case Overflowed(chunks):
                self._warn(f"nobody took {chunks} LSL chunks in time; they were dropped")
            case Seen(streams):
                self.seen = streams
            case Failed(reason):
                self.failed = reason[:200]

    def _found(self, found: Found) -> None:
        stream_id = found.known.stream_id
        stream = self._streams.get(stream_id)
        if stream is not None and stream.refused and stream.found.known.uid == found.known.uid:
            self._send(Drop(stream_id))
            return
        if stream is None or stream.refused:
            stream = self._streams[stream_id] = LiveStream(found)
            self.matched += 1
            different, unnoticed = True, False
        elif found.text and not stream.found.text:
            stream.found = found
            self._leave_out(stream, "it was a stream of samples and came back as text")
            return
        else:
            unnoticed = stream.awaited
            different = stream.came_back(found)
        if self.stream_clock is None and not self._choosing and not found.text:
            self.stream_clock = stream.stream_clock
        if not self._fits(stream):
            return
        if different:
            for problem in found.description.problems:
                self._warn(problem)
            if not found.text:
                self.arrivals.append(stream.info)
        if different or not unnoticed:
            self.notice(SOURCE_FOUND, stream_id, stream.summary())

    def choose_clock(self) -> None:
        """The streams of the beginning say which clock the session runs on; text does not count."""
        declared = [stream.stream_id for stream in self.numeric() if stream.stream_clock]
        own = [stream.stream_id for stream in self.numeric() if not stream.stream_clock]
        if declared and own:
            raise UserError(
                f"LSL streams {', '.join(declared)} carry stream time and {', '.join(own)} the clock of LSL; "
                "choose streams of one kind by a predicate"
            )
        self._choosing = False
        self.stream_clock = bool(declared)
        for stream in list(self._streams.values()):
            self._fits(stream)

    def _fits(self, stream: LiveStream) -> bool:
        """Whether a stream runs on the clock of the session; one that does not is refused."""
        if self.stream_clock is None or stream.stream_clock == self.stream_clock:
            return True
        kinds = ("the clock of LSL", "stream time")
        self._leave_out(
            stream, f"it carries {kinds[stream.stream_clock]}; the session runs on {kinds[self.stream_clock]}"
        )
        return False

    def _leave_out(self, stream: LiveStream, why: str) -> None:
        """This life of a stream is no use; another may be."""
        stream.refused, stream.connected, stream.awaited = True, False, False
        self._send(Drop(stream.stream_id))
        self._warn(f"LSL stream {stream.stream_id!r} is left out: {why}")
        self.notice(SOURCE_REFUSED, stream.stream_id, why)

    def _samples(self, message: Samples, raw: bytearray, at: int, chunks: list[Chunk]) -> int:
        """Adds the samples that begin at byte `at` to the chunks; returns where the next begin."""
        stamps, samples, end = unpack(message, raw, at)
        stream = self._streams[message.stream_id]
        if stream.refused or samples.shape[1] != len(stream.info.channels):
            return end
        if message.untimed:
            self._warn(f"LSL stream {message.stream_id!r} sent {message.untimed} samples without a time")
        chunk = stream.chunk(stamps, samples, message.arrival_s)
        self.arrivals += stream.jumps(self.now_s)
        for note in stream.notes():
            self._warn(f"LSL stream {message.stream_id!r}: {note}")
        if chunk is not None:
            chunks.append(chunk)
            if self.here_s is None and self.ahead_s is not None:
                self.here_s = message.arrival_s - self.ahead_s
        return end

    def notice(self, kind: str, subject: str, detail: str) -> None:
        """Something happened, now."""
        self.arrivals.append(Notice(kind, subject, self.now_s, detail))

    def _warn(self, sentence: str) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(sentence)
