"""Runners that hold the states of their beds themselves, so that no state moves between the steps.

The contract is one of slots: row k of every array is bed k. `HostResident` gives it to any `Backend`; TensorRT's
(`tensorrt_runner`) keeps states on the device.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend
from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.graph_resident import CONTROLS, KEEP, RESET
from hypnostream.engine.slots import Arrays


class ResidentBackend(Protocol):
    """`beds` rows, each with a state that begins as zeros."""

    @property
    def name(self) -> str:
        """For messages and reports, as that of `Backend`."""
        ...

    @property
    def beds(self) -> int:
        """How many rows."""
        ...

    @property
    def inputs(self) -> Arrays:
        """Fill these before each step, row by row: the graph's inputs, and `reset` and `keep` (beds,) of 0 or 1.

        They are the same arrays for ever (pinned memory, where there is a device), and a step leaves them as they are.
        """
        ...

    def step(self) -> Arrays:
        """One step of all beds: outputs by name, (beds, ...), good until the next step.

        A bed with `reset` begins anew before it; one without `keep` goes on from the state that it had.
        """
        ...

    def read(self, first: int, rows: int = 1) -> Arrays:
        """A copy of the states of `rows` beds from `first` on, (rows, ...) by state input."""
        ...

    def write(self, first: int, state: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the states of the beds from `first` on, as they were read. Raises ValueError when they do not fit."""
        ...


class HostResident:
    """States in one contiguous array each, in this process's memory; see `ResidentBackend`."""

    def __init__(self, backend: Backend, spec: GraphSpec, beds: int) -> None:
        self._backend, self._spec, self.beds = backend, spec, beds
        self.name = backend.name
        self.inputs = {t.name: np.zeros((beds, *t.shape), np.float32) for t in (*spec.inputs, *CONTROLS)}
        self._states = {s.input: np.zeros((beds, *s.shape), np.float32) for s in spec.states}

    def step(self) -> Arrays:
        """See `ResidentBackend.step`."""
        begun, kept = self.inputs[RESET] > 0.5, self.inputs[KEEP] > 0.5
        for held in self._states.values():
            held[begun] = 0.0
        given = {tensor.name: self.inputs[tensor.name] for tensor in self._spec.inputs}
        answer = self._backend.run({**given, **self._states})
        for state in self._spec.states:
            self._states[state.input][kept] = answer[state.output][kept]
        return {output.name: answer[output.name] for output in self._spec.outputs}

    def read(self, first: int, rows: int = 1) -> Arrays:
        """See `ResidentBackend.read`."""
        return {name: state[first : first + rows].copy() for name, state in self._states.items()}

    def write(self, first: int, state: Mapping[str, NDArray[np.float32]]) -> None:
        """See `ResidentBackend.write`."""
        for name, value in state.items():
            self._states[name][first : first + len(value)] = value
