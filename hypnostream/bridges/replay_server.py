"""The address at which a client asks for what it missed: answers out of the result log, beside the publisher."""

import threading
import time
from collections.abc import Mapping
from typing import Any

import zmq

from hypnostream.bridges.address import ServerSecurity, bindable
from hypnostream.bridges.messages import Message, MessageError, Origin
from hypnostream.bridges.replay_messages import (
    MAX_REQUEST_BYTES,
    PAGE_BYTES,
    PAGE_MESSAGES,
    RefusedReply,
    ReplayReply,
    ReplayRequest,
    Reply,
    SnapshotReply,
    SnapshotRequest,
    decode_request,
    encode,
)
from hypnostream.bridges.result_log import Page, ResultLog
from hypnostream.errors import UserError

REQUESTS_QUEUED = 8  # a client; what it asks beyond them waits with it
REPLIES_QUEUED = 2  # a client; one that does not read its answers gets no more of them
SHARE = 0.2  # of one core at most: who asks over and over waits, the session does not


class Shelf:
    """What can be asked for: the newest body of each topic and, where there is a log, all of the durable ones.

    The publisher puts in, the server takes out, in another thread.
    """

    def __init__(self, origin: Origin, log: ResultLog | None = None) -> None:
        self.origin = origin
        self.log = log
        self._latest: Mapping[str, tuple[int, bytes | None]] = {}
        for topic, seq in (log.last_seq if log else {}).items():
            self._latest = {**self._latest, topic: (seq, None)}

    @property
    def last_seq(self) -> dict[str, int]:
        """The last seq of each topic."""
        return {topic: seq for topic, (seq, _) in self._latest.items()}

    def put(self, message: Message, body: bytes) -> None:
        """A message was published; one older than what is here changes nothing."""
        if message.seq >= self.last_seq.get(message.topic, -1):
            self._latest = {**self._latest, message.topic: (message.seq, body)}

    def answer(self, body: bytes) -> Reply:
        """The reply to a request that anyone may have sent."""
        try:
            request = decode_request(body)
        except MessageError as error:
            return self._refused(0, f"request: {error}")
        try:
            return self._snapshot(request) if isinstance(request, SnapshotRequest) else self._replay(request)
        except OSError as error:
            return self._refused(request.request, f"the log cannot be read: {error.strerror or error}")

    def _snapshot(self, request: SnapshotRequest) -> Reply:
        asked = {topic: each for topic, each in self._latest.items() if topic.startswith(request.topics)}
        bodies: list[bytes] = []
        for topic, (_, body) in asked.items():
            body = body or (self.log.latest(topic) if self.log else None)
            if body is not None and sum(map(len, bodies)) + len(body) <= 2 * PAGE_BYTES:
                bodies.append(body)
        return SnapshotReply(
            request=request.request,
            session_id=self.origin.session_id,
            boot_id=self.origin.boot_id,
            last_seq={topic: seq for topic, (seq, _) in asked.items()},
            messages=tuple(bodies),
        )

    def _replay(self, request: ReplayRequest) -> Reply:
        if request.session_id != self.origin.session_id:
            return self._refused(request.request, "the session that was asked for is not the one that runs")
        # Up to here all that is ever to be had is in the log; what is asked for beyond may still be said.
        last_seq = (self.log.last_seq if self.log else self.last_seq).get(request.topic, -1)
        to_seq = min(request.to_seq, last_seq)
        page = Page([], max(request.from_seq, to_seq + 1))
        if self.log is not None and request.from_seq <= to_seq:
            page = self.log.read(request.topic, request.from_seq, to_seq, PAGE_BYTES, PAGE_MESSAGES)
        return ReplayReply(
            request=request.request,
            session_id=self.origin.session_id,
            topic=request.topic,
            next_seq=page.next_seq,
            more=page.next_seq <= to_seq,
            messages=tuple(page.bodies),
        )

    def _refused(self, request: int, reason: str) -> RefusedReply:
        line = " ".join(reason.split())[:300]
        return RefusedReply(request=request, session_id=self.origin.session_id, reason=line)


class ReplayServer:
    """Answers requests in a thread of its own, until closed.

    Whatever clients ask, it takes `SHARE` of a core at most, and a client that does not read its replies holds
    REPLIES_QUEUED of them. `address` is as for `Publisher`; the attribute is the one that was bound.
    UserError: the address is refused, taken, or cannot be bound.
    """

    def __init__(
        self,
        address: str,
        shelf: Shelf,
        *,
        insecure: bool = False,
        curve: ServerSecurity | None = None,
        context: zmq.Context[Any] | None = None,
    ) -> None:
        address = bindable(address, insecure=insecure or curve is not None)
        self._shelf = shelf
        self._owns_context = context is None
        self._context: zmq.Context[Any] = zmq.Context() if context is None else context
        self._socket: zmq.Socket[Any] = self._context.socket(zmq.ROUTER)
        self._thread: threading.Thread | None = None
        try:
            self._socket.set(zmq.LINGER, 0)
            self._socket.set(zmq.RCVHWM, REQUESTS_QUEUED)
            self._socket.set(zmq.SNDHWM, REPLIES_QUEUED)
            self._socket.set(zmq.MAXMSGSIZE, MAX_REQUEST_BYTES)
            self._socket.set(zmq.IPV6, int("[" in address))
            if curve is not None:
                curve.serve(self._socket)
            self._socket.bind(address)
            self.address = self._socket.get_string(zmq.LAST_ENDPOINT).rstrip("\0")
        except zmq.ZMQError as error:
            self.close()
            reason = zmq.strerror(error.errno or 0)
            raise UserError(
                f"cannot answer requests for missed results on {address}: {reason}; choose another with `replay`"
            ) from error
        # A pair of sockets wakes the thread when it is to end: no one else's thread may touch the ROUTER.
        self._waker: zmq.Socket[Any] = self._context.socket(zmq.PAIR)
        woken: zmq.Socket[Any] = self._context.socket(zmq.PAIR)
        name = f"inproc://replay-{id(self)}"
        woken.bind(name)
        self._waker.connect(name)
        self._thread = threading.Thread(target=self._serve, args=(woken,), name="replay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and releases the address."""
        if self._thread is not None:
            self._waker.send(b"")
            self._thread.join()
            self._waker.close()
            self._thread = None
        self._socket.close()
        if self._owns_context:
            self._context.term()

    def _serve(self, woken: zmq.Socket[Any]) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(woken, zmq.POLLIN)
        while woken not in (ready := dict(poller.poll())):
            began_s = time.perf_counter()
            if self._socket in ready:
                self._answer_one()
            time.sleep((time.perf_counter() - began_s) * (1 - SHARE) / SHARE)
        woken.close()

    def _answer_one(self) -> None:
        try:
            *envelope, body = self._socket.recv_multipart(zmq.NOBLOCK)
            if len(envelope) == 1 or (len(envelope) == 2 and not envelope[1]):  # of a DEALER, of a REQ
                self._socket.send_multipart([*envelope, encode(self._shelf.answer(body))], zmq.NOBLOCK)
        except zmq.ZMQError:  # nothing there after all, or the client is gone
            return
