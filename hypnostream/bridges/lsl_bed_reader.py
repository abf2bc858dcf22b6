"""Reading the LSL streams of one session: look around, open, pull, tell. In the process that reads (lsl_reader)."""

import ctypes
import math
import queue
import threading
import time
from collections.abc import Sequence

import pylsl

from hypnostream.bridges.lsl_backlog import Backlog
from hypnostream.bridges.lsl_frames import (
    Begin,
    Crash,
    Drop,
    Expect,
    Found,
    Known,
    Look,
    Lost,
    Message,
    Refused,
    Samples,
    Seen,
    ToReader,
)
from hypnostream.bridges.lsl_inlet import Inlet, RefusedStreamError
from hypnostream.bridges.lsl_lookout import Lookout, Pace
from hypnostream.bridges.lsl_roster import MOST_STREAMS, Roster
from hypnostream.bridges.lsl_sight import Sight

_LOOK_AROUND_S, _LOOK_AROUND_HURRIED_S = 0.25, 0.05
_HURRIED_FOR_S = 5.0
_SETTLE_S = 0.25  # outlets of one machine answer one after another; the first streams get their names in order
_ASTRAY_S = 1.0  # more than this, and stream time is not what it was thought to be
_LEAVE_WITH_LSL = (
    8 << 20
)  # a sender that is ahead of time is left to wait in liblsl's buffers, where nothing is dropped
_PROBES_HELD = 32  # while no samples come that they could go with
_OPENED_AT_ONCE = threading.BoundedSemaphore(16)  # a ward's streams all come at once
_Opened = tuple[Known, "Inlet | Exception"]


