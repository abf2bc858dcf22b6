"""A step graph in half precision where that is safe, its types written into the graph (Cast), so that every runtime
computes in the same ones and none has to guess.

Half are products with learned weights, and what only moves, adds or scales their results. All else stays float32: what
comes in and goes out (so every state), exponentials, logarithms, norms, sums and quotients; and whatever stands before
the first norm, since signals in microvolts, their powers and an age in seconds leave float16's range (65504).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hypnostream.engine.bundle import GraphSpec

if TYPE_CHECKING:
    import onnx

PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
# What may go on in half with a product's result; the last four only move it.
FOLLOWING = frozenset({"Add", "Sub", "Mul", "Neg", "Relu", "Identity", "Split", "Reshape", "Transpose", "Slice"}) | {
    "Squeeze",
    "Unsqueeze",
}
# Their results are of the size of one, whatever came in.
BOUNDING = frozenset({"LayerNormalization", "Sigmoid", "Tanh", "Softmax", "Greater", "Less", "GreaterOrEqual", "Shape"})
LARGEST = 6e4


def in_half(model: "onnx.ModelProto", spec: GraphSpec) -> "onnx.ModelProto":
    """The same graph, inputs and outputs float32 as they were, with float16 inside where the module's head says so."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = _constants(graph)
    chosen = _chosen(result, spec, constants)
    half_outputs = {name for index in chosen for name in graph.node[index].output}
    float_readers = {name for index, node in enumerate(graph.node) if index not in chosen for name in node.input}
    float_readers |= {output.name for output in graph.output}
    types = _types(result)
    nodes, made = list[onnx.NodeProto](), set[str]()

    def half(name: str) -> Iterator[onnx.NodeProto]:
        """What makes `name` in half, once."""
        if name in made or name in half_outputs:
            return
        made.add(name)
        if name in constants:
            value = numpy_helper.to_array(constants[name]).astype("float16")
            graph.initializer.append(numpy_helper.from_array(value, _half(name)))
        else:
            yield helper.make_node("Cast", [name], [_half(name)], f"{name}_to_half", to=TensorProto.FLOAT16)

    for index, node in enumerate(graph.node):
        if index not in chosen:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if types.get(name) == TensorProto.FLOAT:
                nodes += half(name)
                node.input[place] = _half(name)
        wanted = [name for name in node.output if name in float_readers]
        node.output[:] = [_half(name) for name in node.output]
        nodes.append(node)
        nodes += [
            helper.make_node("Cast", [_half(name)], [name], f"{name}_to_float", to=TensorProto.FLOAT) for name in wanted
        ]
    del graph.node[:]
    del graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(result)
    return result


def half_names(model: "onnx.ModelProto") -> frozenset[str]:
    """The tensors of a graph that are float16: for a runtime that must be told (TensorRT 8), and for tests."""
    return frozenset(name for node in model.graph.node for name in node.output if name.endswith(_SUFFIX))


def half_products(model: "onnx.ModelProto") -> frozenset[str]:
    """The results of products in half, by the names that they have in the graph that `model` was made of."""
    products = (node for node in model.graph.node if node.op_type in PRODUCTS)
    return frozenset(each.output[0].removesuffix(_SUFFIX) for each in products if each.output[0].endswith(_SUFFIX))


_SUFFIX = "_half16"


def _half(name: str) -> str:
    return f"{name}{_SUFFIX}"


def _constants(graph: "onnx.GraphProto") -> "dict[str, onnx.TensorProto]":
    """Float constants by name, those of Constant nodes too."""
    from onnx import TensorProto

    found = {tensor.name: tensor for tensor in graph.initializer}
    written = [node for node in graph.node if node.op_type == "Constant"]
    found |= {node.output[0]: each.t for node in written for each in node.attribute if each.name == "value"}
    return {name: tensor for name, tensor in found.items() if tensor.data_type == TensorProto.FLOAT}


def _types(model: "onnx.ModelProto") -> dict[str, int]:
    """The element type of every tensor."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    values = (*graph.value_info, *graph.input, *graph.output)
    return {value.name: value.type.tensor_type.elem_type for value in values} | {
        tensor.name: tensor.data_type for tensor in graph.initializer
    }


def _chosen(model: "onnx.ModelProto", spec: GraphSpec, constants: "dict[str, onnx.TensorProto]") -> set[int]:
    """The places of the nodes that run in half."""
    import numpy as np
    from onnx import TensorProto, numpy_helper

    types = _types(model)
    states = {state.input for state in spec.states}
    unbounded = {value.name for value in model.graph.input} - states
    half, chosen = set[str](), set[int]()

    def fits(name: str) -> bool:
        return name in constants and bool(np.abs(numpy_helper.to_array(constants[name])).max(initial=0) <= LARGEST)

    for index, node in enumerate(model.graph.node):
        floats = [name for name in node.input if types.get(name) == TensorProto.FLOAT]
        if node.op_type not in BOUNDING and unbounded & set(node.input):
            unbounded |= set(node.output)
            continue
        if not floats or any(types.get(name) != TensorProto.FLOAT for name in node.output):
            continue
        product = node.op_type in PRODUCTS and floats[0] not in constants and all(fits(name) for name in floats[1:])
        follows = node.op_type in FOLLOWING and any(name in half for name in floats)
        if (product and len(floats) > 1) or (follows and all(name in half or fits(name) for name in floats)):
            chosen.add(index)
            half |= set(node.output)
    return chosen
