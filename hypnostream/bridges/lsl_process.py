"""The process that reads LSL, as the session sees it: frames that come, and whether it is still well."""

import subprocess
import sys
import threading
import time
from collections import deque
from io import BufferedReader, RawIOBase
from typing import BinaryIO, Final, cast

import msgspec

from hypnostream.bridges.lsl_frames import Begin, FromReader, Message, Together, frame, read_reports
from hypnostream.bridges.own_process import own_environment

HUNG_AFTER_S: Final = 2.0
_STARTS_WITHIN_S = 15.0
_MOST_WAITING_BYTES = 8 << 20  # beyond these what comes waits in the other process
_BUFFER_BYTES = 1 << 16
_LONGEST_WAIT_S = 0.1
_END_S = 1.0
Frame = tuple[list[FromReader], bytearray]


class ReaderProcess:
    """One life of the reader. A thread takes its frames from the pipe; `take` hands them on."""

    def __init__(self, begin: Begin | Together) -> None:
        self._process = subprocess.Popen(  # as own_command has it
            [sys.executable, "-P", "-m", "hypnostream.bridges.lsl_reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=own_environment() | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            bufsize=0,
        )
        self._frames: deque[tuple[Frame, int]] = deque()
        self._bytes = 0
        self._most_bytes = min(_MOST_WAITING_BYTES, begin.backlog_bytes)
        self._changed = threading.Condition()
        self._ended = False
        self._spoken = False
        self._quiet_s = 0.0
        self.started_at = time.monotonic()
        self.send(begin)
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def waiting(self) -> bool:
        """Whether there are frames to take."""
        return bool(self._frames)

    def send(self, *messages: Message) -> None:
        """Tells it something, in one frame. One that is gone hears nothing; that shows elsewhere."""
        try:
            cast(BinaryIO, self._process.stdin).write(frame(messages))
        except (OSError, ValueError):  # ValueError: its pipe was closed here, and no other has taken over yet
            return

    def take(self, timeout_s: float) -> Frame | None:
        """The oldest frame; None when there is none within `timeout_s`, or within a tenth of a second."""
        with self._changed:
            if not self._frames and not self._ended:
                began = time.monotonic()
                wait_s = min(timeout_s, _LONGEST_WAIT_S)
                if not self._changed.wait_for(lambda: self._frames or self._ended, wait_s):
                    # Time in which this process was stopped is no silence of the other's.
                    self._quiet_s += min(time.monotonic() - began, wait_s)
            if not self._frames:
                return None
            self._quiet_s = 0.0
            self._spoken = True
            body, size = self._frames.popleft()
            self._bytes -= size
            self._changed.notify_all()
            return body

    def fault(self) -> str | None:
        """What is wrong with it, in a few words, once all that it said was taken; None when it is well."""
        if self._frames:
            return None
        if self._ended:
            try:
                code = self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                return "closed its output"
            return f"died of signal {-code}" if code < 0 else f"ended with exit code {code}"
        if self._quiet_s > (HUNG_AFTER_S if self._spoken else _STARTS_WITHIN_S):
            return f"hung for {self._quiet_s:.0f} s"
        return None

    def kill(self) -> None:
        """Ends it whatever it is at, even stopped."""
        self._process.kill()
        self._process.wait()
        self._let_go()

    def close(self) -> None:
        """Ends it in good order, by the end of its input."""
        cast(BinaryIO, self._process.stdin).close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._let_go()

    def _let_go(self) -> None:
        with self._changed:
            self._frames.clear()
            self._bytes = 0
            self._changed.notify_all()
        self._listener_done()

    def _listener_done(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended, _END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()

    def _listen(self) -> None:
        pipe = cast(RawIOBase, self._process.stdout)
        try:
            with BufferedReader(pipe, _BUFFER_BYTES) as stream:
                while (body := read_reports(stream)) is not None:
                    size = len(body[1])
                    with self._changed:
                        self._changed.wait_for(lambda: self._bytes < self._most_bytes)
                        self._frames.append((body, size))
                        self._bytes += size
                        self._changed.notify_all()
        except (OSError, ValueError, msgspec.DecodeError):  # it died in the middle of a word
            pass
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
