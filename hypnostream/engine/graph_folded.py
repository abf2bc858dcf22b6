"""A graph whose constants are computed once, when it is made.

An exporter leaves a dozen nodes that work out the width of a padding; here they are one array. Runtimes differ in how
much of that they work out themselves, and need not be asked.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def folded(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The same graph, every node that depends on no input replaced by its value, as onnxruntime computes it."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    known = {tensor.name for tensor in graph.initializer} | {""}  # "" is an input that is left out
    ends = {output.name for output in graph.output}
    constant, rest = list[onnx.NodeProto](), list[onnx.NodeProto]()
    for node in graph.node:
        fixed = set(node.input) <= known and not ends & set(node.output)
        (constant if fixed else rest).append(node)
        if fixed:
            known |= set(node.output)
    needed = {name for node in rest for name in node.input}
    wanted = [name for node in constant for name in node.output if name in needed]
    if not wanted:
        return result
    part = onnx.ModelProto()
    part.CopyFrom(result)
    del part.graph.node[:], part.graph.input[:], part.graph.output[:], part.graph.value_info[:]
    part.graph.node.extend(constant)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(part.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = dict(zip(wanted, session.run(wanted, {}), strict=True))
    kept = [tensor for tensor in graph.initializer if tensor.name in needed | ends]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(rest)
    graph.initializer.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    onnx.checker.check_model(result)
    return result
