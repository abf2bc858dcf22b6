"""The other end, for dashboards: messages in their order, what was missed asked for, and the truth about the rest.

with Client("tcp://127.0.0.1:5556", topics=("epoch",)) as client:
    for message in client:
        if message.kind == "epoch":
            print(message.epoch, message.stage, client.lost)
"""

import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import zmq

from hypnostream.bridges.address import ClientSecurity, replay_address_seen
from hypnostream.bridges.asker import Asker
from hypnostream.bridges.ledger import Ledger
from hypnostream.bridges.messages import HEARTBEAT_TOPIC, MAX_BYTES, HeartbeatMessage, Message
from hypnostream.bridges.publisher import DEFAULT_ADDRESS, QUEUED_MESSAGES
from hypnostream.bridges.replay_messages import ReplayReply, ReplayRequest, Reply, SnapshotReply, SnapshotRequest
from hypnostream.errors import UserError

MISSED_HEARTBEATS = 3
LATE_AFTER_S = 5.0
MOST_AT_ONCE = 100  # messages taken from the socket before the user gets the first
# ZeroMQ's own sign of life finds a connection whose other end is gone without a word, for both ends.
PING_EVERY_S = 5.0
PING_WITHIN_S = 15.0


class Client:
    """Subscribes to one publisher and reconnects by itself; one thread uses it, or one event loop.

    `topics` are beginnings of topics ("" is all); heartbeats always come along. Iterating waits for ever, `receive` and
    `messages` for as long as they are told; `async for` works too. inproc:// needs the publisher's `context`.

    Where the session can be asked for what was missed (its heartbeat says so; `replay` is another address for it),
    the newest message of each topic comes first, and no final result, event or notice is left out later: a gap is
    filled before what comes after it is given. With `history`, all of them come from the session's beginning. With
    `since`, {topic: seq} and the `session_id` of the last messages that were worked off (`message.key` has all three),
    those after them come: a program that writes them down misses none while it is not running.

    UserError: not an address that ZeroMQ can connect to.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        topics: tuple[str, ...] = ("",),
        *,
        history: bool = False,
        since: Mapping[str, int] | None = None,
        session_id: str | None = None,
        replay: str | None = None,
        curve: ClientSecurity | None = None,
        context: zmq.Context[Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self._replay = replay
        self._clock = clock
        self._utc = utc
        self.ledger = Ledger(
            (*topics, HEARTBEAT_TOPIC),
            history=history,
            since=since,
            session_id=session_id,
            can_refill=None if replay is None else True,
        )
        self._ready: deque[Message] = deque()
        self._heard_s = self._clock()
        self._delay_s = 0.0  # of the newest message, by our clock and the publisher's
        self._least_delay_s = math.inf  # of this process's messages: no delay, but two clocks that differ
        self._snapshot_of: str | None = None  # the session whose newest messages we have
        self._owns_context = context is None
        self._context: zmq.Context[Any] = zmq.Context() if context is None else context
        self._asker = Asker(self._context, curve, clock)
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.SUB)
        try:
            self._socket.set(zmq.LINGER, 0)
            self._socket.set(zmq.RCVHWM, QUEUED_MESSAGES)
            self._socket.set(zmq.MAXMSGSIZE, 2 * MAX_BYTES)  # above what `decode` takes, so that it can be counted
            self._socket.set(zmq.IPV6, 1)
            self._socket.set(zmq.HEARTBEAT_IVL, round(1000 * PING_EVERY_S))
            self._socket.set(zmq.HEARTBEAT_TIMEOUT, round(1000 * PING_WITHIN_S))
            self._socket.set(zmq.HEARTBEAT_TTL, round(1000 * PING_WITHIN_S))
            if curve is not None:
                curve.connect(self._socket)
            for topic in self.ledger.topics:
                self._socket.subscribe(topic)
            self._socket.connect(address)
            if replay is not None:
                self._asker.connect(replay)
        except zmq.ZMQError as error:
            self.close()
            reason = zmq.strerror(error.errno or 0)
            raise UserError(
                f"cannot subscribe to {address!r} ({reason}); an address is such as tcp://127.0.0.1:5556"
            ) from error

    @property
    def lost(self) -> int:
        """How many messages were said, did not come, and are gone for good."""
        return self.ledger.lost

    @property
    def refilled(self) -> int:
        """How many messages came because they were asked for."""
        return self.ledger.refilled

    @property
    def missing(self) -> int:
        """How many messages were said and did not come, but are being asked for."""
        return self.ledger.missing

    @property
    def restarts(self) -> int:
        """How often another session, or another process of the same, took over."""
        return self.ledger.restarts

    @property
    def late_s(self) -> float:
        """Wall time since anything came (since connecting, when nothing has)."""
        return self._clock() - self._heard_s

    @property
    def behind_s(self) -> float:
        """How old the newest message is: what it took to get here and the time since then.

        The way of the process's fastest message counts as no time, so that two hosts' clocks need not agree; one of
        them that is set while a session runs misleads until the publisher starts anew.
        """
        return self._delay_s + self.late_s

    @property
    def late(self) -> bool:
        """Whether the newest message is older than five seconds, or than three heartbeats where these are rarer."""
        return self.behind_s > max(LATE_AFTER_S, MISSED_HEARTBEATS * self.ledger.heartbeat_interval_s)

    @property
    def alive(self) -> bool:
        """Whether fewer than three heartbeats were missed; a network's jitter of a second is forgiven."""
        return self.ledger.last is not None and self.late_s <= max(
            1.0, MISSED_HEARTBEATS * self.ledger.heartbeat_interval_s
        )

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None when none came in time (None: for ever)."""
        deadline = None if timeout_s is None else self._clock() + timeout_s
        while not self._advance():
            left_s = math.inf if deadline is None else deadline - self._clock()
            if left_s <= 0:
                return None
            poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            poller.register(self._asker.socket, zmq.POLLIN)
            poller.poll(_milliseconds(min(left_s, self._asker.wait_s)))
        return self._ready.popleft()

    def messages(self, timeout_s: float | None = None) -> Iterator[Message]:
        """Messages until none comes for `timeout_s`."""
        while (message := self.receive(timeout_s)) is not None:
            yield message

    def __iter__(self) -> Iterator[Message]:
        return self.messages()

    async def __aiter__(self) -> AsyncIterator[Message]:
        from zmq.asyncio import Poller, Socket  # brings asyncio along, which a terminal does not need

        poller = Poller()
        for socket in (self._socket, self._asker.socket):
            poller.register(Socket.shadow(socket), zmq.POLLIN)
        while True:
            while not self._advance():
                await poller.poll(_milliseconds(self._asker.wait_s) or -1)
            yield self._ready.popleft()

    def close(self) -> None:
        """Unsubscribes; at once."""
        self._asker.close()
        self._socket.close()
        if self._owns_context:
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _advance(self) -> bool:
        """Takes in what is there and asks for what is missing, without waiting; whether a message is ready."""
        if self._ready:
            return True
        for _ in range(MOST_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                break
            self._enter(frames)
        reply = self._asker.reply()
        if reply is not None:
            self._ready.extend(self._entered(reply))
        self._ask()
        return bool(self._ready)

    def _enter(self, frames: list[bytes]) -> None:
        before = self.ledger.last
        self._ready.extend(self.ledger.enter(frames))
        last = self.ledger.last
        if last is None or last is before:
            return
        self._heard_s = self._clock()
        if before is None or last.origin.boot_id != before.origin.boot_id:
            self._least_delay_s = math.inf
        delay_s = self._utc() - last.time.published_utc_s
        self._least_delay_s = min(self._least_delay_s, delay_s)
        self._delay_s = delay_s - self._least_delay_s
        if isinstance(last, HeartbeatMessage) and self._replay is None:
            told = replay_address_seen(self.address, last.replay) if isinstance(last.replay, str) else None
            if told is not None:
                self._asker.connect(told)
            self._ready.extend(self.ledger.hear_of_replay(told is not None))

    def _ask(self) -> None:
        last = self.ledger.last
        if last is None or not self.ledger.can_refill or not self._asker.may_ask(self._heard_s):
            return
        if self._asker.hopeless:
            self._asker.worked()
            self._snapshot_of = last.origin.session_id
            self._ready.extend(self.ledger.give_up())
        gap = self.ledger.wanted()
        if self._snapshot_of != last.origin.session_id:
            self._asker.ask(SnapshotRequest(topics=self.ledger.topics))
        elif gap is not None:
            session_id = last.origin.session_id
            self._asker.ask(
                ReplayRequest(session_id=session_id, topic=gap.topic, from_seq=gap.from_seq, to_seq=gap.to_seq)
            )

    def _entered(self, reply: Reply) -> list[Message]:
        ready: list[Message] = []
        if isinstance(reply, SnapshotReply):
            self._snapshot_of = reply.session_id
            self._asker.worked()
            ready = self.ledger.snapshot(reply)
        elif isinstance(reply, ReplayReply):
            missing = self.ledger.wanted()
            ready = self.ledger.refill(reply)
            if self.ledger.wanted() != missing:
                self._asker.worked()
        return ready


def _milliseconds(seconds: float) -> int | None:
    """For ZeroMQ; None is for ever. Never less than asked for, which would be to poll in a circle."""
    return None if seconds == math.inf else max(1, math.ceil(seconds * 1000))
