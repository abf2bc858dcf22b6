"""Engines for this machine's GPU, one a graph: built when they are not there, judged beside onnxruntime before use."""

from contextlib import closing
from functools import partial
from pathlib import Path

from hypnostream.bridges.engine_cache import EngineKey, StoredEngine, cache_folder, engine_of, read_engine
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.parity import LIMITS, Parity, compare
from hypnostream.engine.scheduler import BatchSettings
from hypnostream.engine.simulated_steps import simulated_steps
from hypnostream.engine.tensorrt_backend import TensorRtBackend
from hypnostream.engine.tensorrt_build import Profile, build_engine, engine_graph, graph_hash, profile_for
from hypnostream.engine.tensorrt_device import Device, Precision, TensorRtError
from hypnostream.engine.tensorrt_runner import TensorRtRunner


def tensorrt_backend(
    bundle: Bundle, graph: GraphSpec, here: Device, precision: Precision, beds: int = 1
) -> TensorRtBackend:
    """What runs `graph` for so many beds on the GPU that is `here`. Raises TensorRtError when its answers are not good
    enough."""
    stored = judged_engine(bundle, graph, here, precision, profile_of(bundle, graph, beds))
    runner = _runner(stored.plan, graph, backend_name(here, precision), stored.manifest.key.profile)
    return TensorRtBackend(runner, graph)


def profile_of(bundle: Bundle, graph: GraphSpec, beds: int) -> Profile:
    """What an engine of a graph is built for; those of breathing are run a bed at a time, however many there are."""
    return profile_for(beds if graph.file == bundle.content.epoch.file else 1)


def judged_engine(
    bundle: Bundle,
    graph: GraphSpec,
    here: Device,
    precision: Precision,
    profile: Profile,
    folder: Path | None = None,
) -> StoredEngine:
    """An engine for this GPU that decides as onnxruntime does, from `folder` (default: the user's). Raises
    TensorRtError when there is none."""
    given = engine_graph(bundle.graph_bytes(graph), graph, precision)
    key = engine_key(bundle, graph, given, here, precision, profile)
    build = partial(build_engine, given, graph, precision, profile)
    judge = partial(judged, bundle, graph, precision, backend_name(here, precision), profile)
    stored = engine_of(folder or cache_folder(), engine_name(bundle, graph, precision), key, build, judge)
    if stored.manifest.refused:
        raise TensorRtError(f"its engine in {precision} {stored.manifest.refused}")
    return stored


def judged(
    bundle: Bundle, graph: GraphSpec, precision: Precision, name: str, profile: Profile, plan: bytes
) -> tuple[Parity, str]:
    """How an engine compares with onnxruntime over a simulated night, and why it may not be used ("": it may)."""
    with closing(_runner(plan, graph, name, profile)) as runner:
        candidate = TensorRtBackend(runner, graph)
        parity = compare(OnnxBackend(bundle, graph), candidate, graph, simulated_steps(bundle, graph))
    return parity, parity.refusal(LIMITS[precision])


def _runner(plan: bytes, graph: GraphSpec, name: str, profile: Profile) -> TensorRtRunner:
    """Of as many rows as a batch has at most, where the engine has room for them."""
    return TensorRtRunner(plan, graph, max(profile.least, min(profile.most, BatchSettings().most)), name)


def backend_name(here: Device, precision: Precision) -> str:
    """For messages and reports: "TensorRT 10.3.0 fp16 on NVIDIA H100"."""
    return f"TensorRT {here.tensorrt} {precision} on {here.gpu}"


def engine_state(bundle: Bundle, graph: GraphSpec, here: Device, precision: Precision, beds: int = 1) -> str:
    """What would run a graph for so many beds, and what is known of its engine, for people; nothing is built."""
    given = engine_graph(bundle.graph_bytes(graph), graph, precision)
    key = engine_key(bundle, graph, given, here, precision, profile_of(bundle, graph, beds))
    stored, why = read_engine(cache_folder(), engine_name(bundle, graph, precision), key)
    if stored is None:
        return f"TensorRT; its engine in {precision} is built when it is first used, which takes minutes: {why}"
    if stored.manifest.refused:
        return f"onnxruntime: TensorRT's engine in {precision} is refused, as it {stored.manifest.refused}"
    most, alike = stored.manifest.key.profile.most, f"{stored.manifest.parity.agreement:.2%} of a night"
    room = f"{most} bed{'s' * (most != 1)} a call"
    return f"TensorRT; its engine in {precision}, for {room}, decides as onnxruntime in {alike}"


def engine_key(
    bundle: Bundle, graph: GraphSpec, given: bytes, here: Device, precision: Precision, profile: Profile
) -> EngineKey:
    """`given` is what TensorRT is given in place of `graph`."""
    onnx = bundle.content.sha256[graph.file]
    return EngineKey(onnx, graph_hash(given), here.tensorrt, here.gpu, here.compute_capability, precision, profile)


def engine_name(bundle: Bundle, graph: GraphSpec, precision: Precision) -> str:
    """One place for each graph, by its content, and precision; what else differs replaces what is there, and is said.

    Bundles of one name have places of their own, and one that is named anew does too: the names are for people.
    """
    content = bundle.content.sha256[graph.file][:16]
    return f"{bundle.content.name}-{graph.file.removesuffix('.onnx')}-{content}-{precision}"
