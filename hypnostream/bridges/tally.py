"""A bed in numbers, as its loop tells them: stored and no more, for whoever asks in another thread."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from hypnostream.bridges.messages import SESSION_ENDED
from hypnostream.bridges.overseer import Reading
from hypnostream.bridges.spread import Times
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.source import Notice

SILENT_S: Final = 10.0  # a loop that has given no sign of life for so long on the wall hangs
WITHOUT_EPOCH_S: Final = 120.0  # nor does one work that closes no epoch: one is due each 30 s, whatever arrived
ENDING_S: Final = 1800.0  # how long the report and the recording of a night may take once the session has ended
STARTING_S: Final = 120.0  # how long it may take from the start to the first sign of life
MOST_STREAMS: Final = 64  # names come from the network: more of them than this are not shown


class Health(msgspec.Struct, frozen=True):
    """What a supervisor is told. Ages are seconds on the wall, None before there is one to speak of.

    A stalled stream is no reason to restart the engine: it is said, and `alive` stays true.
    """

    alive: bool
    state: str  # "waiting" (between two sessions), "starting", "running", "ending", "hanging"
    heartbeat_age_s: float | None
    epoch_age_s: float | None
    stalled: tuple[str, ...]
    reason: str = ""


@dataclass(slots=True)
class _Session:
    """What is of one session; times on the wall. None has begun as long as `begun` is None."""

    begun: float | None = None
    beat: float | None = None
    epoch_due: float | None = None  # since when the next one is waited for
    ended: float | None = None
    epochs: int = 0
    reading: Reading = field(default_factory=Reading)
    channels: tuple[ChannelState, ...] = ()


class Tally:
    """An overseer (see `bridges.overseer`) of one session, or of a bed's sessions one after another, each from `begin`
    to `end`.

    What it counts itself goes on with the next session; what it was told of streams and channels is gone with theirs.
    `starting_s` is how long a session may take until its first heartbeat before it counts as hanging: give at least how
    long it looks for streams. `times` may be shared with other beds.
    """

    def __init__(
        self, starting_s: float = STARTING_S, times: Times | None = None, wall: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._starting_s = wall, starting_s
        self.times = times or Times()
        self.epochs = self.absent = self.provisional = 0
        self.notices: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self._session = _Session()

    @property
    def reading(self) -> Reading:
        """What the session said of itself last."""
        return self._session.reading

    @property
    def channels(self) -> tuple[ChannelState, ...]:
        """As they were in the last epoch or window."""
        return self._session.channels

    def begin(self) -> None:
        """A session begins."""
        self._session = _Session(begun=self._wall())

    def end(self) -> None:
        """No session is on."""
        self._session = _Session()

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """A result was said."""
        self._session.channels = result.channels
        self.times.inference.add(result.compute_s)
        if not result.final:
            self.provisional += 1
            return
        self.epochs += 1
        self.absent += result.stage is None
        self._session.epochs += 1
        self._session.epoch_due = self._wall()
        if latency_s is not None:
            self.times.latency.add(latency_s)

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Counted once it is settled, by its kind."""
        if event.status == "final":
            self.events[event.kind] += 1

    def heartbeat(self, now_s: float) -> None:
        """The loop is alive, and what beats has not ended: where one session was only ended, this is the next."""
        session = self._session
        session.beat, session.ended = self._wall(), None
        if session.epoch_due is None:
            session.epoch_due = session.beat  # the first epoch is due from now on

    def notice(self, notice: Notice) -> None:
        """Counted by its kind."""
        self.notices[notice.kind] += 1
        if notice.kind == SESSION_ENDED:
            self._session.ended = self._wall()

    def observe(self, reading: Reading) -> None:
        """How things stand."""
        self._session.reading = reading

    def health(self) -> Health:
        """How the session does; see `Health`."""
        session = self._session  # the next one may begin meanwhile
        now, stalled = self._wall(), tuple(session.reading.stalled)[:MOST_STREAMS]
        if session.begun is None:
            return Health(True, "waiting", None, None, stalled, "no session is on")
        if session.ended is not None and now - session.ended < ENDING_S:
            return Health(True, "ending", None, None, stalled, "the session has ended, its report is being written")
        if session.beat is None:
            waited_s = now - session.begun
            late = waited_s > self._starting_s
            reason = f"no sign of life in the {waited_s:.0f} s since the start" if late else ""
            return Health(not late, "hanging" if late else "starting", None, None, stalled, reason)
        beat_s = now - session.beat
        epoch_s = beat_s if session.epoch_due is None else now - session.epoch_due
        reason = ""
        if beat_s > SILENT_S:
            reason = f"no sign of life for {beat_s:.0f} s"
        elif epoch_s > WITHOUT_EPOCH_S:
            reason = f"no epoch for {epoch_s:.0f} s"
        state = "hanging" if reason else "running"
        return Health(not reason, state, beat_s, epoch_s if session.epochs else None, stalled, reason)
