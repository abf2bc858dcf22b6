"""Engines for this machine's GPU: built when they are not there, judged against onnxruntime before they are used."""

from functools import partial

from hypnostream.bridges.engine_cache import EngineKey, StoredEngine, cache_folder, engine_of, read_engine
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.parity import LIMITS, Parity, compare, simulated_epochs
from hypnostream.engine.tensorrt_backend import TensorRtBackend
from hypnostream.engine.tensorrt_build import Profile, build_engine, engine_graph, graph_hash
from hypnostream.engine.tensorrt_device import Device, Precision, TensorRtError, device


def tensorrt_backend(bundle: Bundle, precision: Precision, profile: Profile | None = None) -> TensorRtBackend:
    """Raises TensorRtError with the reason when TensorRT cannot be used, or its answers are not good enough."""
    here = device()
    stored = judged_engine(bundle, here, precision, profile or Profile())
    return TensorRtBackend(stored.plan, bundle.content.epoch, backend_name(here, precision))


def judged_engine(bundle: Bundle, here: Device, precision: Precision, profile: Profile) -> StoredEngine:
    """An engine for this GPU that decides as onnxruntime does. Raises TensorRtError when there is none."""
    spec, graph = bundle.content.epoch, engine_graph(bundle.graph_bytes(), bundle.content.epoch, precision)
    key = engine_key(graph, here, precision, profile)
    build = partial(build_engine, graph, spec, precision, profile)
    judge = partial(judged, bundle, precision, backend_name(here, precision))
    stored = engine_of(cache_folder(), engine_name(bundle, precision), key, build, judge)
    if stored.manifest.refused:
        raise TensorRtError(f"its engine in {precision} {stored.manifest.refused}")
    return stored


def judged(bundle: Bundle, precision: Precision, name: str, plan: bytes) -> tuple[Parity, str]:
    """How an engine compares with onnxruntime over a simulated night, and why it may not be used ("": it may)."""
    candidate = TensorRtBackend(plan, bundle.content.epoch, name)
    parity = compare(OnnxBackend(bundle), candidate, bundle.content.epoch, simulated_epochs(bundle))
    return parity, parity.refusal(LIMITS[precision])


def backend_name(here: Device, precision: Precision) -> str:
    """For messages and reports: "TensorRT 10.3.0 fp16 on NVIDIA H100"."""
    return f"TensorRT {here.tensorrt} {precision} on {here.gpu}"


def engine_state(bundle: Bundle, here: Device, precision: Precision) -> str:
    """What is known of the engine that would be used, for people; nothing is built."""
    key = engine_key(engine_graph(bundle.graph_bytes(), bundle.content.epoch, precision), here, precision, Profile())
    stored, why = read_engine(cache_folder(), engine_name(bundle, precision), key)
    if stored is None:
        return f"its engine in {precision} will be built when it is first used, which takes minutes: {why}"
    if stored.manifest.refused:
        return f"its engine in {precision} is refused: it {stored.manifest.refused}"
    return f"its engine in {precision} decides as onnxruntime in {stored.manifest.parity.agreement:.2%} of a night"


def engine_key(graph: bytes, here: Device, precision: Precision, profile: Profile) -> EngineKey:
    """`graph` is what TensorRT is given."""
    return EngineKey(graph_hash(graph), here.tensorrt, here.gpu, here.compute_capability, precision, profile)


def engine_name(bundle: Bundle, precision: Precision) -> str:
    """One place for each bundle's graph and precision; what else differs replaces what is there, and is said."""
    return f"{bundle.content.name}-{bundle.content.epoch.file.removesuffix('.onnx')}-{precision}"
