"""One runtime, one number of beds: how long a step of all of them takes. A program, so that runtimes never meet.

python -m benchmarks.gpu.bed_steps RUNTIME BEDS STEPS

It prints one line of JSON, a `Measured`. Exit code 2, and the reason on stderr, when the runtime is not there.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from benchmarks.gpu.children import NotHereError
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.graph_resident import KEEP
from hypnostream.engine.resident import HostResident
from hypnostream.engine.slots import Arrays

WARM_UP = 5
MOST_BEDS = 16384  # of one engine; its room on the device is for so many, however many there are
BUNDLE = load_bundle()
SPEC = BUNDLE.content.epoch


class Measured(msgspec.Struct, frozen=True):
    """`step_s` is of each step, from samples in host memory to results in host memory; `fill_s` the part of it in which
    they are copied to where the runtime takes them from. `note` is what else is to be known."""

    name: str
    beds: int
    step_s: list[float]
    fill_s: list[float]
    note: str = ""


class Beds:
    """What is measured: fill `inputs`, then `step`, which returns when the results are in host memory."""

    def __init__(self, name: str, inputs: Arrays, step: Callable[[], object], note: str = "") -> None:
        self.name, self.inputs, self.step, self.note = name, inputs, step, note


def tensorrt(beds: int, half: bool) -> Beds:
    """States on the device, one CUDA graph a step; the engine has passed the gate."""
    from hypnostream.bridges.engine_cache import cache_folder
    from hypnostream.bridges.tensorrt_engines import backend_name, judged_engine
    from hypnostream.engine.tensorrt_build import Profile
    from hypnostream.engine.tensorrt_device import Precision, TensorRtError, device
    from hypnostream.engine.tensorrt_runner import TensorRtRunner

    precision: Precision = "fp16" if half else "fp32"
    try:
        here = device()
        # Of its own: a bed that found an engine for so many would take it, and its memory.
        folder = cache_folder().with_name("engines-measured")
        stored = judged_engine(BUNDLE, SPEC, here, precision, Profile(1, MOST_BEDS // 4, MOST_BEDS), folder)
        runner = TensorRtRunner(stored.plan, SPEC, beds, backend_name(here, precision))
    except TensorRtError as error:
        raise NotHereError(str(error)) from error
    runner.inputs[KEEP][:] = 1.0
    note = f"a night beside onnxruntime: {stored.manifest.parity.words}"
    return Beds(runner.name, runner.inputs, runner.step, note)


def onnxruntime_cpu(beds: int, half: bool) -> Beds:
    """The bedside's: one thread, states in host memory."""
    resident = HostResident(OnnxBackend(BUNDLE), SPEC, beds)
    resident.inputs[KEEP][:] = 1.0
    return Beds(resident.name, resident.inputs, resident.step)


def onnxruntime_cuda(beds: int, half: bool) -> Beds:
    """States bound on the device in two sets that change places."""
    import onnxruntime as ort

    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise NotHereError(f"onnxruntime {ort.__version__} has no CUDA here")
    cuda = ("CUDAExecutionProvider", {"use_tf32": "0"})
    session: Any = ort.InferenceSession(BUNDLE.graph_bytes(), providers=[cuda])
    inputs = {tensor.name: np.zeros((beds, *tensor.shape), np.float32) for tensor in SPEC.inputs}
    zeros = {state.name: np.zeros((beds, *state.shape), np.float32) for state in SPEC.states}
    sets = [{n: ort.OrtValue.ortvalue_from_numpy(v, "cuda", 0) for n, v in zeros.items()} for _ in range(2)]

    def step() -> object:
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_cpu_input(name, value)
        for state in SPEC.states:
            binding.bind_ortvalue_input(state.input, sets[0][state.name])
            binding.bind_ortvalue_output(state.output, sets[1][state.name])
        for output in SPEC.outputs:
            binding.bind_output(output.name, "cpu")
        session.run_with_iobinding(binding)
        sets.reverse()
        return binding.copy_outputs_to_cpu()[: len(SPEC.outputs)]

    return Beds(f"onnxruntime {ort.__version__} CUDA", inputs, step)


def torch_compile(beds: int, half: bool) -> Beds:
    """The recipe's model with weights as they are drawn, which are as fast as trained ones; states on the device."""
    import torch

    from hypnostream.models.stager import Stager, StagerEnsemble
    from hypnostream.models.state import named
    from hypnostream.training.staging.stager_recipe import load_recipe

    if not torch.cuda.is_available():
        raise NotHereError(f"torch {torch.__version__} sees no GPU")
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    recipe = load_recipe()
    model = StagerEnsemble([Stager(recipe.fit.model) for _ in recipe.seeds]).eval().cuda()
    state = model.initial_state(beds)
    differ = {n: tuple(v.shape[1:]) for n, v in named(state).items()} != {s.name: s.shape for s in SPEC.states}
    pinned = {t.name: torch.zeros(beds, *t.shape, pin_memory=True) for t in SPEC.inputs}
    compiled = torch.compile(model.step)

    @torch.no_grad()
    def step() -> object:
        nonlocal state
        signal, valid, age_s = (pinned[name].cuda(non_blocking=True) for name in ("signal", "valid", "age_s"))
        with torch.autocast("cuda", dtype=torch.float16, enabled=half):
            answer, state = compiled(signal, valid, age_s, state)
        return [value.cpu() for value in answer]

    name = f"torch.compile {torch.__version__} {'autocast fp16' if half else 'fp32'}"
    note = "its states are not those of the bundle: another recipe" if differ else ""
    return Beds(name, {each: tensor.numpy() for each, tensor in pinned.items()}, step, note)


RUNTIMES: dict[str, tuple[Callable[[int, bool], Beds], bool]] = {
    "tensorrt-fp32": (tensorrt, False),
    "tensorrt-fp16": (tensorrt, True),
    "onnxruntime-cuda": (onnxruntime_cuda, False),
    "torch-compile-fp32": (torch_compile, False),
    "torch-compile-fp16": (torch_compile, True),
    "onnxruntime-cpu": (onnxruntime_cpu, False),
}


def measure(made: Beds, beds: int, steps: int) -> Measured:
    """Noise that lies in host memory, over and over; the first steps do not count."""
    rng = np.random.default_rng(0)
    samples = {t.name: rng.standard_normal((beds, *t.shape), np.float32) for t in SPEC.inputs}
    samples["signal"] *= 20
    samples["valid"][:] = 1.0
    samples["age_s"][:] = 0.0
    step_s, fill_s = list[float](), list[float]()
    for _ in range(steps + WARM_UP):
        started = time.perf_counter()
        for name, value in samples.items():
            made.inputs[name][...] = value
        filled = time.perf_counter()
        made.step()
        step_s.append(time.perf_counter() - started)
        fill_s.append(filled - started)
    return Measured(made.name, beds, step_s[WARM_UP:], fill_s[WARM_UP:], made.note)


def main(runtime: str, beds: int, steps: int) -> None:
    """Measure and print."""
    make, half = RUNTIMES[runtime]
    try:
        made = make(beds, half)
    except (NotHereError, ImportError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from error
    print(msgspec.json.encode(measure(made, beds, steps)).decode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
