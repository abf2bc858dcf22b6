"""What is installed, and whether the model runs: versions, backends, one epoch staged."""

import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from hypnostream import __version__
from hypnostream.bridges.doctor import OK, PROBLEM, WARNING, Check
from hypnostream.config import BedConfig
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle
from hypnostream.engine.session import Session
from hypnostream.engine.tensorrt_device import BrokenPackageError, Device, TensorRtError, device, is_installed
from hypnostream.errors import UserError
from hypnostream.stream.channels import OK as GOOD
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S

PACKAGES = ("numpy", "scipy", "onnxruntime", "msgspec", "pyarrow", "pyzmq", "pylsl", "prometheus-client", "psutil")
SLOW_S = 1.0  # a provisional stage is due each second
_TRIALS = 5


def examine(config: BedConfig, beds: int = 1) -> Iterator[Check]:
    """Versions first, then a bundle that loads, then an epoch that is staged, twice alike. `config` is of `beds`."""
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Check("hypnostream", OK, f"{__version__}, Python {platform.python_version()}, {system}")
    yield packages()
    yield libraries()
    yield from backends(config, beds)
    from hypnostream.bridges.replay import bundle_of

    try:
        bundle = bundle_of(config)
        yield Check("bundle", OK, f"{bundle.content.name} {bundle.content.version} ({bundle.hash[:12]}) is whole")
        yield one_epoch(bundle)
    except UserError as error:
        yield Check("bundle", PROBLEM, str(error), "see model.bundle in the bed's file")


def packages() -> Check:
    """Each package that a bedside needs."""
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", PROBLEM, f"{', '.join(missing)} not installed", "install hypnostream again")
    return Check("packages", OK, ", ".join(found))


def libraries() -> Check:
    """Native libraries by their own word."""
    import pylsl
    import zmq

    number = pylsl.library_version()
    curve = "with" if zmq.has("curve") else "without"
    return Check("libraries", OK, f"liblsl {number // 100}.{number % 100:02}, ZeroMQ {zmq.zmq_version()} {curve} CURVE")


def backends(config: BedConfig, beds: int = 1) -> Iterator[Check]:
    """What can run the model here, whether what the bed asks for can, and what runs each graph of its bundle."""
    import onnxruntime

    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    yield Check("backend", OK, f"onnxruntime {onnxruntime.__version__} with {providers}; of these the CPU is used")
    here, checked = tensorrt(config)
    yield checked
    from hypnostream.bridges.replay import bundle_of

    try:
        bundle = bundle_of(config)
    except UserError:  # the bundle's own check says it
        return
    yield from graphs(bundle, config, here, beds)


def tensorrt(config: BedConfig) -> tuple[Device | None, Check]:
    """What TensorRT would run on, None where it is not asked for or cannot be used."""
    asked = config.model.backend
    if asked == "onnxruntime" or (asked == "auto" and not is_installed()):
        said = "not asked for" if asked == "onnxruntime" else "not installed; nothing needs it"
        return None, Check("TensorRT", OK, said)
    try:
        here = device()
    except TensorRtError as error:
        if isinstance(error, BrokenPackageError) and asked == "tensorrt":
            todo = 'install it again, or set model.backend = "auto" in the bed\'s file'
            return None, Check("TensorRT", PROBLEM, f"cannot be used: {error}; onnxruntime is", todo)
        todo = 'mend that, or set model.backend = "onnxruntime" in the bed\'s file'
        return None, Check("TensorRT", WARNING, f"cannot be used: {error}; onnxruntime is", todo)
    memory = f"{here.memory_bytes / 2**30:.0f} GiB"
    return here, Check("TensorRT", OK, f"{here.tensorrt} on {here.gpu} ({here.compute_capability}, {memory})")


def graphs(bundle: Bundle, config: BedConfig, here: Device | None, beds: int = 1) -> Iterator[Check]:
    """A line for each graph that TensorRT is asked to run, and one for all others."""
    from hypnostream.bridges.backends import asks_tensorrt

    others = []
    for name, graph in bundle.step_graphs.items():
        if here is None or not asks_tensorrt(bundle, config.model, graph):
            others.append(name)
            continue
        from hypnostream.bridges.tensorrt_engines import engine_state

        yield Check(f"graph {name}", OK, engine_state(bundle, graph, here, config.model.precision, beds))
    if "epoch" in others and bundle.content.stretch is not None:
        others.append("stretch")
    if others:
        yield Check("graphs", OK, f"onnxruntime runs {', '.join(others)}")


def one_epoch(bundle: Bundle) -> Check:
    """Stage the same epoch of noise several times: the answer must be a distribution, always the same, and in time."""
    backend = OnnxBackend(bundle)
    rng = np.random.default_rng(0)
    noise = tuple(20 * rng.standard_normal((EPOCH_S, spec.rate_hz)).astype(np.float32) for spec in bundle.channels)
    count = len(bundle.channels)
    seconds = Seconds(0, tuple(range(count)), noise, np.full((count, EPOCH_S), GOOD, np.uint8))
    answers, took_s = set(), []
    for _ in range(_TRIALS):
        session, started = Session(bundle, backend), time.perf_counter()
        answers.add(session.advance(seconds, provisional=False)[0].probabilities)
        took_s.append(time.perf_counter() - started)
    answer = next(iter(answers))
    if len(answers) > 1 or not np.isfinite(answer).all() or abs(sum(answer) - 1) > 1e-3:
        said = f"an epoch of noise gave {len(answers)} different answers, one of them {answer}"
        return Check("one epoch", PROBLEM, said, "install onnxruntime again, or another version")
    best_s = min(took_s)
    slow = best_s > SLOW_S / 2
    said = f"staged by {backend.name} in {best_s * 1000:.1f} ms at best, {max(took_s) * 1000:.1f} ms at worst"
    todo = "set provisional = false, or take a faster machine"
    return Check("one epoch", WARNING if slow else OK, said, todo if slow else "")
