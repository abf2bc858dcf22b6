"""SIGTERM and Ctrl-C ask for an orderly end; a second Ctrl-C is as rude as ever."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Becomes True when the process was asked to end."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self) -> bool:
        """Whether it was."""
        return self.asked

    def ask(self, *_: object) -> None:
        """A signal came."""
        self.asked = True


class LeftError(Exception):
    """A session was left as it is, to be taken up again."""


class BedStop(Stop):
    """Asks one of many beds to end its session in order, or to `leave` it to be taken up again."""

    def __init__(self) -> None:
        super().__init__()
        self.leaving = False
        self.asked_now = threading.Event()

    def ask(self, *_: object) -> None:
        """End it."""
        super().ask()
        self.asked_now.set()

    def leave(self) -> None:
        """Leave it."""
        self.leaving = True
        self.ask()


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """What becomes True when a signal came, within the `with`."""
    stop = Stop()
    asked_s = 0.0

    def on_signal(number: int, frame: object) -> None:
        nonlocal asked_s
        if stop() and number == signal.SIGINT and time.monotonic() - asked_s > 1.0:
            raise KeyboardInterrupt
        asked_s = time.monotonic()
        stop.ask()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
