"""SIGTERM and Ctrl-C ask for an orderly end; a second Ctrl-C is as rude as ever."""

import signal
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
