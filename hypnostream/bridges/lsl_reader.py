"""The process that reads LSL, for one session or for the beds of a ward: all that is native of LSL happens here, and
may die here.

It is told what to look for on its standard input, and what it reads goes to its standard output (see lsl_frames). It
ends when its input does. `lsl.py` starts it, watches it and starts it again.
"""

import heapq
import os
import queue
import signal
import sys
import threading
import time
from typing import BinaryIO

import pylsl

from hypnostream.bridges.lsl_backlog import Backlog
from hypnostream.bridges.lsl_bed_reader import BedReader
from hypnostream.bridges.lsl_frames import Alive, Begin, Failed, Leave, Of, Together, ToReader, read_commands
from hypnostream.bridges.lsl_lookout import Pace
from hypnostream.bridges.lsl_sight import Sight

_ALIVE_EVERY_S = 0.5
_IDLE_S = 0.25  # after so long commands are looked for, whoever has none
# Of hundreds of beds each look costs what it costs one bed; what each says of a second is looked for when it is due.
_PACE_TOGETHER = Pace(often_s=0.1, coarse_s=0.5, fine_s=0.01)
_LOOK_AROUND_TOGETHER_S = 0.5
_FORGET_TOGETHER_S = 4.0  # lsl_config asks less often where many are asked
_Commands = queue.SimpleQueue[tuple[int, ToReader]]  # with the number of the bed that says it


class Readers:
    """All who are read for, each when something is due for it. Alone (`together` False) the one there is has number 0
    and its faults are the process's; together a bed's faults are its own."""

    def __init__(self, commands: _Commands, backlog: Backlog, sight: Sight, together: bool) -> None:
        self._commands, self._backlog, self._sight, self._together = commands, backlog, sight, together
        self._readers: dict[int, BedReader] = {}
        self._due: list[tuple[float, int]] = []
        self._alive_at = 0.0

    def turn(self) -> float:
        """Everything that is to be done now; returns how many seconds may be slept."""
        while not self._commands.empty():
            self.obey(*self._commands.get())
        at = time.monotonic()
        if at >= self._alive_at:
            self._alive_at = at + _ALIVE_EVERY_S
            self._backlog.put([Alive(float(pylsl.local_clock()) - time.monotonic())])
        while self._due and self._due[0][0] <= at:
            _, bed = heapq.heappop(self._due)
            if (reader := self._readers.get(bed)) is None:
                continue
            try:
                rest_s = reader.turn()
            except Exception as error:
                if not self._together:
                    raise
                self._fail(bed, error)
            else:
                heapq.heappush(self._due, (time.monotonic() + rest_s, bed))
        due_at = self._due[0][0] if self._due else at + _IDLE_S
        return min(max(0.0, due_at - time.monotonic()), _IDLE_S)

    def obey(self, bed: int, command: ToReader) -> None:
        """A command of a bed; of one that is not read for, only `Begin` means anything."""
        if isinstance(command, Begin):
            known = bed in self._readers
            pace = _PACE_TOGETHER if self._together else Pace()
            self._readers[bed] = BedReader(command, self._backlog, self._sight, bed, pace)
            if not known:
                heapq.heappush(self._due, (0.0, bed))
        elif isinstance(command, Leave):
            self._readers.pop(bed, None)
            self._due = [each for each in self._due if each[1] != bed]
            heapq.heapify(self._due)
        elif bed in self._readers:
            self._readers[bed].obey(command)

    def _fail(self, bed: int, error: Exception) -> None:
        del self._readers[bed]
        self._backlog.put([Failed(f"{type(error).__name__}: {error}")], bed=bed)


def _listen(stream: BinaryIO, commands: _Commands) -> None:
    """Hands on what the sessions say; the end of that is the end of this process, whatever it is at."""
    try:
        while (said := read_commands(stream)) is not None:
            bed = 0
            for command in said:
                if isinstance(command, Of):
                    bed = command.bed
                else:
                    commands.put((bed, command))
    finally:
        os._exit(0)


def main() -> None:
    """Read until the sessions end."""
    for number in (signal.SIGINT, signal.SIGTERM):  # meant for the session, which ends us in its own time
        signal.signal(number, signal.SIG_IGN)
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no frame
    commands: _Commands = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(sys.stdin.buffer, commands), daemon=True).start()
    _, first = commands.get()
    if not isinstance(first, Begin | Together):
        raise SystemExit(2)
    pylsl.set_config_content(first.config)
    backlog = Backlog(out, first.backlog_bytes)
    try:
        if isinstance(first, Begin):
            readers = Readers(commands, backlog, Sight(first.query), together=False)
            readers.obey(0, first)
        else:
            sight = Sight(None, _LOOK_AROUND_TOGETHER_S, _FORGET_TOGETHER_S)
            readers = Readers(commands, backlog, sight, together=True)
        while True:
            time.sleep(readers.turn())
    except Exception as error:
        backlog.put([Failed(f"{type(error).__name__}: {error}")])
        backlog.flush(1.0)
        os._exit(1)  # without liblsl's own end, which may abort


if __name__ == "__main__":
    main()
