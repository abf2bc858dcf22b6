"""Results out over ZeroMQ: two frames, topic and body, to whoever may listen; on disk first where there is a log."""

import logging
import secrets
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import zmq
from msgspec import UNSET
from msgspec.structs import replace

from hypnostream.bridges.address import ServerSecurity, bindable, reaches_others
from hypnostream.bridges.messages import (
    DURABLE_TOPICS,
    EVENT_TOPIC,
    HEARTBEAT_TOPIC,
    INDICES_TOPIC,
    INSECURE,
    LOG_FAILED,
    LOG_RESTORED,
    PROCESS_TOPIC,
    HeartbeatMessage,
    Message,
    Moment,
    Origin,
    StatusMessage,
    encode,
    status_topic,
)
from hypnostream.bridges.replay_server import ReplayServer, Shelf
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.result_messages import epoch_message, event_message, indices_message, stage_topic
from hypnostream.bridges.said_again import said_again
from hypnostream.bridges.subscriptions import Subscriptions
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.indices import Indices
from hypnostream.engine.results import StageResult
from hypnostream.errors import UserError
from hypnostream.stream.source import Notice

DEFAULT_ADDRESS = "tcp://127.0.0.1:5556"
LINGER_MS = 500  # how long `close` may wait for slow subscribers
# Per subscriber: an hour of provisional stages, 6 MB of them. What exceeds it is lost to it; it can ask again.
QUEUED_MESSAGES = 4000
_logger = logging.getLogger(__name__)


