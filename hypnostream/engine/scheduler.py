"""Many beds, one run of the graph: what beds ask for is put together by deadline, waiting no longer than is allowed.

Pure: no clock, no thread, no socket. Who drives it says what time it is.

    begin(bed, asking) ─▶ waiting asks, by key ─▶ run(now_s): one batch ─▶ answers ─▶ asks again, or finished

Rows of a batch do not know of one another, and nothing that a bed raises leaves its own work. So what a bed is told
does not depend on which others are there, but for the rounding of sums in another order (1e-6).
"""

import heapq
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

from hypnostream.engine.asking import Ask, Asking

Found = TypeVar("Found")
Bed = TypeVar("Bed", bound=Hashable)


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """`most` rows in one run, beyond which a row costs no less; an ask waits for others for `wait_s` at most."""

    most: int = 64
    wait_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Finished(Generic[Bed, Found]):
    """What a bed's work came to: what it `found`, or the `error` that it ended with."""

    bed: Bed
    found: Found | None = None
    error: Exception | None = None


@dataclass(slots=True, eq=False)
class _Waiting(Generic[Bed, Found]):
    """An ask in the queue of its graph. One whose bed has left stays until its turn, `gone`."""

    bed: Bed
    asking: Asking[Found]
    ask: Ask
    gone: bool = False


_Turn = tuple[float, int, _Waiting[Bed, Found]]  # by deadline, and by order where these are equal


class Scheduler(Generic[Bed, Found]):
    """Runs the work of beds, each known by any name of its own; one piece of work a bed at a time.

    Asks of one key make a batch, so graphs and bundles may be mixed.
    """

    def __init__(self, settings: BatchSettings | None = None) -> None:
        self.settings = settings or BatchSettings()
        self.batches, self.rows = 0, 0
        self._queues: dict[Hashable, list[_Turn[Bed, Found]]] = {}
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
        return min((queue[0][0] for queue in self._queues.values()), default=math.inf)

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
        due = full or [key for key, queue in self._queues.items() if queue[0][0] <= now_s]
        if not due:
            return False
        key = min(due, key=lambda each: self._queues[each][0][:2])
        queue, batch = self._queues[key], list[_Waiting[Bed, Found]]()
        while queue and len(batch) < self.settings.most:
            _, _, waiting = heapq.heappop(queue)
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

    def _advance(self, bed: Bed, asking: Asking[Found], answer: object, now_s: float) -> None:
        """Go on with a bed's work to its next ask or its end. Whatever it raises is its own."""
        try:
            ask = asking.throw(answer) if isinstance(answer, Exception) else asking.send(answer)
        except StopIteration as end:
            self._finished.append(Finished(bed, found=end.value))
        except Exception as error:
            self._finished.append(Finished(bed, error=error))
        else:
            waiting = _Waiting(bed, asking, ask)
            turn = now_s + self.settings.wait_s, next(self._order), waiting
            heapq.heappush(self._queues.setdefault(ask.key, []), turn)
            self._at_work[bed] = waiting

    def _run(self, batch: Sequence[_Waiting[Bed, Found]], now_s: float) -> None:
        asks = [waiting.ask for waiting in batch]
        try:
            answers = asks[0].answer(asks)
        except Exception as error:  # of one of them or of all: each finds out by itself
            answers = [error] if len(asks) == 1 else [_alone(ask) for ask in asks]
        self.batches += 1
        self.rows += len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            del self._at_work[waiting.bed]
            self._advance(waiting.bed, waiting.asking, answer, now_s)


def _alone(ask: Ask) -> object:
    """The answer to an ask whose batch failed, or why there is none."""
    try:
        return ask.answer([ask])[0]
    except Exception as error:
        return error
