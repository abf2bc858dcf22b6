"""What stands for a GPU where there is none: graphs that are no bundle's by onnxruntime, and a runner that fails."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend
from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.resident import HostResident
from hypnostream.engine.slots import Arrays


class GraphOnCpu:
    """A graph as a `Backend`. Unoptimized, so that no cast that is in the graph is left out."""

    name = "onnxruntime, a graph of the test's own"

    def __init__(self, model: onnx.ModelProto, **always: NDArray[np.float32]) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        raw: bytes = model.SerializeToString()
        self._session: Any = onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        self._always = always

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        outputs = [output.name for output in self._session.get_outputs()]
        return dict(zip(outputs, self._session.run(outputs, {**inputs, **self._always}), strict=True))


def graph_of(raw: bytes | Path) -> onnx.ModelProto:
    return onnx.load(str(raw)) if isinstance(raw, Path) else onnx.load_from_string(raw)


NEVER = 1 << 30


class FailingRunner(HostResident):
    """The runner of the host for `left` steps, in the last of which, and ever after, `where` ("write", "step", "read")
    raises; what it holds is lost then."""

    def __init__(self, backend: Backend, spec: GraphSpec, beds: int, left: int, where: str, error: Exception) -> None:
        super().__init__(backend, spec, beds)
        self.name, self.left, self._where, self._error = "a GPU", left, where, error

    def write(self, first: int, state: Mapping[str, NDArray[np.float32]]) -> None:
        super().write(first, state)
        self.left -= 1
        self._fail("write")

    def step(self) -> Arrays:
        answer = super().step()
        self._fail("step")
        return answer

    def read(self, first: int, rows: int = 1) -> Arrays:
        self._fail("read")
        return super().read(first, rows)

    def _fail(self, where: str) -> None:
        if self.left <= 0 and where == self._where:
            for state in self._states.values():
                state[...] = np.nan
            raise self._error
