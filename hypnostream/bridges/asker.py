"""The asking side of the replay address: one request at a time, asked again when no answer comes."""

import math
from collections.abc import Callable
from typing import Any

import zmq
from msgspec.structs import replace

from hypnostream.bridges.address import ClientSecurity
from hypnostream.bridges.messages import MessageError
from hypnostream.bridges.replay_messages import MAX_REPLY_BYTES, Reply, Request, decode_reply, encode

TIMEOUT_S = 1.0
MOST_ATTEMPTS = 10


class Asker:
    """Asks one address, never waits. A request that brought nothing is asked again only when the publisher has been
    heard since, so that one that is being started again is asked when it is back.
    """

    def __init__(self, context: zmq.Context[Any], curve: ClientSecurity | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._address: str | None = None
        self._number = 0
        self._asked_s = -math.inf
        self._waiting = False  # for an answer
        self._attempts = 0
        self.socket: zmq.Socket[Any] = context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 0)
        self.socket.set(zmq.SNDHWM, MOST_ATTEMPTS)
        self.socket.set(zmq.MAXMSGSIZE, MAX_REPLY_BYTES)
        self.socket.set(zmq.IPV6, 1)
        if curve is not None:
            curve.connect(self.socket)

    def connect(self, address: str) -> None:
        """Asks at this address from now on. ZMQError: not an address."""
        if address != self._address:
            if self._address is not None:
                self.socket.disconnect(self._address)
            self.socket.connect(address)
            self._address = address
            self._waiting, self._attempts = False, 0

    def may_ask(self, heard_s: float) -> bool:
        """Whether it is time for a request; `heard_s` is when the publisher was last heard."""
        if not self._waiting and not self._attempts:
            return True
        return self._clock() >= self._asked_s + TIMEOUT_S and heard_s > self._asked_s

    @property
    def wait_s(self) -> float:
        """How long until it may be time; infinite where only what comes can tell."""
        left_s = self._asked_s + TIMEOUT_S - self._clock()
        return left_s if left_s > 0 and (self._waiting or self._attempts) else math.inf

    @property
    def hopeless(self) -> bool:
        """Whether asking has brought nothing for so long that it is gone."""
        return self._attempts >= MOST_ATTEMPTS

    def ask(self, request: Request) -> None:
        """Sends a request; it brought nothing unless `worked` says otherwise before the next."""
        self._number += 1
        self._attempts += 1
        self._asked_s = self._clock()
        self._waiting = True
        try:
            self.socket.send(encode(replace(request, request=self._number)), zmq.NOBLOCK)
        except zmq.Again:  # as good as one that is not answered
            return

    def worked(self) -> None:
        """What was asked for has come, or was given up: the next request may follow at once."""
        self._waiting, self._attempts = False, 0

    def reply(self) -> Reply | None:
        """The answer to the last request, if it has come."""
        while self._waiting:
            try:
                reply = decode_reply(self.socket.recv_multipart(zmq.NOBLOCK)[-1])
            except zmq.Again:
                break
            except MessageError:
                continue
            if reply.request == self._number:
                self._waiting = False
                return reply
        return None

    def close(self) -> None:
        """Ends it, at once."""
        self.socket.close()
