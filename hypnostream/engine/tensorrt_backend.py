"""Runners that hold states, behind `Backend`: they come from the host with each call and go back with its answer.

So the host always has the states after the last call that was answered, and a GPU that fails takes none with it. Any
runners will do; TensorRT's are what it is for.
"""

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.graph_resident import KEEP
from hypnostream.engine.resident import ResidentBackend
from hypnostream.engine.slots import Arrays


class TensorRtBackend:
    """Any number of rows a call. Each call has the smallest of the `runners` that has room for it; what has more rows
    than the largest goes through that in turns. Any thread uses it, one at a time runs.

    A runner's shape is always the same, so within one what a row is told does not depend on the other rows.
    """

    def __init__(self, runners: Sequence[ResidentBackend], spec: GraphSpec) -> None:
        self._runners, self._spec = sorted(runners, key=lambda each: each.beds), spec
        self.name = self._runners[-1].name
        self._one_at_a_time = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """See `Backend.run`."""
        count, most = len(next(iter(inputs.values()))), self._runners[-1].beds
        with self._one_at_a_time:
            parts = [
                self._part({name: value[first : first + most] for name, value in inputs.items()})
                for first in range(0, count, most)
            ]
        return parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}

    def _part(self, inputs: Arrays) -> Arrays:
        """The first rows of a runner; the others hold what they held and are not looked at."""
        rows = len(next(iter(inputs.values())))
        runner = next(each for each in self._runners if each.beds >= rows)
        for tensor in self._spec.inputs:
            runner.inputs[tensor.name][:rows] = inputs[tensor.name]
        runner.inputs[KEEP][:rows], runner.inputs[KEEP][rows:] = 1.0, 0.0
        runner.write(0, {state.input: inputs[state.input] for state in self._spec.states})
        outputs = {name: value[:rows].copy() for name, value in runner.step().items()}
        after = runner.read(0, rows)
        return outputs | {state.output: after[state.input] for state in self._spec.states}
