"""What beds ask for: a run of a graph, and the conditioning of seconds whose samples are there."""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hypnostream.engine.asking import Ask, Asking
from hypnostream.engine.backend import Backend
from hypnostream.engine.slots import Arrays, Slot
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.conditioning_together import emit_together
from hypnostream.stream.seconds import Seconds


class Answer(NamedTuple):
    """What a graph says: its outputs but the states, each (1, ...), and what the run took, shared out over its rows."""

    outputs: Arrays
    compute_s: float


@dataclass(frozen=True, slots=True, eq=False)
class GraphRun:
    """One row of a run: `inputs` of the graph but its states, each (1, ...); the states are the slot's.

    With `keep` the new states take the place of those in the slot, before the answer comes; else they are thrown away.
    `inputs` must not change until then.
    """

    backend: Backend
    slot: Slot
    inputs: Arrays
    keep: bool

    @property
    def key(self) -> Hashable:
        """Rows share a run when backend and slots are the same objects, and stretches are of one length."""
        return "graph", id(self.backend), id(self.slot.slots), *(each.shape[1] for each in self.inputs.values())

    def answer(self, asks: Sequence[Ask]) -> list[Answer]:
        """See `Ask.answer`. What is said of a row are views."""
        started = time.perf_counter()
        rows = [ask for ask in asks if isinstance(ask, GraphRun)]
        slots, places = self.slot.slots, [row.slot.row for row in rows]
        inputs = {name: np.concatenate([row.inputs[name] for row in rows]) for name in self.inputs}
        outputs = self.backend.run(inputs | slots.gather(places))
        kept = [index for index, row in enumerate(rows) if row.keep]
        slots.scatter([places[index] for index in kept], outputs, kept)
        said = outputs.keys() - {state.output for state in slots.graph.states}
        share_s = (time.perf_counter() - started) / len(rows)
        return [Answer({name: outputs[name][i : i + 1] for name in said}, share_s) for i in range(len(rows))]


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """The seconds that some streams of a bed have held back."""

    conditioners: Sequence[StreamConditioner]

    @property
    def key(self) -> Hashable:
        """Any may be conditioned with any."""
        return "conditioning"

    def answer(self, asks: Sequence[Ask]) -> list[list[Seconds] | Exception]:
        """See `Ask.answer`. Streams of one kind share the work."""
        each = [ask.conditioners for ask in asks if isinstance(ask, Conditioning)]
        found = iter(emit_together([conditioner for conditioners in each for conditioner in conditioners]))
        answers: list[list[Seconds] | Exception] = []
        for conditioners in each:
            own = [next(found) for _ in conditioners]
            wrong = next((seconds for seconds in own if isinstance(seconds, Exception)), None)
            answers.append(
                wrong or [second for seconds in own if not isinstance(seconds, Exception) for second in seconds]
            )
        return answers


def graph_run(run: GraphRun) -> Asking[Answer]:
    """What the graph says."""
    answer = yield run
    if not isinstance(answer, Answer):
        raise TypeError(f"a run of a graph was answered by {type(answer).__name__}")
    return answer


def conditioned(conditioners: Sequence[StreamConditioner]) -> Asking[list[Seconds]]:
    """The seconds that these conditioners have held back."""
    answer = yield Conditioning(conditioners)
    if not isinstance(answer, list):
        raise TypeError(f"seconds that were held back were answered by {type(answer).__name__}")
    return answer
