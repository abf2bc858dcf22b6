"""Live samples from Lab Streaming Layer, as a LiveSource.

liblsl runs in a process of its own (lsl_reader), so that what kills or hangs it does not end the night: it is started
again, and what was missed meanwhile is a gap. Stamps come raw and are set to the clock here by our own dejitter, which
knows gaps; a stream that declares stream time in its description (see lsl_description) needs none of that.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from hypnostream.bridges.lsl_config import reader_config, session_in_use
from hypnostream.bridges.lsl_frames import Begin, Expect, Look, Message
from hypnostream.bridges.lsl_settings import LslSettings as LslSettings  # the way in for whoever opens a source
from hypnostream.bridges.lsl_streams import LiveStreams
from hypnostream.bridges.lsl_supervisor import LslReader, SupervisedReader
from hypnostream.errors import UserError
from hypnostream.stream.source import READER_RESTARTED, Arrival, Chunk, StreamInfo

_IN_STEP_S = 10.0  # of a backlog, so much of a stream at once
_END_SILENCE_S = 2.0  # after one stream reached its planned end, the others have so long on the wall to reach theirs
_BACK_WITHIN_S = 3.0  # after the reader was started again; a stream that is not there by then is lost
_LONGEST_LOOK_S = 5.0


class StoppedError(UserError):
    """Nobody waits for streams any more."""


class LslSource:
    """The streams that fit, as they come and go. Stream time is this machine's LSL clock, or what the streams declare.

    Unless `required` is False (a session that goes on after a restart), it waits for the first streams and raises
    UserError where there are none, or where they run on different clocks, and StoppedError when `stop` says so before.
    `reader` makes who reads, of what says what it is to be told first; default: a process of its own.
    """

    def __init__(
        self,
        settings: LslSettings | None = None,
        required: bool = True,
        reader: Callable[[Callable[[], Begin]], LslReader] = SupervisedReader,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._settings = settings or LslSettings()
        self._config = reader_config(self._settings.private_session or session_in_use(), self._settings.known_peers)
        self._streams = LiveStreams(self._answer, choosing=required)
        self.warnings = self._streams.warnings
        self._t0_s: float | None = None
        self._last_arrival = time.monotonic()
        self._back_until: float | None = None
        self._stop = stop
        self._here_s: float | None = None
        self._reader = reader(self._begin)
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
        return self._streams.infos

    @property
    def start_s(self) -> float:
        """The declared start; else the first stamp, and until there is one the moment of opening."""
        if self._streams.declared:
            return self._streams.declared.start_s
        return self._opened_s if self._streams.first_s is None else self._streams.first_s

    @property
    def start_utc(self) -> datetime | None:
        """The declared start; else the wall time of `start_s` by this machine's clock."""
        if self._streams.declared:
            return self._streams.declared.start_utc
        return datetime.now(UTC) - timedelta(seconds=self.now_s - self.start_s)

    @property
    def duration_s(self) -> float | None:
        """The longest length that a stream declares."""
        lengths = [stream.found.description.duration_s or 0.0 for stream in self._streams.numeric()]
        return max(lengths, default=0.0) or None

    @property
    def stream_clock(self) -> bool:
        """Whether the streams declare their time themselves; else it is this machine's LSL clock."""
        return bool(self._streams.stream_clock)

    @property
    def speed(self) -> float:
        """How many seconds of stream time pass in one on the wall: 1.0 unless the streams declare otherwise."""
        return self._streams.declared.speed if self._streams.declared else 1.0

    @property
    def here_s(self) -> float | None:
        """When, on the monotonic clock, the first samples of the last `take` were taken from LSL, by whom it reads."""
        return self._here_s

    @property
    def now_s(self) -> float:
        """Stream time now; where the streams declare their own, that of the newest sample."""
        return self._streams.now_s

    @property
    def uncertainty_s(self) -> float | None:
        """How unsure the stamps of the worst stream are; None where the streams carry stream time, or it is unknown."""
        return self._streams.uncertainty_s

    @property
    def reader_pid(self) -> int:
        """The process that reads LSL now."""
        return self._reader.pid

    @property
    def exhausted(self) -> bool:
        """True when the streams reached their declared end, or after `max_silence_s`."""
        if self._streams.arrivals or self._reader.waiting:
            return False
        silence_s = time.monotonic() - self._last_arrival
        ended = [stream.ended for stream in self._streams.numeric()]
        if ended and (all(ended) or (any(ended) and silence_s > _END_SILENCE_S)):
            return True
        return self._settings.max_silence_s is not None and silence_s > self._settings.max_silence_s

    def go_on(self, stream_clock: bool) -> None:
        """The session that goes on runs on this clock, whichever stream shows up first."""
        self._streams.stream_clock = stream_clock

    def expect(self, t0_s: float) -> None:
        """Seconds are complete at `t0_s` and each whole second from it: from now on samples are taken then, all
        of a second at once, and of a stream that falls behind after a second and a half."""
        self._t0_s = float(t0_s)
        self._reader.send(Expect(self._t0_s))

    def take(self, timeout_s: float) -> list[Arrival]:
        """What came since the last call, in order; waits up to `timeout_s` on the wall for the first of it."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._take_frames(max(0.0, deadline - time.monotonic()))
            if self._streams.arrivals or time.monotonic() >= deadline:
                break
        taken, self._streams.arrivals = self._streams.arrivals, []
        self._here_s, self._streams.here_s = self._streams.here_s, None
        return taken

    def read(self, timeout_s: float) -> list[Chunk]:
        """The chunks of `take`."""
        return [arrival for arrival in self.take(timeout_s) if isinstance(arrival, Chunk)]

    def tell(self, on_news: Callable[[], None] | None) -> None:
        """Have this called, by another thread, when there is something to take, where the reader can say so; None: no
        more."""
        self._reader.on_news = on_news

    def close(self) -> None:
        """Lets go of the streams; their senders see one consumer less."""
        self._reader.close()

    # The first streams.

    def _wait_for_streams(self) -> None:
        settings = self._settings
        while self._streams.ahead_s is None and not self._stop():  # until it has started, nobody looks
            self._take_frames(1.0)
        deadline = time.monotonic() + settings.resolve_timeout_s
        while self._streams.matched < settings.minimum and time.monotonic() < deadline and not self._stop():
            self._take_frames(deadline - time.monotonic())
        if self._stop():
            raise StoppedError("stopped before streams were found")
        if self._streams.matched < settings.minimum:
            raise UserError(self._none_found())
        settled, matched = time.monotonic() + settings.settle_s, self._streams.matched
        while time.monotonic() < settled:
            self._take_frames(settled - time.monotonic())
            if self._streams.matched > matched:
                settled, matched = time.monotonic() + settings.settle_s, self._streams.matched
        if not self._streams.numeric():
            reason = f": {self.warnings[-1]}" if self.warnings else "; all carry text"
            raise UserError(f"no LSL stream that matches {settings.query!r} could be read{reason}")
        self._streams.choose_clock()

    def _none_found(self) -> str:
        self._reader.send(Look())
        deadline = time.monotonic() + _LONGEST_LOOK_S
        while self._streams.seen is None and time.monotonic() < deadline:
            self._take_frames(deadline - time.monotonic())
        seen = [f"{name!r} ({stream_type})" for name, stream_type in self._streams.seen or ()]
        matched = self._streams.matched
        return (
            f"{matched or 'no'} LSL stream{'s' * (matched != 1)} matched {self._settings.query!r} within "
            f"{self._settings.resolve_timeout_s:g} s ({self._settings.minimum} wanted); "
            f"seen: {', '.join(seen[:20]) or 'none'}; start the sender, or name one that is there"
        )

    # The process that reads.

    def _begin(self) -> Begin:
        settings = self._settings
        return Begin(self._config, settings.query, self._streams.known, settings.backlog_bytes, self._t0_s)

    def _answer(self, message: Message) -> None:
        self._reader.send(message)

    def _take_frames(self, timeout_s: float) -> None:
        """Everything at hand, but of a backlog ten seconds of each stream; waits a tenth of a second at most."""
        begins_s: dict[str, float] = {}
        while (came := self._reader.take(timeout_s)) is not None:
            chunks = self._streams.hear(*came)
            self._reader.reason, self._streams.failed = self._streams.failed or self._reader.reason, ""
            if chunks:
                self._last_arrival = time.monotonic()
            for chunk in chunks:
                begins_s.setdefault(chunk.stream_id, float(chunk.timestamps[0]))
            if any(chunk.timestamps[-1] - begins_s[chunk.stream_id] >= _IN_STEP_S for chunk in chunks):
                break
            timeout_s = 0.0
        if (why := self._reader.restarted()) is not None:
            self._streams.notice(READER_RESTARTED, "", f"the process that reads LSL {why}; another took over")
            self._back_until = time.monotonic() + _BACK_WITHIN_S
            self._streams.await_all()
        if self._back_until is not None and time.monotonic() > self._back_until:
            self._back_until = None
            self._streams.await_no_longer()
