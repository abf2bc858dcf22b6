"""Graphs that are no bundle's, run by onnxruntime: what TensorRT is given, checked where there is no GPU."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

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
