"""Live samples from Lab Streaming Layer, as a LiveSource.

liblsl runs in a process of its own (lsl_reader), so that what kills or hangs it does not end the night: it is started
again, and what was missed meanwhile is a gap. Stamps come raw and are set to the clock here by our own dejitter, which
knows gaps; a stream that declares stream time in its description (see lsl_description) needs none of that.
"""

import time
from datetime import UTC, datetime, timedelta

from hypnostream.bridges.lsl_config import reader_config, session_in_use
from hypnostream.bridges.lsl_frames import (
    Alive,
    Begin,
    Drop,
    Expect,
    Failed,
    Found,
    FromReader,
    Look,
    Lost,
    Overflowed,
    Probe,
    Refused,
    Samples,
    Seen,
    Texts,
    unpack,
)
from hypnostream.bridges.lsl_settings import LslSettings
from hypnostream.bridges.lsl_stream import LiveStream
from hypnostream.bridges.lsl_supervisor import SupervisedReader
from hypnostream.bridges.stream_description import Description
from hypnostream.errors import UserError
from hypnostream.stream.source import (
    READER_RESTARTED,
    SOURCE_FOUND,
    SOURCE_LOST,
    SOURCE_REFUSED,
    Arrival,
    Chunk,
    Notice,
    StreamInfo,
)

_IN_STEP_S = 10.0  # of a backlog, so much of a stream at once
_END_SILENCE_S = 2.0  # after one stream reached its planned end, the others have so long on the wall to reach theirs
_BACK_WITHIN_S = 3.0  # after the reader was started again; a stream that is not there by then is lost
_MOST_WARNINGS = 500
_LONGEST_LOOK_S = 5.0


