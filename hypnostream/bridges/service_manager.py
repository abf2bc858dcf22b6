"""Tells systemd that a session is up, alive or ending (sd_notify's protocol, which is one datagram).

Only where systemd asks for it, by the environment variable NOTIFY_SOCKET; elsewhere, and on other systems, nothing
is sent.
"""

import os
import socket
import time
from collections.abc import Callable

from hypnostream.bridges.messages import SESSION_ENDED
from hypnostream.bridges.overseer import Reading
from hypnostream.bridges.tally import ENDING_S
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.source import Notice

FEED_S = 0.9  # a session faster than life beats more often than its manager reads


def tell(state: str) -> bool:
    """Send "READY=1", "WATCHDOG=1", "STOPPING=1" or "STATUS=..." to the service manager; whether one was told."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    address = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), address)
    except OSError:  # a manager that does not listen must not end a night
        return False
    return True


class ServiceManager:
    """An overseer (see `bridges.overseer`): up, alive with each heartbeat, ending when the session ended."""

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        self._wall = wall
        self._ready = False
        self._fed: float | None = None

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Results are not for it."""

    def heartbeat(self, now_s: float) -> None:
        """The loop is alive; the first time, the session is up."""
        if not self._ready:
            self._ready = tell("READY=1")
        now = self._wall()
        if self._fed is None or now - self._fed >= FEED_S:
            tell("WATCHDOG=1")
            self._fed = now

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Events are not for it."""

    def notice(self, notice: Notice) -> None:
        """The latest is what `systemctl status` shows. Once the session has ended no heartbeat comes any more."""
        text = " ".join(f"{notice.kind} {notice.subject}".split())
        tell(f"STATUS={text[:200]}")
        if notice.kind == SESSION_ENDED:
            tell(f"STOPPING=1\nWATCHDOG_USEC={ENDING_S * 1e6:.0f}")

    def observe(self, reading: Reading) -> None:
        """Numbers are for the metrics."""
