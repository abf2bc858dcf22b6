"""An engine of TensorRT out of a step graph. What is used of TensorRT is what 8.6, 10 and 11 share, unless said.

Precision is in the graph (`graph_half`): from 10 on the network is strongly typed and computes in the types that are
written there. 8.6 knows no such network; there float16 is allowed to the builder, and each layer that the graph
computes in float32 is pinned to it.
"""

import hashlib
import logging
from typing import Any

import msgspec

from hypnostream.engine.bundle import GraphSpec
from hypnostream.engine.graph_folded import folded
from hypnostream.engine.graph_half import half_names, in_half
from hypnostream.engine.graph_resident import CONTROLS, with_controls
from hypnostream.engine.scheduler import BatchSettings
from hypnostream.engine.tensorrt_device import Precision, TensorRtError, version_of

_logger = logging.getLogger("hypnostream.tensorrt")

WORKSPACE_BYTES = 4 << 30
FEW = 8  # beds of a call that do not pay for a full batch
# Their results depend on libraries of their own, which come and go; what TensorRT brings is enough for small products.
_FOREIGN_TACTICS = ("CUBLAS", "CUBLAS_LT", "CUDNN")


class Profile(msgspec.Struct, frozen=True):
    """The beds of one call: at least, tuned for, and at most. An engine's memory on the GPU is that of the most."""

    least: int
    best: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.best <= self.most:
            raise ValueError(f"a profile rises from 1: {self.least}, {self.best}, {self.most}")


def profile_for(beds: int) -> Profile:
    """For so many beds: one row for one bed; for several up to two each, as others may come, up to a power of two, so
    that a ward that grows seldom needs another engine, and never more than a batch has. Fewer rows go too."""
    rows = 1 if beds == 1 else min(BatchSettings().most, 1 << (2 * beds - 1).bit_length())
    return Profile(1, rows, rows)


def row_counts(profile: Profile) -> tuple[int, ...]:
    """The shapes that an engine is run in, rising: one bed, a few, and as many as it has room for or a batch has."""
    most = min(profile.most, BatchSettings().most)
    return tuple(sorted({each for each in (1, FEW, most) if profile.least <= each <= most}))


def engine_graph(graph: bytes, spec: GraphSpec, precision: Precision) -> bytes:
    """What TensorRT is given: the bundle's graph, constants folded, with `reset` and `keep`, in half if asked for."""
    import onnx

    model = with_controls(folded(onnx.load_from_string(graph)), spec)
    if precision == "fp16":
        model = in_half(model, spec)
    return bytes(model.SerializeToString())


def graph_hash(graph: bytes) -> str:
    """The SHA-256 of what TensorRT is given, so that a change of how it is made counts too."""
    return hashlib.sha256(graph).hexdigest()


def build_engine(graph: bytes, spec: GraphSpec, precision: Precision, profile: Profile) -> bytes:
    """The serialized engine of `engine_graph`'s result. It takes minutes. Raises TensorRtError with TensorRT's reason.

    Needs a GPU: ask `tensorrt_device.device` first.
    """
    import tensorrt as trt

    log = logger()
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        reasons = [parser.get_error(index).desc() for index in range(parser.num_errors)]
        raise TensorRtError(f"TensorRT {trt.__version__} does not read the graph: {' / '.join(reasons[:3])}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    _leave_foreign_tactics(trt, config)
    _set_precision(trt, config, network, graph, precision)
    shapes = builder.create_optimization_profile()
    for tensor in (*((t.name, t.shape) for t in (*spec.inputs, *CONTROLS)), *((s.input, s.shape) for s in spec.states)):
        name, shape = tensor
        shapes.set_shape(name, *((beds, *shape) for beds in (profile.least, profile.best, profile.most)))
    config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TensorRtError(
            f"TensorRT {trt.__version__} could not build an engine: {last_error() or 'no reason given'}"
        )
    return bytes(plan)


def _network_flags(trt: Any) -> int:
    """Explicit batch (8.6, implied later), strongly typed (10, implied in 11)."""
    flags = trt.NetworkDefinitionCreationFlag
    name = "EXPLICIT_BATCH" if version_of(trt.__version__) < (10, 0) else "STRONGLY_TYPED"
    flag = getattr(flags, name, None)
    return 0 if flag is None else 1 << int(flag)


def _leave_foreign_tactics(trt: Any, config: Any) -> None:
    foreign = [getattr(trt.TacticSource, name, None) for name in _FOREIGN_TACTICS]
    mask = sum(1 << int(source) for source in foreign if source is not None)
    if mask:
        config.set_tactic_sources(config.get_tactic_sources() & ~mask)


def _set_precision(trt: Any, config: Any, network: Any, graph: bytes, precision: Precision) -> None:
    """TF32 rounds as float16 does (11 bits), so float32 is without it, also what stays float32 in fp16. Of a strongly
    typed network too: the flag is no type, but says which units may multiply float32."""
    config.clear_flag(trt.BuilderFlag.TF32)
    if precision == "fp32" or version_of(trt.__version__) >= (10, 0):
        return
    import onnx

    config.set_flag(trt.BuilderFlag.FP16)
    config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    model = onnx.load_from_string(graph)
    named, half = {name for node in model.graph.node for name in node.output}, set(half_names(model))
    untyped = {trt.LayerType.CONSTANT, trt.LayerType.CAST, trt.LayerType.SHAPE}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs = [layer.get_output(place) for place in range(layer.num_outputs)]
        if layer.type in untyped or any(tensor.dtype not in (trt.float32, trt.float16) for tensor in outputs):
            continue
        # A node may become several layers; those within have no name of the graph and go with what they take.
        within = not any(tensor.name in named for tensor in outputs)
        inputs = (layer.get_input(place) for place in range(layer.num_inputs))
        deciding = [tensor for tensor in inputs if tensor is not None] if within else outputs
        kind = trt.float16 if any(tensor.name in half for tensor in deciding) else trt.float32
        if kind == trt.float16:
            half |= {tensor.name for tensor in outputs}
        layer.precision = kind
        for place in range(layer.num_outputs):
            layer.set_output_type(place, kind)


_errors: list[str] = []
_log: Any = None


def last_error() -> str:
    """What TensorRT complained of last, in one line, "" when it did not."""
    return _errors[-1] if _errors else ""


def logger() -> Any:
    """TensorRT's log into ours. One for the process: TensorRT keeps the first for ever."""
    global _log
    if _log is None:
        import tensorrt as trt

        levels = {
            trt.ILogger.INTERNAL_ERROR: logging.ERROR,
            trt.ILogger.ERROR: logging.ERROR,
            trt.ILogger.WARNING: logging.DEBUG,  # of every build, about things that are as they should be
        }

        class Log(trt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                line = " ".join(message.split())
                if levels.get(severity) == logging.ERROR:
                    _errors[:] = [line]
                _logger.log(levels.get(severity, logging.DEBUG - 5), "%s", line)

        _log = Log()
    return _log
