"""TensorRT behind `Backend`: states come from the host and go back to it, as for one bed at a bedside."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.graph_resident import KEEP
from hypnostream.engine.slots import Arrays
from hypnostream.engine.tensorrt_runner import TensorRtRunner


class TensorRtBackend:
    """One engine for any number of beds a call, up to its profile's most. See `Backend`."""

    def __init__(self, plan: bytes, spec: GraphSpec, name: str) -> None:
        self._plan, self._spec, self.name = plan, spec, name
        self._runners = dict[int, TensorRtRunner]()

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        """See `Backend.run`. Raises TensorRtError for more beds than the engine was built for."""
        beds = len(next(iter(inputs.values())))
        runner = self._runner(beds)
        for tensor in self._spec.inputs:
            runner.inputs[tensor.name][:beds] = inputs[tensor.name]
        runner.write_rows(0, {state.input: inputs[state.input] for state in self._spec.states})
        outputs = {name: value[:beds].copy() for name, value in runner.step().items()}
        after = runner.read_rows(0, beds)
        return outputs | {state.output: after[state.input] for state in self._spec.states}

    def _runner(self, beds: int) -> TensorRtRunner:
        """One with room for `beds`, a power of two, so that few are ever made; the rows to spare hold old beds."""
        room = 1 << max(beds - 1, 0).bit_length()
        if room not in self._runners:
            runner = TensorRtRunner(self._plan, self._spec, room, self.name)
            runner.inputs[KEEP][:] = 1.0
            self._runners[room] = runner
        return self._runners[room]