class LslSource:
    """The streams that fit, as they come and go. Stream time is this machine's LSL clock, or what the streams declare.

    Unless `required` is False (a session that goes on after a restart), it waits for the first streams and raises
    UserError where there are none, or where they run on different clocks.
    """

    def __init__(self, settings: LslSettings | None = None, required: bool = True) -> None:
        self._settings = settings or LslSettings()
        self._config = reader_config(self._settings.private_session or session_in_use(), self._settings.known_peers)
        self.warnings: list[str] = []
        self._streams: dict[str, LiveStream] = {}
        self._arrivals: list[Arrival] = []
        self._matched = 0
        self._seen: tuple[tuple[str, str], ...] | None = None
        self._t0_s: float | None = None
        self._start_s: float | None = None
        self._newest_s: float | None = None
        self._ahead_s = 0.0
        self._reader_spoke = False
        self._last_arrival = time.monotonic()
        self._back_until: float | None = None
        self._choosing = required
        self._stream_clock: bool | None = None
        self._reader = SupervisedReader(self._begin)
        if required:
            try:
                self._wait_for_streams()
            except BaseException:
                self.close()
                raise
        self._opened_s = self.now_s

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams of samples known by now, as each declared itself last; by id, since they come in any order."""
        return tuple(sorted((stream.info for stream in self._numeric()), key=lambda info: info.stream_id))

    @property
    def start_s(self) -> float:
        """The declared start; else the first stamp, and until there is one the moment of opening."""
        declared = self._declared
        if declared:
            return declared.start_s
        return self._opened_s if self._start_s is None else self._start_s

    @property
    def start_utc(self) -> datetime | None:
        """The declared start; else the wall time of `start_s` by this machine's clock."""
        if self._declared:
            return self._declared.start_utc
        return datetime.now(UTC) - timedelta(seconds=self.now_s - self.start_s)

    @property
    def duration_s(self) -> float | None:
        """The longest length that a stream declares."""
        lengths = [stream.found.description.duration_s or 0.0 for stream in self._numeric()]
        return max(lengths, default=0.0) or None

    @property
    def stream_clock(self) -> bool:
        """Whether the streams declare their time themselves; else it is this machine's LSL clock."""
        return bool(self._stream_clock)

    @property
    def speed(self) -> float:
        """How many seconds of stream time pass in one on the wall: 1.0 unless the streams declare otherwise."""
        return self._declared.speed if self._declared else 1.0

    @property
    def now_s(self) -> float:
        """Stream time now; where the streams declare their own, that of the newest sample."""
        if self._declared:
            return self._declared.start_s if self._newest_s is None else self._newest_s
        return time.monotonic() + self._ahead_s

    @property
    def uncertainty_s(self) -> float | None:
        """How unsure the stamps of the worst stream are; None where the streams carry stream time."""
        known = [stream.uncertainty_s for stream in self._numeric() if stream.connected]
        return max((value for value in known if value is not None), default=None)

    @property
    def reader_pid(self) -> int:
        """The process that reads LSL now."""
        return self._reader.pid

    @property
    def exhausted(self) -> bool:
        """True when the streams reached their declared end, or after `max_silence_s`."""
        if self._arrivals or self._reader.waiting:
            return False
        silence_s = time.monotonic() - self._last_arrival
        ended = [stream.ended for stream in self._numeric()]
        if ended and (all(ended) or (any(ended) and silence_s > _END_SILENCE_S)):
            return True
        return self._settings.max_silence_s is not None and silence_s > self._settings.max_silence_s

    def expect(self, t0_s: float) -> None:
        """Seconds are complete at `t0_s` and each whole second from it: from now on samples are looked for then, and
        otherwise ten times a second."""
        self._t0_s = float(t0_s)
        self._reader.send(Expect(self._t0_s))

    def take(self, timeout_s: float) -> list[Arrival]:
        """What came since the last call, in order; waits up to `timeout_s` on the wall for the first of it."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._take_frames(max(0.0, deadline - time.monotonic()))
            if self._arrivals or time.monotonic() >= deadline:
                break
        taken, self._arrivals = self._arrivals, []
        return taken

    def read(self, timeout_s: float) -> list[Chunk]:
        """The chunks of `take`."""
        return [arrival for arrival in self.take(timeout_s) if isinstance(arrival, Chunk)]

    def close(self) -> None:
        """Lets go of the streams; their senders see one consumer less."""
        self._reader.close()

    # The first streams.

    def _wait_for_streams(self) -> None:
        settings = self._settings
        while not self._reader_spoke:  # until it has started, nobody looks
            self._take_frames(1.0)
        deadline = time.monotonic() + settings.resolve_timeout_s
        while self._matched < settings.minimum and time.monotonic() < deadline:
            self._take_frames(deadline - time.monotonic())
        if self._matched < settings.minimum:
            raise UserError(self._none_found())
        settled, matched = time.monotonic() + settings.settle_s, self._matched
        while time.monotonic() < settled:
            self._take_frames(settled - time.monotonic())
            if self._matched > matched:
                settled, matched = time.monotonic() + settings.settle_s, self._matched
        if not self._numeric():
            reason = f": {self.warnings[-1]}" if self.warnings else "; all carry text"
            raise UserError(f"no LSL stream that matches {settings.query!r} could be read{reason}")
        self._choose_clock()

    def _none_found(self) -> str:
        self._reader.send(Look())
        deadline = time.monotonic() + _LONGEST_LOOK_S
        while self._seen is None and time.monotonic() < deadline:
            self._take_frames(deadline - time.monotonic())
        seen = [f"{name!r} ({stream_type})" for name, stream_type in self._seen or ()]
        return (
            f"{self._matched or 'no'} LSL stream{'s' * (self._matched != 1)} matched {self._settings.query!r} within "
            f"{self._settings.resolve_timeout_s:g} s ({self._settings.minimum} wanted); "
            f"seen: {', '.join(seen[:20]) or 'none'}; start the sender, or name one that is there"
        )

    # The process that reads.

    def _begin(self) -> Begin:
        known = tuple(stream.found.known for stream in self._streams.values())
        return Begin(self._config, self._settings.query, known, self._settings.backlog_bytes, self._t0_s)

    def _take_frames(self, timeout_s: float) -> None:
        """Everything at hand, but of a backlog ten seconds of each stream; waits a tenth of a second at most."""
        begins_s: dict[str, float] = {}
        while (came := self._reader.take(timeout_s)) is not None:
            chunks = self._hear_all(*came)
            for chunk in chunks:
                begins_s.setdefault(chunk.stream_id, float(chunk.timestamps[0]))
            if any(chunk.timestamps[-1] - begins_s[chunk.stream_id] >= _IN_STEP_S for chunk in chunks):
                break
            timeout_s = 0.0
        if (why := self._reader.restarted()) is not None:
            self._reader_restarted(why)
        if self._back_until is not None and time.monotonic() > self._back_until:
            self._back_until = None
            for stream in self._streams.values():
                if stream.awaited:
                    stream.awaited = False
                    self._notice(SOURCE_LOST, stream.stream_id, "it was gone when the reader was back")

    def _reader_restarted(self, why: str) -> None:
        self._notice(READER_RESTARTED, "", f"the process that reads LSL {why}; another took over")
        self._back_until = time.monotonic() + _BACK_WITHIN_S
        for stream in self._streams.values():
            stream.awaited, stream.connected = stream.connected or stream.awaited, False

    # What it says.

    def _hear_all(self, messages: list[FromReader], raw: bytearray) -> list[Chunk]:
        at = 0
        chunks: list[Chunk] = []
        for message in messages:
            if isinstance(message, Samples):
                at = self._samples(message, raw, at, chunks)
            else:
                self._hear(message)
        chunks.sort(key=lambda chunk: float(chunk.timestamps[0]))
        self._add(chunks)
        return chunks

    def _hear(self, message: FromReader) -> None:
        match message:
            case Alive(ahead_s):
                self._ahead_s, self._reader_spoke = ahead_s, True
            case Found():
                self._found(message)
            case Probe(stream_id):
                self._streams[stream_id].probe(message)
                self._arrivals += self._streams[stream_id].jumps(self.now_s)
            case Texts(stream_id):
                stream = self._streams[stream_id]
                if not stream.refused:
                    self._arrivals += stream.annotations(message)
                    self._arrivals += stream.jumps(self.now_s)
            case Lost(stream_id, detail):
                self._streams[stream_id].connected = False
                if not self._streams[stream_id].refused:
                    self._notice(SOURCE_LOST, stream_id, detail)
            case Refused(name, detail):
                self._warn(f"LSL stream {name!r} is left out: {detail}" if name else detail)
                self._notice(SOURCE_REFUSED, name, detail)
            case Overflowed(chunks):
                self._warn(f"nobody took {chunks} LSL chunks in time; they were dropped")
            case Seen(streams):
                self._seen = streams
            case Failed(reason):
                self._reader.reason = reason[:200]

    def _found(self, found: Found) -> None:
        stream_id = found.known.stream_id
        stream = self._streams.get(stream_id)
        if stream is not None and stream.refused and stream.found.known.uid == found.known.uid:
            self._reader.send(Drop(stream_id))
            return
        if stream is None or stream.refused:
            stream = self._streams[stream_id] = LiveStream(found)
            self._matched += 1
            different, unnoticed = True, False
        else:
            unnoticed = stream.awaited
            different = stream.came_back(found)
        if self._stream_clock is None and not self._choosing and not found.text:
            self._stream_clock = stream.stream_clock
        if not self._fits(stream):
            return
        if different:
            for problem in found.description.problems:
                self._warn(problem)
            if not found.text:
                self._arrivals.append(stream.info)
        if different or not unnoticed:
            self._notice(SOURCE_FOUND, stream_id, stream.summary())

    def _choose_clock(self) -> None:
        """The streams of the beginning say which clock the session runs on; text does not count."""
        declared = [stream.stream_id for stream in self._numeric() if stream.stream_clock]
        own = [stream.stream_id for stream in self._numeric() if not stream.stream_clock]
        if declared and own:
            raise UserError(
                f"LSL streams {', '.join(declared)} carry stream time and {', '.join(own)} the clock of LSL; "
                "choose streams of one kind by a predicate"
            )
        self._choosing = False
        self._stream_clock = bool(declared)
        for stream in list(self._streams.values()):
            self._fits(stream)

    def _fits(self, stream: LiveStream) -> bool:
        """Whether a stream runs on the clock of the session; one that does not is refused."""
        if self._stream_clock is None or stream.stream_clock == self._stream_clock:
            return True
        stream.refused = True
        self._reader.send(Drop(stream.stream_id))
        kinds = ("the clock of LSL", "stream time")
        detail = f"it carries {kinds[stream.stream_clock]}; the session runs on {kinds[self._stream_clock]}"
        self._warn(f"LSL stream {stream.stream_id!r} is left out: {detail}")
        self._notice(SOURCE_REFUSED, stream.stream_id, detail)
        return False

    def _samples(self, message: Samples, raw: bytearray, at: int, chunks: list[Chunk]) -> int:
        """Adds the samples that begin at byte `at` to the chunks; returns where the next begin."""
        stamps, samples, end = unpack(message, raw, at)
        stream = self._streams[message.stream_id]
        if stream.refused or samples.shape[1] != len(stream.info.channels):
            return end
        if message.untimed:
            self._warn(f"LSL stream {message.stream_id!r} sent {message.untimed} samples without a time")
        chunk = stream.chunk(stamps, samples, message.arrival_s)
        self._arrivals += stream.jumps(self.now_s)
        if chunk is not None:
            chunks.append(chunk)
        return end

    def _add(self, chunks: list[Chunk]) -> None:
        if not chunks:
            return
        self._last_arrival = time.monotonic()
        if self._start_s is None:
            self._start_s = float(chunks[0].timestamps[0])
        newest_s = max(float(chunk.timestamps[-1]) for chunk in chunks)
        self._newest_s = newest_s if self._newest_s is None else max(newest_s, self._newest_s)
        self._arrivals += chunks

    def _numeric(self) -> list[LiveStream]:
        return [stream for stream in self._streams.values() if not stream.found.text and not stream.refused]

    @property
    def _declared(self) -> Description | None:
        """The first description that declares stream time."""
        return next((stream.found.description for stream in self._numeric() if stream.stream_clock), None)

    def _notice(self, kind: str, subject: str, detail: str) -> None:
        self._arrivals.append(Notice(kind, subject, self.now_s, detail))

    def _warn(self, sentence: str) -> None:
        if len(self.warnings) < _MOST_WARNINGS:
            self.warnings.append(sentence)
