"""The states of many beds of one graph, side by side: one array a state, one row a bed, so that a batch is a few reads.

A bed has a `Slot`; that it shares the arrays with others it need not know. Rows move when the arrays grow, and the
slot's views with them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bundle import GraphSpec

Arrays = dict[str, NDArray[np.float32]]


class Slot:
    """One bed's row. `states` are views of it by the names of the graph's state inputs, each (1, ...).

    The dictionary stays the same one for as long as the slot is held; what it maps to is replaced when rows move.
    """

    def __init__(self, slots: "Slots", row: int) -> None:
        self.slots, self.row = slots, row
        self.states: Arrays = {}

    def write(self, states: Arrays) -> None:
        """Copy these in, by the names of the state inputs. Raises ValueError when they are not those of this graph."""
        shapes = {name: array.shape for name, array in self.states.items()}
        if {name: array.shape for name, array in states.items()} != shapes:
            raise ValueError("a snapshot of another model's state")
        for name, array in states.items():
            self.states[name][:] = array

    def leave(self) -> None:
        """Free the row for another bed. The views stay valid and are this bed's last state, in a copy."""
        self.slots.free(self)


class Slots:
    """Arrays (capacity, ...) of float32 for the states of `graph`, zeros for a bed that begins."""

    def __init__(self, graph: GraphSpec, capacity: int = 1) -> None:
        self.graph = graph
        self.arrays: Arrays = {s.input: np.zeros((max(1, capacity), *s.shape), np.float32) for s in graph.states}
        self._capacity = max(1, capacity)
        self._free = list(range(self._capacity))[::-1]  # the lowest first: rows in use stay together
        self._held: dict[int, Slot] = {}

    def __len__(self) -> int:
        """How many beds there are."""
        return len(self._held)

    def join(self) -> Slot:
        """A row of zeros for one more bed."""
        if not self._free:
            self._grow(2 * self._capacity)
        slot = Slot(self, self._free.pop())
        self._held[slot.row] = slot
        self._point(slot)
        for view in slot.states.values():
            view[:] = 0
        return slot

    def free(self, slot: Slot) -> None:
        """See `Slot.leave`. Raises ValueError for a slot that was freed before."""
        if self._held.get(slot.row) is not slot:
            raise ValueError(f"slot {slot.row} is not held by who would free it")
        del self._held[slot.row]
        self._free.append(slot.row)
        self._free.sort(reverse=True)
        slot.states.update({name: view.copy() for name, view in slot.states.items()})

    def gather(self, rows: Sequence[int]) -> Arrays:
        """The states of these rows (n, ...); views where the rows lie one behind the other, else copies."""
        first, n = rows[0], len(rows)
        if list(rows) == list(range(first, first + n)):
            return {name: array[first : first + n] for name, array in self.arrays.items()}
        index = np.asarray(rows)
        return {name: array.take(index, axis=0) for name, array in self.arrays.items()}

    def scatter(self, rows: Sequence[int], outputs: Arrays, of: Sequence[int]) -> None:
        """Keep as the state of `rows` what rows `of` of a graph's outputs say."""
        if not len(rows):
            return
        there, here = np.asarray(rows), np.asarray(of)
        for state in self.graph.states:
            self.arrays[state.input][there] = outputs[state.output][here]

    def _grow(self, capacity: int) -> None:
        for name, before in self.arrays.items():
            after = np.zeros((capacity, *before.shape[1:]), np.float32)
            after[: self._capacity] = before
            self.arrays[name] = after
        self._free = [*range(self._capacity, capacity)][::-1]
        self._capacity = capacity
        for slot in self._held.values():
            self._point(slot)

    def _point(self, slot: Slot) -> None:
        slot.states.update({name: array[slot.row : slot.row + 1] for name, array in self.arrays.items()})