class BedReader:
    """Single-threaded but for the opening of streams. `bed` is whom the frames are for, `pace` how often it looks."""

    def __init__(self, begin: Begin, backlog: Backlog, sight: Sight, bed: int = 0, pace: Pace | None = None) -> None:
        self._backlog, self._sight, self._query, self._bed = backlog, sight, begin.query, bed
        self._pace = pace or Pace()
        self._roster = Roster(begin.known)
        self._uids_before = {known.uid for known in begin.known}
        self._lookout = Lookout(begin.t0_s, self._pace)
        self._inlets: dict[str, Inlet] = {}
        self._clock_ahead_s = 0.0  # LSL's clock, of that of the stamps: that is another where streams declare it
        self._opened: queue.SimpleQueue[_Opened] = queue.SimpleQueue()
        self._refused: set[str] = set()
        self._probes: list[Message] = []
        self._around_at = 0.0
        self._first_seen: float | None = None if not begin.known else 0.0
        self._hurried_until = time.monotonic() + _HURRIED_FOR_S
        if not sight.understands(self._query):
            self._refuse("", "", f"{begin.query!r} is no query that LSL understands")

    def turn(self) -> float:
        """Everything that is to be done now; returns how many seconds may be slept."""
        at = time.monotonic()
        if at >= self._around_at:
            self._look_around(at)
        while not self._opened.empty():
            self._welcome(*self._opened.get())
        self._pull()
        return self._rest_s()

    def obey(self, command: ToReader) -> None:
        """What the session says."""
        match command:
            case Expect(t0_s):
                self._lookout.expect(t0_s)
            case Drop(stream_id):
                if self._inlets.pop(stream_id, None) is not None:
                    self._lookout.forget(stream_id)
                    self._roster.refuse(stream_id)
            case Look():
                self._tell([Seen(tuple((name[:40], kind[:20]) for name, kind in self._sight.all_there_are()[:100]))])
            case Crash(hang):
                while hang:
                    time.sleep(1.0)
                ctypes.string_at(0)

    def _tell(self, messages: Sequence[Message], raw: bytes = b"", droppable: bool = False) -> None:
        self._backlog.put(messages, raw, droppable, self._bed)

    def _rest_s(self) -> float:
        """How long nothing needs to be done."""
        around_s = max(0.0, self._around_at - time.monotonic())
        if not self._inlets:
            return min(self._pace.coarse_s, around_s)
        if not all(inlet.ready for inlet in self._inlets.values()):
            return min(self._pace.often_s, around_s)
        return min(self._lookout.wait_s(self._now_s()), around_s)

    def _now_s(self) -> float:
        """Now, on the clock of the stamps."""
        return float(pylsl.local_clock()) - self._clock_ahead_s

    def _look_around(self, at: float) -> None:
        hurried = self._roster.missing or at < self._hurried_until
        self._around_at = at + (_LOOK_AROUND_HURRIED_S if hurried else _LOOK_AROUND_S)
        seen = self._sight.of(self._query, at)
        if seen and self._first_seen is None:
            self._first_seen = at
        if not seen or self._first_seen is None or at < self._first_seen + _SETTLE_S:
            return
        infos = {announced.uid: info for announced, info in seen}
        announced = [announced for announced, _ in seen]
        for known in self._roster.take_up(announced, at):
            if known.stream_id in self._inlets:
                self._close(known.stream_id, "its sender hung, and another took its place")
            threading.Thread(target=self._open, args=(infos[known.uid], known), daemon=True).start()
        if self._roster.full:
            self._refuse("full", "", f"more than {MOST_STREAMS} streams match; name fewer by a predicate")

    def _open(self, info: pylsl.StreamInfo, known: Known) -> None:
        try:
            with _OPENED_AT_ONCE:
                self._opened.put((known, Inlet(info, known, known.uid in self._uids_before)))
        except Exception as error:  # it is told where it matters
            self._opened.put((known, error))

    def _welcome(self, known: Known, inlet: "Inlet | Exception") -> None:
        self._hurried_until = time.monotonic() + _HURRIED_FOR_S
        if isinstance(inlet, Inlet):
            self._inlets[known.stream_id] = inlet
            self._roster.opened(known.stream_id, time.monotonic())
            self._tell([Found(known, inlet.description, inlet.text)])
            return
        if isinstance(inlet, RefusedStreamError):
            self._roster.refuse(known.stream_id)
            self._refuse(known.uid, known.stream_id, str(inlet))
        else:
            self._roster.lost(known.stream_id, time.monotonic())
            self._refuse(known.uid, known.stream_id, "it was announced and did not open")

    def _pull(self) -> None:
        now_s = self._now_s()
        due = self._lookout.due(now_s)
        declared_s = -math.inf
        messages: list[Message] = []
        raw: list[bytes] = []
        for stream_id, inlet in list(self._inlets.items()):
            try:
                if (probe := inlet.probe()) is not None:
                    self._probes.append(probe)
                if not inlet.ready or (due is not None and stream_id not in due):
                    continue
                if inlet.description.stream_clock and self._backlog.bytes > _LEAVE_WITH_LSL:
                    continue
                pulled = inlet.pull() if self._wants(stream_id, inlet, now_s, all_of_them=due is None) else None
            except pylsl.util.LostError:
                self._close(stream_id, "its sender is gone")
                self._roster.lost(stream_id, time.monotonic())
                continue
            newest_s = None
            if pulled is not None:
                self._roster.heard(stream_id, time.monotonic())
                message, body, newest_s = pulled
                if inlet.description.stream_clock and newest_s is not None:
                    declared_s = max(declared_s, newest_s)
                if isinstance(message, Samples):
                    messages.append(message)
                    raw.append(body)
                else:
                    self._tell_probes()
                    self._tell([message])
            self._lookout.looked(
                stream_id, now_s, None if newest_s is None else newest_s + inlet.offset_s, inlet.rate_hz
            )
        if messages or len(self._probes) >= _PROBES_HELD:
            self._tell_probes()
        if messages:
            self._tell(messages, b"".join(raw), droppable=True)
        if due is None and math.isfinite(declared_s) and abs(now_s - declared_s) > _ASTRAY_S:
            self._clock_ahead_s += now_s - declared_s
            self._lookout.begin_anew()

    def _wants(self, stream_id: str, inlet: Inlet, now_s: float, all_of_them: bool) -> bool:
        """Whether to take what there is of a stream; where nothing is, that says whether its sender is still there."""
        waiting = inlet.waiting()
        if not waiting or inlet.description.stream_clock:  # seconds may pass faster than on the wall
            return waiting > 0 or all_of_them
        return self._lookout.wants(stream_id, waiting, now_s)

    def _tell_probes(self) -> None:
        """What was measured of clocks, before the samples that come next; by itself each would cost as much as they."""
        if self._probes:
            self._tell(self._probes)
            self._probes = []

    def _close(self, stream_id: str, why: str) -> None:
        del self._inlets[stream_id]
        self._lookout.forget(stream_id)
        self._around_at = 0.0
        self._tell_probes()
        self._tell([Lost(stream_id, why)])

    def _refuse(self, key: str, name: str, why: str) -> None:
        if key not in self._refused and len(self._refused) < 1000:
            self._refused.add(key)
            self._tell([Refused(name, why)])
