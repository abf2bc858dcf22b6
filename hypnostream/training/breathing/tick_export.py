"""A trained model of breathing into a bundle: its step graph, and the proof that it says what torch says."""

import copy
import hashlib
import shutil
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec, StateSpec, TensorSpec, load_bundle
from hypnostream.engine.respiration.tick_inputs import ANSWERS, MANY_S, NUMBERS, TICK_S, TICK_SENSORS
from hypnostream.errors import UserError
from hypnostream.models.breathing_detector import BreathingDetector
from hypnostream.models.mamba2 import Mamba2
from hypnostream.models.state import named, rebuilt
from hypnostream.training.bundling.export import write_graph

FILES = {TICK_S: "tick.onnx", MANY_S: "ticks.onnx"}
PARITY = 1e-5


class TickGraph(nn.Module):
    """The contract as a module: `(numbers, mask, *state) -> (probabilities, *state')`, whole ticks at a time."""

    def __init__(self, detector: BreathingDetector) -> None:
        super().__init__()
        self.detector = copy.deepcopy(detector)
        for mixer in self.detector.mixers:
            if isinstance(mixer, Mamba2):
                mixer.chunk = TICK_S  # so that many ticks in one call are to the last bit what they are one by one
        self.like = detector.initial_state(1)

    def forward(self, numbers: Tensor, mask: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Some ticks of a batch of beds, (B, L, S, F) and (B, L, S)."""
        logits, after = self.detector(numbers, mask, rebuilt(self.like, list(state)))
        return (torch.sigmoid(logits), *named(after).values())


def tick_spec(detector: BreathingDetector, seconds: int = TICK_S) -> GraphSpec:
    """What bundle.json says of the graph for so many `seconds` a call, one of FILES."""
    state = named(detector.initial_state(1))
    return GraphSpec(
        file=FILES[seconds],
        clock_s=seconds,
        inputs=(
            TensorSpec("numbers", (seconds, len(TICK_SENSORS), NUMBERS)),
            TensorSpec("mask", (seconds, len(TICK_SENSORS))),
        ),
        outputs=(TensorSpec("probabilities", (seconds, len(ANSWERS))),),
        states=tuple(StateSpec(n, n, f"next_{n}", tuple(t.shape[1:])) for n, t in state.items()),
    )


def export_tick(detector: BreathingDetector, path: Path, seconds: int = TICK_S) -> None:
    """Write the graph for so many `seconds` a call, with a free batch size. Raises UserError as `write_graph` does."""
    detector = detector.eval().float()
    spec = tick_spec(detector, seconds)
    shapes = {t.name: t.shape for t in spec.inputs} | {s.input: s.shape for s in spec.states}
    results = {t.name: t.shape for t in spec.outputs} | {s.output: s.shape for s in spec.states}
    given = {name: torch.zeros(2, *shape) for name, shape in shapes.items()}
    write_graph(TickGraph(detector), given, results, path)


def bundle_with_tick(
    base: Path, out: Path, detector: BreathingDetector, card: str, training: dict[str, str], metrics: dict[str, float]
) -> float:
    """Copy a bundle to `out` with this model of breathing in it, and prove it; returns the parity.

    `card` is added to the card, `training` and `metrics` to the bundle's. Raises UserError when it does not load or
    says something else than torch.
    """
    bundle = load_bundle(base)
    out.mkdir(parents=True, exist_ok=True)
    for name in bundle.content.sha256:
        shutil.copyfile(bundle.path / name, out / name)
    for seconds, file in FILES.items():
        export_tick(detector, out / file, seconds)
    text = (out / "card.md").read_text(encoding="utf-8").partition(card.splitlines()[0])[0].rstrip()
    (out / "card.md").write_text(f"{text}\n\n{card}", encoding="utf-8")
    content = msgspec.structs.replace(
        bundle.content,
        tick=tick_spec(detector),
        ticks=tick_spec(detector, MANY_S),
        training=bundle.content.training | training,
        metrics=bundle.content.metrics | metrics,
        sha256={
            name: hashlib.sha256((out / name).read_bytes()).hexdigest()
            for name in dict.fromkeys((*bundle.content.sha256, *FILES.values()))
        },
    )
    (out / "bundle.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
    worst = parity(detector, out)
    if worst > PARITY:
        raise UserError(f"{out}: torch and onnxruntime differ by {worst:.1e}, more than {PARITY} in probabilities.")
    return worst


def parity(detector: BreathingDetector, directory: Path, ticks: int = 720, seed: int = 0) -> float:
    """The largest difference of probabilities between torch and onnxruntime over an hour, each with its own state.

    Torch reads it in one piece: so it is also the proof that ticks, one by one or many in a call, are what it learned.
    """
    bundle = load_bundle(directory)
    if bundle.content.tick is None:
        raise UserError(f"{directory} has no model of breathing; export one into it")
    rng = np.random.default_rng(seed)
    seconds = ticks * TICK_S
    mask = np.repeat(rng.uniform(size=(ticks // 8 + 1, len(TICK_SENSORS))) < 0.7, 8 * TICK_S, axis=0)[:seconds]
    numbers = (rng.standard_normal((seconds, len(TICK_SENSORS), NUMBERS)).cumsum(0) / 20) * mask[..., None]
    given: tuple[NDArray[np.float32], NDArray[np.float32]] = numbers.astype(np.float32), mask.astype(np.float32)
    with torch.no_grad():
        logits, _ = detector.eval()(*(torch.from_numpy(each)[None] for each in given))
    expected = torch.sigmoid(logits[0]).numpy()
    specs = [spec for spec in (bundle.content.tick, bundle.content.ticks) if spec is not None]
    return max(float(np.abs(said - expected).max()) for said in (_said(bundle, spec, *given) for spec in specs))


def _said(
    bundle: Bundle, spec: GraphSpec, numbers: NDArray[np.float32], mask: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The probabilities (T, Q) by one of a bundle's graphs."""
    backend = OnnxBackend(bundle, spec)
    state = {s.input: np.zeros((1, *s.shape), np.float32) for s in spec.states}
    said = []
    for start in range(0, len(mask), spec.clock_s):
        part = slice(start, start + spec.clock_s)
        outputs = backend.run({"numbers": numbers[None, part], "mask": mask[None, part], **state})
        state = {s.input: outputs[s.output] for s in spec.states}
        said.append(outputs["probabilities"][0])
    return np.concatenate(said)
