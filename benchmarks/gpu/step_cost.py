"""What one step of one bed must cost at least: operations and bytes, counted in the graph, not measured."""

import tempfile
from dataclasses import dataclass
from math import prod
from pathlib import Path

from hypnostream.engine.bundle import GraphSpec


@dataclass(frozen=True, slots=True)
class StepCost:
    """Of one bed and step. `operations` are those of products (two a multiply-add), which are nearly all.

    `up` and `down` are bytes between host and device; `moved` those that the device must read or write even if all
    between inputs and outputs stayed in registers: inputs, outputs, states in and out. `weights` are read once a batch.
    """

    operations: int
    up: int
    down: int
    moved: int
    weights: int


def step_cost(graph: bytes, spec: GraphSpec) -> StepCost:
    """Count, with float32 at every end."""
    up = 4 * sum(prod(tensor.shape) for tensor in spec.inputs) + 8  # and `reset` and `keep`
    down = 4 * sum(prod(tensor.shape) for tensor in spec.outputs)
    states = 4 * sum(prod(state.shape) for state in spec.states)
    operations, weights = _counted(graph)
    return StepCost(operations, up, down, up + down + 2 * states, weights)


def _counted(graph: bytes) -> tuple[int, int]:
    """Operations of all products for one bed, and bytes of weights."""
    import onnx
    import onnxruntime

    model = onnx.load_from_string(graph)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()  # with one bed it folds every shape that the graph computes
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        raw: bytes = model.SerializeToString()
        onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"])
        folded = onnx.shape_inference.infer_shapes(onnx.load(options.optimized_model_filepath)).graph
    values = (*folded.value_info, *folded.input, *folded.output)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    weights = {tensor.name: list(tensor.dims) for tensor in folded.initializer}
    operations = 0
    for node in folded.node:
        if node.op_type in ("MatMul", "Gemm"):
            depth = (shapes | weights)[node.input[0]][-1]
        elif node.op_type == "Conv":
            depth = prod(weights[node.input[1]][1:])
        else:
            continue
        operations += 2 * depth * prod(shapes[node.output[0]])
    return operations, sum(4 * prod(shape) for shape in weights.values())
