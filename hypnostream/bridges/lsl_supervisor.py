"""Keeps a process that reads LSL at work: one that dies or hangs is replaced."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from hypnostream.bridges.lsl_frames import Begin, Message, Together
from hypnostream.bridges.lsl_process import Frame, ReaderProcess

_PAUSES_S: Final = (0.0, 0.5, 1.0, 2.0, 5.0)  # before each further start of a reader that did not live
_WELL_AFTER_S = 10.0


class LslReader(Protocol):
    """Who reads LSL for a session: a process of its own, or a share in one."""

    reason: str  # the last that it said before it ended, if it said why
    on_news: Callable[[], None] | None  # called by another thread when there is something to take, where one can

    @property
    def pid(self) -> int:
        """The process."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether there are frames to take."""
        ...

    def send(self, message: Message) -> None:
        """Tells it something. What must last through a restart is for the session's `Begin` to say again."""
        ...

    def take(self, timeout_s: float) -> Frame | None:
        """The oldest frame; None when there is none within `timeout_s`, or within a tenth of a second."""
        ...

    def restarted(self) -> str | None:
        """What befell the one before, once, after another took over."""
        ...

    def close(self) -> None:
        """Ends it in good order."""
        ...


class SupervisedReader:
    """The reader, whichever process it is just now. `begin` says what a new one is told first."""

    def __init__(self, begin: Callable[[], Begin | Together]) -> None:
        self._begin = begin
        self._deaths = 0
        self._restart_at: float | None = None
        self._restarted: str | None = None
        self.reason = ""
        self.on_news: Callable[[], None] | None = None
        self._process = ReaderProcess(begin())

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def waiting(self) -> bool:
        """Whether there are frames to take."""
        return self._process.waiting

    def send(self, *messages: Message) -> None:
        """Tells it something. What must last through a restart is for `begin` to say again."""
        self._process.send(*messages)

    def take(self, timeout_s: float) -> Frame | None:
        """The oldest frame; None when there is none within `timeout_s`, or within a tenth of a second."""
        self._supervise()
        if self._restart_at is not None:
            time.sleep(min(timeout_s, max(0.0, self._restart_at - time.monotonic()), 0.1))
            return None
        return self._process.take(timeout_s)

    def restarted(self) -> str | None:
        """What befell the one before, once, after another took over."""
        said, self._restarted = self._restarted, None
        return said

    def close(self) -> None:
        """Ends it in good order."""
        self._process.close()

    def _supervise(self) -> None:
        at = time.monotonic()
        if self._restart_at is None and (fault := self._process.fault()) is not None:
            self._deaths = 0 if at - self._process.started_at > _WELL_AFTER_S else self._deaths + 1
            self._restart_at = at + _PAUSES_S[min(self._deaths, len(_PAUSES_S) - 1)]
            self._process.kill()
            self.reason = f"{fault} ({self.reason})" if self.reason else fault
        if self._restart_at is not None and at >= self._restart_at:
            self._restart_at = None
            self._process = ReaderProcess(self._begin())
            self._restarted, self.reason = self.reason, ""