class Publisher:
    """Publishes what one session says. One thread uses it; only `wait_for_subscriber` and `close` ever wait.

    `address` is as `address.bindable` allows; tcp port "*" or 0 is a free one, and inproc:// needs the subscriber's
    `context`. The attribute `address` is the one that was bound, `replay_address` the one that answers requests for
    what was missed (none: nothing does). `origin.session_id` is the log's, or random, unless given.

    Where other machines may connect and `curve` asks none for keys, a notice and a warning say so.

    With a `log`, final results, events and notices are in it before they are published. `last_seq` gives the numbers to
    go on from, as the `last_seq` of an earlier process was at the point from which its results are computed again;
    none: from the log's. What is computed again and in the log already is said in the words of the log.

    `utc_offset_s` is UTC (seconds since 1970) minus stream time where the recording knows it, `utc_uncertainty_s`
    how far that may be off; both may be set again while a clock is being learned. `heartbeat_interval_s` is the wall
    time between two calls of `heartbeat`. `differing` counts what was computed again and came out differently.

    `log_failed` says whether results wait in memory for a disk that does not take them.

    UserError: the address is refused, taken, or cannot be bound, or the log is of another session. MessageError, of any
    call that sends: the values do not make a message (a NaN).
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        model_hash: str,
        backend: str,
        scoring_rule: str = "unknown",
        session_id: str | None = None,
        utc_offset_s: float | None = None,
        utc_uncertainty_s: float | None = None,
        heartbeat_interval_s: float = 1.0,
        log: ResultLog | None = None,
        last_seq: Mapping[str, int] | None = None,
        replay_address: str | None = None,
        insecure: bool = False,
        curve: ServerSecurity | None = None,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        address = bindable(address, insecure=insecure or curve is not None)
        logged = log.session_id if log is not None else None
        if session_id is not None and logged not in (None, session_id):
            raise UserError(f"the result log is of session {logged}, not of {session_id}; give each a log of its own")
        self.origin = Origin(
            session_id=session_id or logged or secrets.token_hex(8),
            boot_id=secrets.token_hex(8),
            model_hash=model_hash,
            backend=backend,
            scoring_rule=scoring_rule,
        )
        self.utc_offset_s = utc_offset_s
        self.utc_uncertainty_s = utc_uncertainty_s
        self.heartbeat_interval_s = heartbeat_interval_s
        self.differing = 0
        self._log = log
        self.log_failed = False
        self._last_seq: dict[str, int] = {}
        self.restore(last_seq if last_seq is not None else log.last_seq if log is not None else {})
        self._shelf = Shelf(self.origin, log)
        self._replay: ReplayServer | None = None
        # A context of its own, so that `close` can end it, and by that wait until all has left (or LINGER_MS passed).
        self._owns_context = context is None
        self._context: zmq.Context[Any] = zmq.Context() if context is None else context
        # XPUB is PUB to every subscriber, and also tells who subscribed. Neither ever waits for a slow one.
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.XPUB)
        try:
            self._socket.set(zmq.LINGER, LINGER_MS)
            self._socket.set(zmq.SNDHWM, QUEUED_MESSAGES)
            self._subscriptions = Subscriptions(self._socket)
            self._socket.set(zmq.IPV6, int("[" in address))
            if curve is not None:
                curve.serve(self._socket)
            self._socket.bind(address)
            self.address = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
            if replay_address is not None:
                self._replay = ReplayServer(
                    replay_address, self._shelf, insecure=insecure, curve=curve, context=self._context
                )
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise UserError(
                    f"address {address} is in use, perhaps by another session; stop that or choose another port"
                ) from error
            raise UserError(f"cannot publish on {address}: {zmq.strerror(error.errno or 0)}") from error
        except Exception:
            self.close()
            raise
        self.replay_address = None if self._replay is None else self._replay.address
        bound = [address for address in (self.address, self.replay_address) if address is not None]
        self._unsaid = [address for address in bound if curve is None and reaches_others(address)]
        for address in self._unsaid:
            _logger.warning("%s is insecure: whoever reaches it can read everything", address)

    def runs_on(self, backend: str) -> None:
        """What computes the results from now on; their `origin` says so."""
        self.origin = replace(self.origin, backend=backend)

    @property
    def last_seq(self) -> dict[str, int]:
        """The last number of each topic, to be given to `restore` or to the next process."""
        return {topic: seq for topic, seq in self._last_seq.items() if topic != HEARTBEAT_TOPIC}

    def restore(self, last_seq: Mapping[str, int]) -> None:
        """Goes on from the numbers that `last_seq` was: what comes next is computed again, not new.

        What befell a process is no part of what is computed again; its notices go on from the log's.
        """
        heartbeats = {topic: seq for topic, seq in self._last_seq.items() if topic == HEARTBEAT_TOPIC}
        self._last_seq = dict(last_seq) | heartbeats
        befell = self._log.last_seq.get(PROCESS_TOPIC) if self._log is not None else None
        if befell is not None:
            self._last_seq[PROCESS_TOPIC] = befell

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """A stage, final or provisional, said at stream time `now_s`."""
        seq, time = self._next_seq(stage_topic(result)), self._moment(now_s)
        self._say(epoch_message(result, seq=seq, origin=self.origin, time=time, latency_s=latency_s))

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """A revision of an event, said at stream time `now_s`."""
        seq, time = self._next_seq(EVENT_TOPIC), self._moment(now_s)
        self._say(event_message(event, seq=seq, origin=self.origin, time=time, latency_s=latency_s))

    def indices(self, indices: Indices, now_s: float) -> None:
        """How breathing stands at stream time `now_s`."""
        seq, time = self._next_seq(INDICES_TOPIC), self._moment(now_s)
        self._say(indices_message(indices, seq=seq, origin=self.origin, time=time))

    def status(
        self,
        state: str,
        now_s: float,
        *,
        subject: str | None = None,
        detail: str = "",
        seconds: float | None = None,
        samples: int | None = None,
    ) -> None:
        """A notice: `messages.SESSION_ENDED`, or "source_stalled" with the stream as its subject."""
        topic = status_topic(state)
        self._say(
            StatusMessage(
                topic=topic,
                seq=self._next_seq(topic),
                origin=self.origin,
                time=self._moment(now_s),
                state=state,
                subject=subject,
                detail=detail,
                seconds=seconds,
                samples=samples,
            )
        )

    def notice(self, notice: Notice) -> None:
        """What a bed said of its sources, or of itself, as a status message of the moment that it speaks of."""
        self.status(
            notice.kind,
            notice.at_s,
            subject=notice.subject or None,
            detail=notice.detail,
            seconds=notice.seconds,
            samples=notice.samples,
        )

    def heartbeat(self, now_s: float) -> None:
        """A sign of life, each second of the session's clock."""
        self._say(
            HeartbeatMessage(
                topic=HEARTBEAT_TOPIC,
                seq=self._next_seq(HEARTBEAT_TOPIC),
                origin=self.origin,
                time=self._moment(now_s),
                interval_s=self.heartbeat_interval_s,
                last_seq=self._last_seq | self._shelf.last_seq,  # what is in the log can be asked for already
                replay=self.replay_address or UNSET,
            )
        )
        while self._unsaid:
            self.status(INSECURE, now_s, subject=self._unsaid.pop(0), detail="whoever reaches it can read everything")
        self._subscriptions.hear()
        if self._log is not None:
            self._log.retry()
            self._tell_of_log(now_s)

    @property
    def subscribers(self) -> int:
        """How many listen: the most that subscribe to the same, as `Client` does to the heartbeat."""
        self._subscriptions.hear()
        return self._subscriptions.subscribers

    def wait_for_subscriber(self, timeout_s: float, topic: str = "") -> bool:
        """Whether someone subscribes to `topic` (or to a beginning of it) by now or within `timeout_s`.

        For those who must not lose the first message: a subscription takes some milliseconds to arrive.
        """
        return self._subscriptions.wait(timeout_s, topic)

    def close(self) -> None:
        """Hands what is queued to the subscribers, for LINGER_MS at most, and releases the addresses; not the log."""
        if self._replay is not None:
            self._replay.close()
        self._socket.close()
        if self._owns_context:
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _say(self, message: Message) -> None:
        body = encode(message)
        durable = self._log is not None and message.topic in DURABLE_TOPICS
        if self._log is not None and durable:
            again = said_again(self._log, message, body)
            self.differing += again.differs
            message, body = again.message, again.body
            self._log.append(message, body)
        self._socket.send_multipart([message.topic.encode(), body])
        self._last_seq[message.topic] = message.seq
        if message.topic != HEARTBEAT_TOPIC:
            self._shelf.put(message, body)
        if durable:
            self._tell_of_log(message.time.stream_s)

    def _tell_of_log(self, now_s: float) -> None:
        if self._log is None or (self._log.failure is not None) == self.log_failed:
            return
        self.log_failed = not self.log_failed
        state, why = LOG_FAILED if self.log_failed else LOG_RESTORED, self._log.failure or ""
        _logger.warning("%s: %s: %s", self._log.path, state, why or "all is on disk again")
        self.status(state, now_s, detail=why)

    def _next_seq(self, topic: str) -> int:
        return self._last_seq.get(topic, -1) + 1

    def _moment(self, now_s: float) -> Moment:
        return Moment(
            stream_s=now_s,
            utc_s=None if self.utc_offset_s is None else now_s + self.utc_offset_s,
            utc_uncertainty_s=None if self.utc_offset_s is None else self.utc_uncertainty_s,
            published_utc_s=time.time(),
        )
