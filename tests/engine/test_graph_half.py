"""The graph in half precision: half where it may be, float32 where it must, and the same decisions."""

import numpy as np
import onnx
import pytest

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.graph_half import half_names, in_half
from hypnostream.engine.graph_resident import CONTROLS
from hypnostream.engine.parity import LIMITS, compare
from hypnostream.engine.simulated_steps import simulated_epochs, simulated_steps
from hypnostream.engine.tensorrt_build import engine_graph
from hypnostream.engine.tensorrt_device import Precision
from tests.engine.runtimes import GraphOnCpu, graph_of

BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch
PLAIN = graph_of(BUNDLE.graph_bytes())
HALF = in_half(PLAIN, SPEC)
DELICATE = {"Exp", "Log", "Softplus", "LayerNormalization", "Softmax", "Sqrt", "ReduceSum", "ReduceMean", "Div", "Erf"}


def types(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.input)} | {
        value.name: value.type.tensor_type.elem_type for value in inferred.output
    }


def test_products_behind_a_norm_are_half_and_those_on_microvolts_are_not() -> None:
    half = half_names(HALF)
    products = [node for node in HALF.graph.node if node.op_type in ("MatMul", "Gemm", "Conv")]
    in_half_ = {node.name for node in products if set(node.output) <= half}
    assert len(in_half_) > 20
    assert any("in_proj" in name for name in in_half_)
    assert any("out_proj" in name for name in in_half_)
    assert not any("spectral" in name for name in in_half_)


def test_what_is_delicate_and_every_input_output_and_state_is_float32() -> None:
    kinds = types(HALF)
    delicate = {name for node in HALF.graph.node if node.op_type in DELICATE for name in (*node.input, *node.output)}
    assert onnx.TensorProto.FLOAT16 not in {kinds.get(name) for name in delicate}
    ends = {value.name for value in (*HALF.graph.input, *HALF.graph.output)}
    assert {kinds[name] for name in ends} == {onnx.TensorProto.FLOAT}
    assert onnx.TensorProto.FLOAT16 in set(kinds.values())


def test_the_types_that_the_names_promise_are_those_of_the_graph() -> None:
    kinds = types(HALF)
    assert half_names(HALF) == {name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16}


def test_half_decides_as_float32_does_in_a_night_with_failing_sensors() -> None:
    night = list(simulated_epochs(BUNDLE, 120, seed=4))
    parity = compare(OnnxBackend(BUNDLE), GraphOnCpu(HALF), SPEC, night)
    assert parity.refusal(LIMITS["fp16"]) == ""
    assert parity.outputs is not None
    assert parity.outputs > 1e-6  # it is another precision


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", BUNDLE.step_graphs)
def test_what_tensorrt_is_given_decides_as_the_bundle_s_graph_does(name: str, precision: Precision) -> None:
    graph = BUNDLE.step_graphs[name]
    one = {tensor.name: np.full(1, float(tensor.name == "keep"), np.float32) for tensor in CONTROLS}
    made = graph_of(engine_graph(BUNDLE.graph_bytes(graph), graph, precision))
    steps = simulated_steps(BUNDLE, graph, 40, seed=5)
    parity = compare(OnnxBackend(BUNDLE, graph), GraphOnCpu(made, **one), graph, steps)
    assert parity.refusal(LIMITS[precision]) == ""
    assert bool(half_names(made)) == (precision == "fp16")
