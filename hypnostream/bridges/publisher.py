"""Results out over ZeroMQ: two frames, topic and body, to whoever listens on this machine."""

import secrets
import time
from types import TracebackType
from typing import Any, Self

import zmq

from hypnostream.bridges.address import bindable
from hypnostream.bridges.messages import (
    HEARTBEAT_TOPIC,
    STATUS_TOPIC,
    HeartbeatMessage,
    Message,
    Moment,
    Origin,
    StatusMessage,
    encode,
    epoch_message,
    stage_topic,
)
from hypnostream.engine.results import StageResult
from hypnostream.errors import UserError

DEFAULT_ADDRESS = "tcp://127.0.0.1:5556"
LINGER_MS = 500  # how long `close` may wait for slow subscribers
QUEUED_MESSAGES = 4000  # per subscriber, an hour of provisional stages; what exceeds it is lost to it, and it can tell
LARGEST_SUBSCRIPTION_BYTES = 4096
MOST_SUBSCRIPTIONS = 1000


class Publisher:
    """Publishes what one session says. One thread uses it; only `wait_for_subscriber` and `close` ever wait.

    `address` is as `address.bindable` allows; tcp port "*" or 0 is a free one, and inproc:// needs the subscriber's
    `context`. The attribute `address` is the one that was bound. `origin.session_id` is random unless given.

    `utc_offset_s` is UTC (seconds since 1970) minus stream time where the recording knows it, `utc_uncertainty_s`
    how far that may be off; both may be set again while a clock is being learned. `heartbeat_interval_s` is the wall
    time between two calls of `heartbeat`.

    UserError: the address is refused, taken, or cannot be bound. MessageError, of any call that sends: the values do
    not make a message (a NaN).
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        model_hash: str,
        backend: str,
        scoring_rule: str = "AASM",
        session_id: str | None = None,
        utc_offset_s: float | None = None,
        utc_uncertainty_s: float | None = None,
        heartbeat_interval_s: float = 1.0,
        insecure: bool = False,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        address = bindable(address, insecure=insecure)
        self.origin = Origin(
            session_id=session_id or secrets.token_hex(8),
            boot_id=secrets.token_hex(8),
            model_hash=model_hash,
            backend=backend,
            scoring_rule=scoring_rule,
        )
        self.utc_offset_s = utc_offset_s
        self.utc_uncertainty_s = utc_uncertainty_s
        self.heartbeat_interval_s = heartbeat_interval_s
        self._last_seq: dict[str, int] = {}
        self._subscriptions: set[bytes] = set()
        # A context of its own, so that `close` can end it, and by that wait until all has left (or LINGER_MS passed).
        self._owns_context = context is None
        self._context: zmq.Context[Any] = zmq.Context() if context is None else context
        # XPUB is PUB to every subscriber, and also tells who subscribed. Neither ever waits for a slow one.
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.XPUB)
        try:
            self._socket.set(zmq.LINGER, LINGER_MS)
            self._socket.set(zmq.SNDHWM, QUEUED_MESSAGES)
            self._socket.set(zmq.MAXMSGSIZE, LARGEST_SUBSCRIPTION_BYTES)
            self._socket.set(zmq.IPV6, int("[" in address))
            self._socket.bind(address)
            self.address = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        except zmq.ZMQError as error:
            self.close()
            if error.errno == zmq.EADDRINUSE:
                raise UserError(
                    f"address {address} is in use, perhaps by another session; stop that or choose another port"
                ) from error
            raise UserError(f"cannot publish on {address}: {zmq.strerror(error.errno or 0)}") from error

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """A stage, final or provisional, said at stream time `now_s`."""
        seq, time = self._next_seq(stage_topic(result)), self._moment(now_s)
        self._send(epoch_message(result, seq=seq, origin=self.origin, time=time, latency_s=latency_s))

    def status(self, state: str, now_s: float, *, subject: str | None = None, detail: str = "") -> None:
        """A notice: `messages.SESSION_ENDED`, or "source_stalled" with the stream as its subject."""
        seq, time = self._next_seq(STATUS_TOPIC), self._moment(now_s)
        self._send(
            StatusMessage(
                topic=STATUS_TOPIC,
                seq=seq,
                origin=self.origin,
                time=time,
                state=state,
                subject=subject,
                detail=detail,
            )
        )

    def heartbeat(self, now_s: float) -> None:
        """A sign of life, each second of the session's clock."""
        seq, time = self._next_seq(HEARTBEAT_TOPIC), self._moment(now_s)
        self._send(
            HeartbeatMessage(
                topic=HEARTBEAT_TOPIC,
                seq=seq,
                origin=self.origin,
                time=time,
                interval_s=self.heartbeat_interval_s,
                last_seq=dict(self._last_seq),
            )
        )
        self._hear_subscriptions()

    def wait_for_subscriber(self, timeout_s: float, topic: str = "") -> bool:
        """Whether someone subscribes to `topic` (or to a beginning of it) by now or within `timeout_s`.

        For those who must not lose the first message: a subscription takes some milliseconds to arrive.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self._hear_subscriptions()
            if any(topic.encode().startswith(subscription) for subscription in self._subscriptions):
                return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._socket.poll(max(1, int(left_s * 1000)))

    def close(self) -> None:
        """Hands what is queued to the subscribers, for LINGER_MS at most, and releases the address."""
        self._socket.close()
        if self._owns_context:
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, message: Message) -> None:
        body = encode(message)
        self._socket.send_multipart([message.topic.encode(), body])
        self._last_seq[message.topic] = message.seq

    def _next_seq(self, topic: str) -> int:
        return self._last_seq.get(topic, -1) + 1

    def _moment(self, now_s: float) -> Moment:
        return Moment(
            stream_s=now_s,
            utc_s=None if self.utc_offset_s is None else now_s + self.utc_offset_s,
            utc_uncertainty_s=None if self.utc_offset_s is None else self.utc_uncertainty_s,
            published_utc_s=time.time(),
        )

    def _hear_subscriptions(self) -> None:
        """Anyone may connect and say anything: what is no subscription is ignored, and none can keep us here."""
        for _ in range(MOST_SUBSCRIPTIONS):
            if not self._socket.poll(0):
                return
            said = self._socket.recv()
            if said[:1] == b"\0":
                self._subscriptions.discard(said[1:])
            elif said[:1] == b"\1" and len(self._subscriptions) < MOST_SUBSCRIPTIONS:
                self._subscriptions.add(said[1:])
