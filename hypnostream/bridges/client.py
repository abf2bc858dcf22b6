"""The other end, for dashboards: messages as they come, and the truth about those that did not.

with Client("tcp://127.0.0.1:5556", topics=("epoch",)) as client:
    for message in client:
        if message.kind == "epoch":
            print(message.epoch, message.stage, client.lost)
"""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import zmq

from hypnostream.bridges.messages import (
    HEARTBEAT_TOPIC,
    MAX_BYTES,
    HeartbeatMessage,
    Message,
    MessageError,
    decode,
)
from hypnostream.bridges.publisher import DEFAULT_ADDRESS, QUEUED_MESSAGES
from hypnostream.errors import UserError

MISSED_HEARTBEATS = 3
MOST_TOPICS = 1000  # one publisher's; a number that only nonsense reaches


class Ledger:
    """What came and what did not, from the frames alone: no socket, no clock.

    `lost` counts messages that were sent since the first one seen, on subscribed topics, and did not come;
    `malformed` those that were no messages; `repeated` those that had come before; `restarts` how often another session
    or process took over. `last` is the newest message of any kind.
    """

    def __init__(self, topics: tuple[str, ...] = ("",)) -> None:
        self.topics = topics
        self.lost = 0
        self.malformed = 0
        self.repeated = 0
        self.restarts = 0
        self.heartbeat_interval_s = 1.0
        self.last: Message | None = None
        self._next_seq: dict[str, int] = {}

    def enter(self, frames: list[bytes]) -> Message | None:
        """The message in what came, or None where it is malformed or repeated."""
        try:
            message = _read(frames)
        except MessageError:
            self.malformed += 1
            return None
        if self.last is not None and _process(message) != _process(self.last):
            self.restarts += 1
            self._next_seq.clear()
        if message.topic not in self._next_seq and len(self._next_seq) >= MOST_TOPICS:
            self.malformed += 1
            return None
        # Who joins late has not lost what was before; whoever sees a restart has, from the new process's first on.
        expected = self._next_seq.get(message.topic, 0 if self.restarts else message.seq)
        if message.seq < expected:
            self.repeated += 1
            return None
        self.lost += message.seq - expected
        self._next_seq[message.topic] = message.seq + 1
        self.last = message
        if isinstance(message, HeartbeatMessage):
            self._compare(message)
        return message

    def _compare(self, heartbeat: HeartbeatMessage) -> None:
        """A topic's last messages leave no gap when they are lost; the heartbeat after them knows."""
        self.heartbeat_interval_s = heartbeat.interval_s
        for topic, seq in heartbeat.last_seq.items():
            if topic == heartbeat.topic or not topic.startswith(self.topics):
                continue
            if topic in self._next_seq or len(self._next_seq) < MOST_TOPICS:
                expected = self._next_seq.get(topic, 0 if self.restarts else seq + 1)
                self.lost += max(0, seq + 1 - expected)
                self._next_seq[topic] = max(expected, seq + 1)


class Client:
    """Subscribes to one publisher and reconnects by itself; one thread uses it, or one event loop.

    `topics` are beginnings of topics ("" is all); heartbeats always come along. Iterating waits for ever, `receive` and
    `messages` for as long as they are told; `async for` works too. inproc:// needs the publisher's `context`.
    UserError: not an address that ZeroMQ can connect to.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        topics: tuple[str, ...] = ("",),
        *,
        context: zmq.Context[Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._clock = clock
        self.ledger = Ledger((*topics, HEARTBEAT_TOPIC))
        self._heard_s = self._clock()
        self._owns_context = context is None
        self._context: zmq.Context[Any] = zmq.Context() if context is None else context
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.SUB)
        try:
            self._socket.set(zmq.LINGER, 0)
            self._socket.set(zmq.RCVHWM, QUEUED_MESSAGES)
            self._socket.set(zmq.MAXMSGSIZE, 2 * MAX_BYTES)  # above what `decode` takes, so that it can be counted
            self._socket.set(zmq.IPV6, 1)
            for topic in self.ledger.topics:
                self._socket.subscribe(topic)
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            reason = zmq.strerror(error.errno or 0)
            raise UserError(
                f"cannot subscribe to {address!r} ({reason}); an address is such as tcp://127.0.0.1:5556"
            ) from error

    @property
    def lost(self) -> int:
        """How many messages were sent and did not come, since the first that did."""
        return self.ledger.lost

    @property
    def late_s(self) -> float:
        """Wall time since anything came (since connecting, when nothing has)."""
        return self._clock() - self._heard_s

    @property
    def alive(self) -> bool:
        """Whether fewer than three heartbeats were missed; a network's jitter of a second is forgiven."""
        return self.ledger.last is not None and self.late_s <= max(
            1.0, MISSED_HEARTBEATS * self.ledger.heartbeat_interval_s
        )

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None when none came in time (None: for ever)."""
        deadline = None if timeout_s is None else self._clock() + timeout_s
        while True:
            left_s = None if deadline is None else max(0.0, deadline - self._clock())
            if not self._socket.poll(None if left_s is None else round(left_s * 1000)):
                return None
            message = self._enter(self._socket.recv_multipart())
            if message is not None:
                return message

    def messages(self, timeout_s: float | None = None) -> Iterator[Message]:
        """Messages until none comes for `timeout_s`."""
        while (message := self.receive(timeout_s)) is not None:
            yield message

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    async def __aiter__(self) -> AsyncIterator[Message]:
        from zmq.asyncio import Socket  # brings asyncio along, which a terminal does not need

        socket = Socket.shadow(self._socket)
        while True:
            message = self._enter(await socket.recv_multipart())
            if message is not None:
                yield message

    def close(self) -> None:
        """Unsubscribes; at once."""
        self._socket.close()
        if self._owns_context:
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _enter(self, frames: list[bytes]) -> Message | None:
        message = self.ledger.enter(frames)
        if message is not None:
            self._heard_s = self._clock()
        return message


def _read(frames: list[bytes]) -> Message:
    if len(frames) != 2:
        raise MessageError(f"{len(frames)} frames, not topic and body")
    topic, body = frames
    message = decode(body)
    if message.topic.encode() != topic:
        raise MessageError(f"topic {message.topic!r} came as {topic[:50]!r}")
    return message


def _process(message: Message) -> tuple[str, str]:
    return message.origin.session_id, message.origin.boot_id
