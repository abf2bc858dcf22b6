"""Engines for this machine's GPU, one a graph: built when they are not there, judged beside onnxruntime before use."""

from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from hypnostream.bridges.engine_cache import EngineKey, StoredEngine, cache_folder, engine_of, read_engine
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.parity import LIMITS, Parity, compare, worst
from hypnostream.engine.simulated_steps import side_by_side, simulated_steps
from hypnostream.engine.tensorrt_backend import TensorRtBackend
from hypnostream.engine.tensorrt_build import Profile, build_engine, engine_graph, graph_hash, profile_for, row_counts
from hypnostream.engine.tensorrt_device import Device, Precision, TensorRtError
from hypnostream.engine.tensorrt_runner import TensorRtRunner


def tensorrt_backend(
    bundle: Bundle, graph: GraphSpec, here: Device, precision: Precision, beds: int = 1
) -> TensorRtBackend:
    """What runs `graph` for so many beds on the GPU that is `here`. Raises TensorRtError when its answers are not good
    enough."""
    stored = judged_engine(bundle, graph, here, precision, profile_of(bundle, graph, beds))
    name, profile = backend_name(here, precision), stored.manifest.key.profile
    with ExitStack() as stack:  # all of them, or none is left behind
        runners = [
            stack.enter_context(closing(TensorRtRunner(stored.plan, graph, rows, name))) for rows in row_counts(profile)
        ]
        stack.pop_all()
    return TensorRtBackend(runners, graph)


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
    stored = engine_of(folder or cache_folder(), engine_family(bundle, graph), key, build, judge)
    if stored.manifest.refused:
        raise TensorRtError(f"its engine in {precision} {stored.manifest.refused}")
    return stored


def judged(
    bundle: Bundle, graph: GraphSpec, precision: Precision, name: str, profile: Profile, plan: bytes
) -> tuple[Parity, str]:
    """How an engine compares with onnxruntime over a simulated night, and why it may not be used ("": it may).

    In every shape that it is run in, and in every row of it, each with another stretch of the night.
    """
    reference, night = OnnxBackend(bundle, graph, keeps_memory=True), list(simulated_steps(bundle, graph))
    found = []
    for rows in row_counts(profile):
        with closing(TensorRtRunner(plan, graph, rows, name)) as runner:
            found.append(compare(reference, TensorRtBackend([runner], graph), graph, side_by_side(night, rows)))
    parity = worst(found)
    return parity, parity.refusal(LIMITS[precision])


def backend_name(here: Device, precision: Precision) -> str:
    """For messages and reports: "TensorRT 10.3.0 fp16 on NVIDIA H100"."""
    return f"TensorRT {here.tensorrt} {precision} on {here.gpu}"


def engine_state(bundle: Bundle, graph: GraphSpec, here: Device, precision: Precision, beds: int = 1) -> str:
    """What would run a graph for so many beds, and what is known of its engine, for people; nothing is built."""
    given = engine_graph(bundle.graph_bytes(graph), graph, precision)
    key = engine_key(bundle, graph, given, here, precision, profile_of(bundle, graph, beds))
    stored, why = read_engine(cache_folder(), engine_family(bundle, graph), key)
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


def engine_family(bundle: Bundle, graph: GraphSpec) -> str:
    """What engines of this graph are called, whichever training it is of: the names are for people."""
    return f"{bundle.content.name}-{graph.file.removesuffix('.onnx')}"
