"""The one loop of a ward: it drives all beds whose sessions are on, and puts together what they ask for.

How a session begins and ends is each bed's own affair, in a thread of its own, as it may take minutes (see
`ward_bed`). Between the two the bed is the loop's, and its thread, in `drive`, says what is kept on a disk: a disk that
is slow holds up the beds that are kept on it and no others.
"""

import heapq
import queue
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.run import DrivenBed, LiveSteps
from hypnostream.bridges.shifted import ShiftedSource
from hypnostream.engine.backend import Backend
from hypnostream.engine.bed_state import Said
from hypnostream.engine.scheduler import BatchSettings, Finished, Scheduler
from hypnostream.engine.slots import Slots
from hypnostream.stream.clock import Clock
from hypnostream.stream.source import LiveSource

TOGETHER_S = 0.01  # what comes within it is looked at once
# Waits of a bed alone, after which one is looked at of which nothing came: a little more than a second, as its samples
# come once a second.
PATIENCE = 6.0
# So many threads say something at once, and leave the interpreter to the loop else; none waits for its turn longer than
# this, as those before it may wait for a disk that hangs.
SAYING, LONGEST_TURN_S = 4, 0.5


@dataclass(eq=False, slots=True)
class _Place:
    """A bed in the loop. `told` while it is in the queue of those of whom something came, `missed` when that was while
    it was at work. `to_say` is for its thread, which is at it while `saying`; None: the bed is the thread's again."""

    source: LiveSource
    steps: LiveSteps
    driven: DrivenBed
    stop: Callable[[], bool]
    due_s: float = 0.0
    told: bool = False
    missed: bool = False
    saying: bool = False
    gone: bool = False
    to_say: "queue.SimpleQueue[Said | None]" = field(default_factory=queue.SimpleQueue)
    error: Exception | None = None


class WardLoop:
    """`turn` is called by one thread, over and over; `drive` by any other.

    Beds whose sessions share a backend share slots for its states, and so its runs. What `scheduler` counts may be read
    by any thread.
    """

    def __init__(self, settings: BatchSettings | None = None, wall: Callable[[], float] = time.monotonic) -> None:
        self.scheduler: Scheduler[_Place, Said] = Scheduler(settings)
        self._wall = wall
        self._slots: dict[Backend, Slots] = {}
        self._joining: deque[_Place] = deque()
        self._told: deque[_Place] = deque()
        self._was_said: deque[_Place] = deque()
        self._turns_to_say = threading.Semaphore(SAYING)
        self._due: list[tuple[float, int, _Place]] = []
        self._order = count()
        self._news = threading.Event()
        self._beds = 0

    def __len__(self) -> int:
        """How many beds there are in it."""
        return self._beds

    def drive(self, source: LiveSource, clock: Clock, driven: DrivenBed, stop: Callable[[], bool]) -> None:
        """Drive a bed until `source` is exhausted or `stop` says so. Raises what the bed's own work raised."""
        started = time.perf_counter()
        place = _Place(source, LiveSteps(source, clock, PATIENCE), driven, stop)
        inner = source.source if isinstance(source, ShiftedSource) else source
        if isinstance(inner, LslSource):
            inner.tell(lambda: self._tell(place))
        self._joining.append(place)
        self._news.set()
        while (said := place.to_say.get()) is not None:
            self._say_apart(place, said)
            del said  # or the bed's last words are held until its next
        if isinstance(inner, LslSource):
            inner.tell(None)  # nor hold on to the bed
        driven.outcome.wall_s += time.perf_counter() - started
        try:
            if place.error is not None:
                raise place.error
        finally:
            place.error = None  # whose trace holds the place: a ring that only a search for cycles would free

    def turn(self, longest_s: float) -> float:
        """Do what is to be done by now, then wait for what comes next, `longest_s` at most; how long it waited."""
        self._news.clear()
        while self._joining:
            self._admit(self._joining.popleft())
        while self._was_said:
            self._take_back(self._was_said.popleft())
        now_s = self._wall()
        for _ in range(len(self._told)):
            place = self._told.popleft()
            place.told = False
            self._step(place, now_s)
        while self._due and self._due[0][0] <= now_s:
            _, _, place = heapq.heappop(self._due)
            if place.due_s <= now_s:  # else it was at work meanwhile
                self._step(place, now_s)
        while self.scheduler.run(self._wall()):
            self._hear()
        self._hear()
        next_s = min(self.scheduler.due_s, self._due[0][0] if self._due else self._wall() + longest_s)
        done_s = self._wall()
        wait_s = min(next_s - done_s, longest_s)
        if wait_s > 0 and not self._told and self._news.wait(wait_s):
            time.sleep(TOGETHER_S)
        return self._wall() - done_s

    def _tell(self, place: _Place) -> None:
        """Something came of a bed. Any thread says so."""
        if not place.told:
            place.told = True
            self._told.append(place)
            self._news.set()

    def _admit(self, place: _Place) -> None:
        session = place.driven.bed.session
        if session.backend not in self._slots:
            self._slots[session.backend] = Slots(session.bundle.content.epoch)
        session.move(self._slots[session.backend])
        self._beds += 1
        self._wait(place, self._wall())

    def _wait(self, place: _Place, due_s: float) -> None:
        place.due_s = due_s
        heapq.heappush(self._due, (due_s, next(self._order), place))

    def _step(self, place: _Place, now_s: float) -> None:
        """Take up a bed's next step, unless it is at work; what came meanwhile is for the step after."""
        if place.gone:
            return
        self._wait(place, now_s + place.steps.wait_s)
        if place.saying or self.scheduler.is_busy(place):
            place.missed = True
            return
        try:
            if place.stop() or place.source.exhausted:
                self._let_go(place)
                return
            work = place.driven.begin(place.steps.take(0.0))
        except Exception as error:  # a bed's fault is its own
            self._let_go(place, error)
        else:
            self.scheduler.begin(place, work, now_s)

    def _hear(self) -> None:
        for finished in self.scheduler.finished():
            self._say(finished)

    def _say(self, finished: Finished[_Place, Said]) -> None:
        place = finished.bed
        if finished.error is not None:
            self._let_go(place, finished.error)
        elif finished.found is not None:
            if place.driven.is_kept(finished.found):
                place.saying = True
                place.to_say.put(finished.found)
                return
            try:
                place.driven.say(finished.found)
            except Exception as error:
                self._let_go(place, error)
        self._go_on(place)

    def _say_apart(self, place: _Place, said: Said) -> None:
        """In the bed's own thread."""
        at_turn = self._turns_to_say.acquire(timeout=LONGEST_TURN_S)
        try:
            place.driven.say(said)
        except Exception as error:
            place.error = error
        finally:
            if at_turn:
                self._turns_to_say.release()
        self._was_said.append(place)
        self._news.set()

    def _take_back(self, place: _Place) -> None:
        """What was to be said of a bed was said."""
        place.saying = False
        if place.error is not None:
            self._let_go(place, place.error)
        self._go_on(place)

    def _go_on(self, place: _Place) -> None:
        if place.missed and not place.gone:
            place.missed = False
            self._tell(place)

    def _let_go(self, place: _Place, error: Exception | None = None) -> None:
        """The bed is its thread's again, in a slot of its own; nothing here is to hold on to it."""
        if error is not None:
            traceback.clear_frames(error.__traceback__)  # what ran holds the error that was thrown into it
        place.gone, place.error = True, error
        session = place.driven.bed.session
        session.move(Slots(session.bundle.content.epoch))
        self._beds -= 1
        place.to_say.put(None)
