"""A folded graph is the same function, to the bit, of fewer nodes."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.graph_folded import folded
from hypnostream.engine.parity import Parity, compare
from hypnostream.engine.simulated_steps import simulated_epochs
from tests.engine.runtimes import GraphOnCpu, graph_of

BUNDLE = load_bundle()
PLAIN = graph_of(BUNDLE.graph_bytes())
FOLDED = folded(PLAIN)


def test_a_folded_graph_says_the_same_to_the_bit() -> None:
    night = simulated_epochs(BUNDLE, 40, seed=6)
    assert compare(GraphOnCpu(PLAIN), GraphOnCpu(FOLDED), BUNDLE.content.epoch, night) == Parity(40, 0.0, 0.0, 1.0)


def test_no_node_is_left_that_depends_on_no_input() -> None:
    known = {tensor.name for tensor in FOLDED.graph.initializer} | {""}
    assert [node.name for node in FOLDED.graph.node if set(node.input) <= known] == []
    assert len(FOLDED.graph.node) < 0.7 * len(PLAIN.graph.node)
    assert list(FOLDED.graph.input) == list(PLAIN.graph.input)
    assert list(FOLDED.graph.output) == list(PLAIN.graph.output)


def test_every_array_that_is_kept_is_used() -> None:
    used = {name for node in FOLDED.graph.node for name in node.input}
    assert [tensor.name for tensor in FOLDED.graph.initializer if tensor.name not in used] == []


def small(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A graph from x (2,) to y."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "xy"]
    two = helper.make_tensor("two", TensorProto.FLOAT, [2], [2.0, 3.0])
    graph = helper.make_graph(list(nodes), "small", ends[:1], ends[1:], [two])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_graph_without_constants_is_left_as_it_is() -> None:
    model = small(helper.make_node("Add", ["x", "two"], ["y"]))
    assert folded(model) == model


def test_an_output_that_is_a_constant_stays_an_output() -> None:
    square = helper.make_node("Mul", ["two", "two"], ["square"])
    made = folded(small(square, helper.make_node("Exp", ["square"], ["y"])))
    answer = GraphOnCpu(made).run({"x": np.zeros(2, np.float32)})
    np.testing.assert_allclose(answer["y"], np.exp([4.0, 9.0]), rtol=1e-6)
    assert [node.op_type for node in made.graph.node] == ["Exp"]
