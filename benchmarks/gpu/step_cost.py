"""What one step of one bed must cost at least: operations and bytes, counted in the graph, not measured."""

import tempfile
from collections.abc import Container
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.graph_half import half_products
from hypnostream.engine.tensorrt_build import engine_graph


@dataclass(frozen=True, slots=True)
class StepCost:
    """Of one bed and step. Operations are those of products (two a multiply-add), which are nearly all: those in
    float32 and those in float16.

    `up` and `down` are bytes between host and device; `moved` those that the device must read or write even if all
    between inputs and outputs stayed in registers: inputs, outputs, states in and out. `weights` are read once a batch.
    """

    operations: int
    half_operations: int
    up: int
    down: int
    moved: int
    weights: int


def step_cost(graph: bytes, spec: GraphSpec, half: Container[str] = ()) -> StepCost:
    """Count, with float32 at every end. Products whose results `half` names are in float16, and so their weights."""
    up = 4 * sum(prod(tensor.shape) for tensor in spec.inputs) + 8  # and `reset` and `keep`
    down = 4 * sum(prod(tensor.shape) for tensor in spec.outputs)
    states = 4 * sum(prod(state.shape) for state in spec.states)
    products, weights = _counted(graph)
    operations = sum(each.operations for each in products if each.result not in half)
    half_operations = sum(each.operations for each in products if each.result in half)
    narrow = {name for each in products if each.result in half for name in each.weights}
    weight_bytes = sum((2 if name in narrow else 4) * count for name, count in weights.items())
    return StepCost(operations, half_operations, up, down, up + down + 2 * states, weight_bytes)


def products_in_half(graph: bytes, spec: GraphSpec) -> frozenset[str]:
    """The results of products that TensorRT is given in float16."""
    import onnx

    return half_products(onnx.load_from_string(engine_graph(graph, spec, "fp16")))


def all_products(graph: bytes) -> frozenset[str]:
    """The results of all products, as autocast has them in float16."""
    return frozenset(product.result for product in _counted(graph)[0])


class _Product(NamedTuple):
    result: str
    operations: int
    weights: tuple[str, ...]


def _counted(graph: bytes) -> tuple[list[_Product], dict[str, int]]:
    """All products for one bed, and how many numbers each of the weights has."""
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
        renaming = ["MatMulAddFusion"]  # it would give products the name of a sum
        onnxruntime.InferenceSession(raw, options, providers=["CPUExecutionProvider"], disabled_optimizers=renaming)
        folded = onnx.shape_inference.infer_shapes(onnx.load(options.optimized_model_filepath)).graph
    values = (*folded.value_info, *folded.input, *folded.output)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    weights = {tensor.name: list(tensor.dims) for tensor in folded.initializer}
    found = []
    for node in folded.node:
        if node.op_type in ("MatMul", "Gemm"):
            depth = (shapes | weights)[node.input[0]][-1]
        elif node.op_type == "Conv":
            depth = prod(weights[node.input[1]][1:])
        else:
            continue
        taken = tuple(name for name in node.input if name in weights)
        found.append(_Product(node.output[0], 2 * depth * prod(shapes[node.output[0]]), taken))
    return found, {name: prod(shape) for name, shape in weights.items()}
