"""A runner that holds states, behind `Backend`: they come from the host with each call and go back with its answer.

So the host always has the states after the last call that was answered, and a GPU that fails takes none with it. Any
runner will do; TensorRT's is what it is for.
"""

import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.graph_resident import KEEP
from hypnostream.engine.resident import ResidentBackend
from hypnostream.engine.slots import Arrays


class TensorRtBackend:
    """Any number of rows a call, as many at a time as the runner has. Any thread uses it, one at a time runs.

    The runner's shape is always the same, so what a row is told does not depend on how many others there are.
    """

    def __init__(self, runner: ResidentBackend, spec: GraphSpec) -> None:
        self._runner, self._spec, self.name = runner, spec, runner.name
        self._one_at_a_time = threading.Lock()

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """See `Backend.run`."""
        count, most = len(next(iter(inputs.values()))), self._runner.beds
        with self._one_at_a_time:
            parts = [
                self._part({name: value[first : first + most] for name, value in inputs.items()})
                for first in range(0, count, most)
            ]
        return parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}

    def _part(self, inputs: Arrays) -> Arrays:
        """The first rows of the runner; the others hold what they held and are not looked at."""
        runner, rows = self._runner, len(next(iter(inputs.values())))
        for tensor in self._spec.inputs:
            runner.inputs[tensor.name][:rows] = inputs[tensor.name]
        runner.inputs[KEEP][:rows], runner.inputs[KEEP][rows:] = 1.0, 0.0
        runner.write(0, {state.input: inputs[state.input] for state in self._spec.states})
        outputs = {name: value[:rows].copy() for name, value in runner.step().items()}
        after = runner.read(0, rows)
        return outputs | {state.output: after[state.input] for state in self._spec.states}
