"""Who listens to a publisher, from what subscribers tell its XPUB socket."""

import time
from collections import Counter
from typing import Any

import zmq

LARGEST_BYTES = 4096
MOST = 1000


class Subscriptions:
    """What is subscribed to, as far as it has been heard. Anyone may connect and say anything, so no more than MOST
    different ones are kept, and none can keep us here.
    """

    def __init__(self, socket: zmq.Socket[Any]) -> None:
        self._socket = socket
        self._counts: Counter[bytes] = Counter()
        socket.set(zmq.MAXMSGSIZE, LARGEST_BYTES)
        socket.set(zmq.XPUB_VERBOSER, 1)  # each subscriber is heard, not only a topic's first and last

    def hear(self) -> None:
        """Take in what came; never waits."""
        for _ in range(MOST):
            if not self._socket.poll(0):
                return
            said = self._socket.recv()
            topic = said[1:]
            if said[:1] == b"\0":
                self._counts -= Counter({topic: 1})  # what comes to nought is gone
            elif said[:1] == b"\1" and (topic in self._counts or len(self._counts) < MOST):
                self._counts[topic] += 1

    @property
    def subscribers(self) -> int:
        """How many listen: the most that subscribe to the same."""
        return max(self._counts.values(), default=0)

    def wait(self, timeout_s: float, topic: str) -> bool:
        """Whether someone subscribes to `topic`, or to a beginning of it, by now or within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            self.hear()
            if any(topic.encode().startswith(subscription) for subscription in self._counts):
                return True
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._socket.poll(max(1, int(left_s * 1000)))
