"""Many beds, one run of the graph: what beds ask for is put together by deadline, waiting no longer than is allowed.

Pure: no clock, no thread, no socket. Who drives it says what time it is.

    begin(bed, asking) ─▶ waiting asks, by graph ─▶ run(now_s): one batch ─▶ answers ─▶ asks again, or finished
                                                     gather, backend, scatter

Rows of a batch do not know of one another, and nothing that a bed raises leaves its own work. So what a bed is told
does not depend on which others are there, but for the rounding of sums in another order (1e-6).
"""

import heapq
import math
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

import numpy as np

from hypnostream.engine.asking import Answer, Ask, Asking
from hypnostream.engine.slots import Arrays

Found = TypeVar("Found")
Bed = TypeVar("Bed", bound=Hashable)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """`most` rows in one run, beyond which a row costs no less; an ask waits for others for `wait_s` at most."""

    most: int = 64
    wait_s: float = 0.02


@dataclass(frozen=True, slots=True)
class Finished(Generic[Bed, Found]):
    """What a bed's work came to: what it `found`, or the `error` that it ended with."""

    bed: Bed
    found: Found | None = None
    error: Exception | None = None


@dataclass(order=True, slots=True)
class _Waiting(Generic[Bed, Found]):
    """An ask in the queue of its graph. One whose bed has left stays until its turn, `gone`."""

    deadline_s: float
    order: int
    bed: Bed = field(compare=False)
    asking: Asking[Found] = field(compare=False)
    ask: Ask = field(compare=False)
    gone: bool = field(compare=False, default=False)


class Scheduler(Generic[Bed, Found]):
    """Runs the work of beds, each known by any name of its own; one piece of work a bed at a time.

    Asks share a run when backend and slots are the same objects, so graphs and bundles may be mixed.
    """

    def __init__(self, settings: BatchSettings | None = None) -> None:
        self.settings = settings or BatchSettings()
        self.batches, self.rows = 0, 0
        self._queues: dict[tuple[int, int], list[_Waiting[Bed, Found]]] = {}
        self._at_work: dict[Bed, _Waiting[Bed, Found]] = {}
        self._finished: list[Finished[Bed, Found]] = []
        self._order = count()

    @property
    def waiting(self) -> int:
        """How many asks wait."""
        return len(self._at_work)

    @property
    def due_s(self) -> float:
        """When the next run is due: when the oldest ask has waited long enough, or at once for a full batch."""
        if any(len(queue) >= self.settings.most for queue in self._queues.values()):
            return -math.inf
        return min((queue[0].deadline_s for queue in self._queues.values()), default=math.inf)

    def is_busy(self, bed: Bed) -> bool:
        """Whether this bed's work still waits for an answer."""
        return bed in self._at_work

    def begin(self, bed: Bed, asking: Asking[Found], now_s: float) -> None:
        """Take up work and go on with it to its first ask. Raises ValueError when the bed is at work already."""
        if self.is_busy(bed):
            raise ValueError(f"bed {bed!r} is at work already; one piece at a time")
        self._advance(bed, asking, None, now_s)

    def leave(self, bed: Bed) -> None:
        """Drop what this bed is at: nothing is said of it, and no state of it is kept. No error for one that is idle.

        Its slot is its own to free.
        """
        waiting = self._at_work.pop(bed, None)
        if waiting is not None:
            waiting.gone = True
            waiting.asking.close()
        self._finished = [each for each in self._finished if each.bed != bed]

    def run(self, now_s: float) -> bool:
        """One batch of what is due at `now_s`, the earliest deadlines first; False when nothing is."""
        full = [key for key, queue in self._queues.items() if len(queue) >= self.settings.most]
        due = full or [key for key, queue in self._queues.items() if queue[0].deadline_s <= now_s]
        if not due:
            return False
        key = min(due, key=lambda each: self._queues[each][0])
        queue, batch = self._queues[key], list[_Waiting[Bed, Found]]()
        while queue and len(batch) < self.settings.most:
            waiting = heapq.heappop(queue)
            if not waiting.gone:
                batch.append(waiting)
        if not queue:
            del self._queues[key]
        if batch:
            self._run(batch, now_s)
        return True

    def settle(self, now_s: float) -> None:
        """Run until nothing waits: at the end, or when no one else will ask."""
        while self._queues:
            self.run(math.inf if math.isinf(now_s) else max(now_s, self.due_s))

    def finished(self) -> list[Finished[Bed, Found]]:
        """What was finished since this was asked last, in order."""
        finished, self._finished = self._finished, []
        return finished

    def _advance(self, bed: Bed, asking: Asking[Found], answer: Answer | None, now_s: float) -> None:
        """Go on with a bed's work to its next ask or its end. Whatever it raises is its own."""
        try:
            ask = next(asking) if answer is None else asking.send(answer)
        except StopIteration as end:
            self._finished.append(Finished(bed, found=end.value))
        except Exception as error:
            self._finished.append(Finished(bed, error=error))
        else:
            waiting = _Waiting(now_s + self.settings.wait_s, next(self._order), bed, asking, ask)
            key = (id(ask.backend), id(ask.slot.slots))
            heapq.heappush(self._queues.setdefault(key, []), waiting)
            self._at_work[bed] = waiting

    def _run(self, batch: Sequence[_Waiting[Bed, Found]], now_s: float) -> None:
        try:
            answers: Sequence[Answer | Exception] = run_batch([waiting.ask for waiting in batch])
        except Exception as error:  # of one row or of all: each finds out by itself
            answers = [_alone(waiting.ask, error, len(batch)) for waiting in batch]
        self.batches += 1
        self.rows += len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            del self._at_work[waiting.bed]
            if isinstance(answer, Exception):
                waiting.asking.close()
                self._finished.append(Finished(waiting.bed, error=answer))
            else:
                self._advance(waiting.bed, waiting.asking, answer, now_s)


def run_batch(asks: Sequence[Ask]) -> list[Answer]:
    """One run for asks of one backend and the same slots; the states that are to be kept are. Outputs are views."""
    started = time.perf_counter()
    slots, rows = asks[0].slot.slots, [ask.slot.row for ask in asks]
    inputs: Arrays = {name: np.concatenate([ask.inputs[name] for ask in asks]) for name in asks[0].inputs}
    outputs = asks[0].backend.run(inputs | slots.gather(rows))
    kept = [place for place, ask in enumerate(asks) if ask.keep]
    slots.scatter([rows[place] for place in kept], outputs, kept)
    said = outputs.keys() - {state.output for state in slots.graph.states}
    share_s = (time.perf_counter() - started) / len(asks)
    return [Answer({name: outputs[name][i : i + 1] for name in said}, share_s) for i in range(len(asks))]


def _alone(ask: Ask, error: Exception, of: int) -> Answer | Exception:
    """The answer to an ask whose batch failed; of a batch of one, and where it fails again, why."""
    if of == 1:
        return error
    try:
        return run_batch([ask])[0]
    except Exception as own:
        return own
