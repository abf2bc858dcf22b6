"""What the reader has to say, on its way to the session: written by a thread, so that the reader never waits."""

import os
import threading
from collections import Counter, deque
from collections.abc import Sequence

from hypnostream.bridges.lsl_frames import Message, Of, Overflowed, frame

_AT_ONCE = 1 << 20


class Backlog:
    """Frames that wait for the session to take them, `most_bytes` of them at most.

    Beyond that the oldest chunks are dropped, whole: what is missing is a gap in the stamps. A session that stands
    still costs no more than this.
    """

    def __init__(self, descriptor: int, most_bytes: int) -> None:
        self._descriptor = descriptor
        self._most_bytes = most_bytes
        self._waiting: deque[tuple[bytes, int | None]] = deque()  # with the bed that may lose it
        self._changed = threading.Condition()
        self.bytes = 0
        self._dropped: Counter[int] = Counter()  # chunks, by bed
        self._writing = False
        threading.Thread(target=self._write, daemon=True).start()

    def put(self, messages: Sequence[Message], raw: bytes = b"", droppable: bool = False, bed: int = 0) -> None:
        """Sends a frame. Only those that carry nothing but samples may be `droppable`. Beds count from 1; 0 is the
        process itself, or its only session."""
        body = frame(_of(bed, messages), raw)
        with self._changed:
            self._waiting.append((body, bed if droppable else None))
            self.bytes += len(body)
            while self.bytes > self._most_bytes and len(self._waiting) > 1:
                self._drop()
            self._changed.notify()

    def flush(self, timeout_s: float) -> None:
        """Waits until everything was taken, but no longer than `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._writing, timeout_s)

    def _drop(self) -> None:
        index = next((at for at, (_, loser) in enumerate(self._waiting) if loser is not None), 0)
        body, loser = self._waiting[index]
        del self._waiting[index]
        self.bytes -= len(body)
        if loser is not None:
            self._dropped[loser] += 1

    def _write(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                bodies: list[bytes] = []
                bodies += [frame(_of(bed, [Overflowed(chunks)])) for bed, chunks in self._dropped.items()]
                self._dropped.clear()
                while self._waiting and sum(map(len, bodies)) < _AT_ONCE:
                    body, _ = self._waiting.popleft()
                    self.bytes -= len(body)
                    bodies.append(body)
                self._writing = True
            left = memoryview(b"".join(bodies))
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:  # the session is gone, and so is the reason to be
                os._exit(0)


def _of(bed: int, messages: Sequence[Message]) -> Sequence[Message]:
    return [Of(bed), *messages] if bed else messages
