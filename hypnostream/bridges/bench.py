"""How fast it is here: one epoch, one provisional second, one whole night."""

import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
from numpy.typing import NDArray

from hypnostream import __version__
from hypnostream.bridges.bench_process import measure
from hypnostream.bridges.cores import usable_cores
from hypnostream.bridges.model import Model
from hypnostream.bridges.own_process import own_command, own_environment
from hypnostream.config import BackendName, ModelSection
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.session import Session
from hypnostream.engine.stretch import StretchBackend
from hypnostream.errors import UserError
from hypnostream.stream.channels import OK
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S

NIGHT_H = 8.0
WARM_UP_EPOCHS = 3


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds that each call of `Session.advance` took: those that closed an epoch, and those within one."""

    final_s: NDArray[np.float64]
    provisional_s: NDArray[np.float64]


def time_steps(bundle: Bundle, epochs: int = 60, backend: Backend | None = None) -> StepTimes:
    """Stage `epochs` epochs of noise second by second, all channels there, and time each second.

    Signals are conditioned already: this is the work of a session, the model's and its own.
    """
    session = Session(bundle, backend or OnnxBackend(bundle))
    rng = np.random.default_rng(0)
    places = tuple(range(len(bundle.channels)))
    quality = np.full((len(places), 1), OK, np.uint8)
    final_s: list[float] = []
    provisional_s: list[float] = []
    for second in range((epochs + WARM_UP_EPOCHS) * EPOCH_S):
        noise = tuple(20 * rng.standard_normal((1, spec.rate_hz)).astype(np.float32) for spec in bundle.channels)
        seconds = Seconds(second, places, noise, quality)
        started = time.perf_counter()
        results = session.advance(seconds)
        took_s = time.perf_counter() - started
        if second >= WARM_UP_EPOCHS * EPOCH_S:
            (final_s if results[0].final else provisional_s).append(took_s)
    return StepTimes(np.array(final_s), np.array(provisional_s))


def machine() -> dict[str, str]:
    """What it ran on: the processor, the cores that may be used and how busy they were, the system."""
    cores = usable_cores()
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return {
        "machine": f"{_processor()}, {cores} core{'s' * (cores != 1)}{load}",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }


def bench_here(backend: str = "auto") -> dict[str, str]:
    """Everything, in words; some ten seconds, and minutes where an engine of TensorRT must be built first.

    Raises UserError when there is no such backend, or the shipped bundle does not load.
    """
    try:
        section = msgspec.convert({"backend": backend}, ModelSection)
    except msgspec.ValidationError as error:
        raise UserError(f"--backend {backend} is none of {', '.join(get_args(BackendName))}") from error
    report = machine()
    bundle = load_bundle()
    model = Model(bundle, section)
    runtimes = runtimes_of(model, Model(bundle, section, stretches=True))
    _say("one epoch ...")
    steps = time_steps(bundle, backend=model.backend)
    report |= {
        "hypnostream": f"{__version__}, {model.backend.name}, bundle {bundle.hash[:12]}",
        "graphs": "; ".join(f"{', '.join(names)} by {runtime}" for runtime, names in runtimes.items()),
        **({"note": "; ".join(model.reasons)} if model.reasons else {}),
        "one final epoch": _milliseconds(steps.final_s),
        "one provisional second": _milliseconds(steps.provisional_s),
    }
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder:
        night = Path(folder) / "night.edf"
        environment = own_environment()
        _say(f"a recording of {NIGHT_H:g} h ...")
        measure(own_command("hypnostream.bridges.bench_night", str(night), f"{NIGHT_H:g}"), environment)
        _say(f"a replay of {NIGHT_H:g} h ...")
        stages = Path(folder) / "stages.toml"
        asked = f'[model]\nbackend = "{backend}"\n'
        stages.write_text(f"{asked}[breathing]\nenabled = false\n")
        command = ("hypnostream", "replay", str(night), "--out", str(Path(folder) / "report"), "--config", str(stages))
        cost = measure(own_command(*command), environment)
        _say("the same with breathing ...")
        stages.write_text(asked)
        with_breathing = measure(own_command(*command), environment)
    report[f"{NIGHT_H:g} h replayed, from a cold start"] = f"{cost.wall_s:.2f} s"
    report["of which CPU time"] = f"{cost.cpu_s:.2f} s"
    report["resident memory at most"] = f"{cost.peak_mib:.0f} MiB"
    report["the same with breathing (airflow, SpO2, ECG)"] = (
        f"{with_breathing.wall_s:.2f} s, {with_breathing.cpu_s:.2f} s of CPU, {with_breathing.peak_mib:.0f} MiB"
    )
    _say("")
    return report


def runtimes_of(model: Model, recordings: Model) -> dict[str, list[str]]:
    """The names of the bundle's graphs by what runs them, at a bed and for recordings; engines are built for them."""
    _ = model.beliefs
    names: dict[str, list[str]] = {}
    for name, runtime in model.runtimes.items():
        names.setdefault(runtime, []).append(name)
    if isinstance(recordings.backend, StretchBackend):
        names.setdefault(recordings.backend.name, []).append("stretch")
    return names


def _milliseconds(seconds: NDArray[np.float64]) -> str:
    median, p99 = np.quantile(seconds * 1000, [0.5, 0.99])
    return f"{median:.2f} ms median, {p99:.2f} ms p99 of {len(seconds)}"


def _processor() -> str:
    """The processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    lines: Sequence[str] = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else ()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _say(line: str) -> None:
    """One line on stderr that the next one replaces, where someone looks."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
