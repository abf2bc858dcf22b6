"""One process that reads LSL for many beds, and each bed's share in it."""

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

from hypnostream.bridges.lsl_frames import Alive, Begin, Failed, Leave, Message, Of, Overflowed, Samples, Together
from hypnostream.bridges.lsl_process import Frame
from hypnostream.bridges.lsl_supervisor import SupervisedReader

_AGAIN_S: Final = 1.0  # until a bed is read for again whose part of the reader failed
_LONGEST_WAIT_S: Final = 0.1
# Beyond these what comes for all beds waits in the other process; what waits for those that took nothing for so long
# does not count.
_MOST_BYTES: Final = 64_000_000
_HELD_UP_S: Final = 10.0
_LOOKED_AT_EVERY: Final = 100  # frames


class SharedReader:
    """The process, kept at work by a thread that hands each bed what came for it. `begin` is what it is told first."""

    def __init__(self, begin: Together) -> None:
        self._reader = SupervisedReader(lambda: begin)
        self._backlog_bytes = begin.backlog_bytes
        self._lock = threading.Lock()  # of the shares, and of what is written to the process
        self._shares: dict[int, ReaderShare] = {}
        self._last_number = 0
        self._closed = False
        self.lives = 1
        self.restart = ""  # what befell the process before this one
        self.alive: Frame | None = None
        self._thread = threading.Thread(target=self._serve, name="lsl", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._reader.pid

    def share(self, begin: Callable[[], Begin]) -> "ReaderShare":
        """For one more bed, which says by `begin` what it wants, each time when a process begins to read for it."""
        with self._lock:
            self._last_number += 1
            share = self._shares[self._last_number] = ReaderShare(self, self._last_number, begin)
        return share

    def send(self, *messages: Message) -> None:
        """Tell the process something."""
        with self._lock:
            self._reader.send(*messages)

    def leave(self, number: int) -> None:
        """This bed is read for no more."""
        with self._lock:
            if self._shares.pop(number, None) is not None:
                self._reader.send(Of(number), Leave())

    def close(self) -> None:
        """End the process in good order."""
        self._closed = True
        self._thread.join()
        self._reader.close()

    def _serve(self) -> None:
        for number in count():
            while not number % _LOOKED_AT_EVERY and not self._closed and self._bytes > _MOST_BYTES:
                time.sleep(_LONGEST_WAIT_S)
            if self._closed:
                return
            frame = self._reader.take(_LONGEST_WAIT_S)
            if (why := self._reader.restarted()) is not None:
                self.restart, self.lives = why, self.lives + 1
                for share in list(self._shares.values()):
                    share.wake()
            if frame is not None:
                self._deliver(frame)

    @property
    def _bytes(self) -> int:
        return sum(share.bytes for share in list(self._shares.values()) if not share.held_up)

    def _deliver(self, frame: Frame) -> None:
        messages, raw = frame
        first = messages[0] if messages else None
        if isinstance(first, Of):
            if (share := self._shares.get(first.bed)) is not None:
                share.put((messages[1:], raw), self._backlog_bytes // len(self._shares))
        elif isinstance(first, Alive):
            self.alive = frame
        elif isinstance(first, Failed):
            self._reader.reason = first.reason[:200]


class ReaderShare:
    """An `LslReader` for one bed. One thread takes; `on_news` is called by another when there is something to take.

    A bed that takes nothing, as its disk hangs, loses the oldest of what waits for it, and the others nothing.
    """

    def __init__(
        self,
        shared: SharedReader,
        number: int,
        begin: Callable[[], Begin],
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shared, self._number, self._begin, self._wall = shared, number, begin, wall
        self._took_at = wall()
        self._dropped = 0
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self.bytes = 0
        self._life = 0  # of the process that was told of this bed last
        self._again_at: float | None = None
        self._restarted: str | None = None
        self._alive: Frame | None = None
        self.reason = ""
        self.on_news: Callable[[], None] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        return self._shared.pid

    @property
    def waiting(self) -> bool:
        """Whether there are frames to take."""
        return bool(self._frames)

    @property
    def held_up(self) -> bool:
        """Whether frames wait and none was taken for long."""
        return bool(self._frames) and self._wall() - self._took_at > _HELD_UP_S

    def send(self, message: Message) -> None:
        """Tells it something. What must last through a restart is for `begin` to say again."""
        self._shared.send(Of(self._number), message)

    def take(self, timeout_s: float) -> Frame | None:
        """The oldest frame; None when there is none within `timeout_s`, or within a tenth of a second."""
        if not self._frames:
            self._be_read_for()
            if self._restarted is not None:  # which is to be heard before what comes from the new one
                return None
        if (alive := self._shared.alive) is not self._alive:
            self._alive = alive
            return alive
        if not self._frames and timeout_s > 0:
            with self._changed:
                self._changed.wait_for(lambda: self._frames, min(timeout_s, _LONGEST_WAIT_S))
        if not self._frames:
            return None
        with self._changed:
            frame = self._frames.popleft()
            self.bytes -= len(frame[1])
            self._took_at = self._wall()
            if self._dropped:
                frame = [*frame[0], Overflowed(self._dropped)], frame[1]
                self._dropped = 0
        if any(isinstance(message, Failed) for message in frame[0]):
            self._again_at = time.monotonic() + _AGAIN_S
        return frame

    def restarted(self) -> str | None:
        """What befell the one before, once, after another took over."""
        said, self._restarted = self._restarted, None
        return said

    def put(self, frame: Frame, most_bytes: int) -> None:
        """A frame came for this bed, for which no more than this is to wait once it is held up."""
        with self._changed:
            if not self._frames:
                self._took_at = self._wall()  # or nothing came for long, which holds up nobody
            self._frames.append(frame)
            self.bytes += len(frame[1])
            while self.bytes > most_bytes and self.held_up and self._drop():
                pass
            self._changed.notify()
        self.wake()

    def wake(self) -> None:
        """Who takes may want to look."""
        if (on_news := self.on_news) is not None:  # another thread may take it away
            on_news()

    def close(self) -> None:
        """This bed is read for no more."""
        self._shared.leave(self._number)

    def _drop(self) -> bool:
        """Drop the oldest frame of samples and nothing else; whether there was one."""
        for at, (messages, raw) in enumerate(self._frames):
            if messages and all(isinstance(message, Samples) for message in messages):
                del self._frames[at]
                self.bytes -= len(raw)
                self._dropped += 1
                return True
        return False

    def _be_read_for(self) -> None:
        """Tell a process that does not know this bed yet."""
        if self._again_at is not None and time.monotonic() >= self._again_at:
            self._again_at, self._restarted, self.reason = None, self.reason or "failed", ""
        elif self._life == (life := self._shared.lives):
            return
        else:
            self._restarted = self._shared.restart if self._life else None
            self._life = life
        self._shared.send(Of(self._number), self._begin())
