"""A step graph for states that stay where it runs: two inputs more, which say each bed what becomes of its state.

`reset` begins a bed anew, `keep` takes the new state (otherwise the old one goes on, as after a provisional stage). So
one call serves beds of which some close an epoch, some do not and some have just come, and two sets of buffers that
change places are all that the caller needs.
"""

from typing import TYPE_CHECKING

from hypnostream.engine.bundle import GraphSpec, TensorSpec

if TYPE_CHECKING:
    import onnx

RESET, KEEP = "reset", "keep"  # (B,) float32, 0 or 1
CONTROLS = (TensorSpec(RESET, ()), TensorSpec(KEEP, ()))


def with_controls(model: "onnx.ModelProto", spec: GraphSpec) -> "onnx.ModelProto":
    """The graph of `spec` with the inputs `reset` and `keep`; names and shapes of all others are what they were.

    state = 0 where reset, else the state input; state output = the new state where keep, else that state.
    """
    import onnx
    from onnx import TensorProto, helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    batch = next(value for value in graph.input if value.name == spec.states[0].input).type.tensor_type.shape.dim[0]
    before, after, renamed = list[onnx.NodeProto](), list[onnx.NodeProto](), dict[str, str]()
    for control in (RESET, KEEP):
        graph.input.append(helper.make_tensor_value_info(control, TensorProto.FLOAT, [batch.dim_param or None]))
        before.append(helper.make_node("Greater", [control, "controls_half"], [f"{control}_flag"], f"{control}_flag"))
        for rank in sorted({len(state.shape) for state in spec.states}):
            axes = f"controls_axes_{rank}"
            name = f"{control}_flag_{rank}"
            before.append(helper.make_node("Unsqueeze", [f"{control}_flag", axes], [name], name))
    graph.initializer.append(helper.make_tensor("controls_half", TensorProto.FLOAT, (), [0.5]))
    graph.initializer.append(helper.make_tensor("controls_zero", TensorProto.FLOAT, (), [0.0]))
    for rank in sorted({len(state.shape) for state in spec.states}):
        axes_of_rank = list(range(1, rank + 1))
        graph.initializer.append(helper.make_tensor(f"controls_axes_{rank}", TensorProto.INT64, (rank,), axes_of_rank))
    for state in spec.states:
        rank, begun, computed = len(state.shape), f"{state.input}_begun", f"{state.output}_computed"
        renamed |= {state.input: begun, state.output: computed}
        inputs = [f"{RESET}_flag_{rank}", "controls_zero", state.input]
        before.append(helper.make_node("Where", inputs, [begun], f"{RESET}_{state.input}"))
        inputs = [f"{KEEP}_flag_{rank}", computed, begun]
        after.append(helper.make_node("Where", inputs, [state.output], f"{KEEP}_{state.input}"))
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(result)
    return result
