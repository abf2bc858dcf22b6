"""Work that asks for runs of a graph on its way: alone, each ask is a run; in a ward, asks of many beds are one.

Who works is a generator: it yields an `Ask`, is sent an `Answer`, and returns what it has found. So the same code runs
either way, and a bed need not know of others.
"""

import time
from collections.abc import Generator
from typing import NamedTuple, TypeVar

from hypnostream.engine.backend import Backend
from hypnostream.engine.slots import Arrays, Slot

_Found = TypeVar("_Found")


class Ask(NamedTuple):
    """One row of a run: `inputs` of the graph but its states, each (1, ...); the states are the slot's.

    With `keep` the new states take the place of those in the slot, before the answer comes; else they are thrown away.
    `inputs` must not change until then.
    """

    backend: Backend
    slot: Slot
    inputs: Arrays
    keep: bool


class Answer(NamedTuple):
    """What the graph says: its outputs, each (1, ...), and what the run took, shared out over its rows."""

    outputs: Arrays
    compute_s: float


Asking = Generator[Ask, Answer, _Found]


def alone(asking: Asking[_Found]) -> _Found:
    """Run what is asked at once, one ask after the other; what is found."""
    try:
        ask = next(asking)
        while True:
            started = time.perf_counter()
            slot = ask.slot
            outputs = ask.backend.run({**ask.inputs, **slot.states})
            if ask.keep:
                slot.write({s.input: outputs[s.output] for s in slot.slots.graph.states})
            ask = asking.send(Answer(outputs, time.perf_counter() - started))
    except StopIteration as end:
        found: _Found = end.value
        return found
