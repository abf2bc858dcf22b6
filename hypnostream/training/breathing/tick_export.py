"""A trained model of breathing into a bundle: its step graph, and the proof that it says what torch says."""

import hashlib
import shutil
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import GraphSpec, StateSpec, TensorSpec, load_bundle
from hypnostream.engine.respiration.tick_inputs import ANSWERS, NUMBERS, TICK_S, TICK_SENSORS
from hypnostream.errors import UserError
from hypnostream.models.breathing_detector import BreathingDetector
from hypnostream.models.state import named, rebuilt
from hypnostream.training.bundling.export import write_graph

FILE = "tick.onnx"
PARITY = 1e-5


class TickGraph(nn.Module):
    """The contract as a module: `(numbers, mask, *state) -> (probabilities, *state')`, five seconds at a time."""

    def __init__(self, detector: BreathingDetector) -> None:
        super().__init__()
        self.detector = detector
        self.like = detector.initial_state(1)

    def forward(self, numbers: Tensor, mask: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Five seconds of a batch of beds, (B, 5, S, F) and (B, 5, S)."""
        logits, after = self.detector(numbers, mask, rebuilt(self.like, list(state)))
        return (torch.sigmoid(logits), *named(after).values())


def tick_spec(detector: BreathingDetector) -> GraphSpec:
    """What bundle.json says of it."""
    state = named(detector.initial_state(1))
    return GraphSpec(
        file=FILE,
        clock_s=TICK_S,
        inputs=(
            TensorSpec("numbers", (TICK_S, len(TICK_SENSORS), NUMBERS)),
            TensorSpec("mask", (TICK_S, len(TICK_SENSORS))),
        ),
        outputs=(TensorSpec("probabilities", (TICK_S, len(ANSWERS))),),
        states=tuple(StateSpec(n, n, f"next_{n}", tuple(t.shape[1:])) for n, t in state.items()),
    )


def export_tick(detector: BreathingDetector, path: Path) -> None:
    """Write the graph with a free batch size. Raises UserError as `write_graph` does."""
    detector = detector.eval().float()
    spec = tick_spec(detector)
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
    export_tick(detector, out / FILE)
    text = (out / "card.md").read_text(encoding="utf-8").partition(card.splitlines()[0])[0].rstrip()
    (out / "card.md").write_text(f"{text}\n\n{card}", encoding="utf-8")
    content = msgspec.structs.replace(
        bundle.content,
        tick=tick_spec(detector),
        training=bundle.content.training | training,
        metrics=bundle.content.metrics | metrics,
        sha256={
            name: hashlib.sha256((out / name).read_bytes()).hexdigest()
            for name in dict.fromkeys((*bundle.content.sha256, FILE))
        },
    )
    (out / "bundle.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
    worst = parity(detector, out)
    if worst > PARITY:
        raise UserError(f"{out}: torch and onnxruntime differ by {worst:.1e}, more than {PARITY} in probabilities.")
    return worst


def parity(detector: BreathingDetector, directory: Path, ticks: int = 720, seed: int = 0) -> float:
    """The largest difference of probabilities between torch and onnxruntime over an hour, each with its own state.

    Torch reads it in one piece: so it is also the proof that ticks are what it learned on.
    """
    bundle = load_bundle(directory)
    spec = bundle.content.tick
    if spec is None:
        raise UserError(f"{directory} has no model of breathing; export one into it")
    backend = OnnxBackend(bundle, spec)
    rng = np.random.default_rng(seed)
    seconds = ticks * TICK_S
    mask = np.repeat(rng.uniform(size=(ticks // 8 + 1, len(TICK_SENSORS))) < 0.7, 8 * TICK_S, axis=0)[:seconds]
    numbers = (rng.standard_normal((seconds, len(TICK_SENSORS), NUMBERS)).cumsum(0) / 20) * mask[..., None]
    given: tuple[NDArray[np.float32], NDArray[np.float32]] = numbers.astype(np.float32), mask.astype(np.float32)
    state = {s.input: np.zeros((1, *s.shape), np.float32) for s in spec.states}
    said = []
    for start in range(0, seconds, TICK_S):
        part = slice(start, start + TICK_S)
        outputs = backend.run({"numbers": given[0][None, part], "mask": given[1][None, part], **state})
        state = {s.input: outputs[s.output] for s in spec.states}
        said.append(outputs["probabilities"][0])
    with torch.no_grad():
        logits, _ = detector.eval()(*(torch.from_numpy(each)[None] for each in given))
    return float(np.abs(np.concatenate(said) - torch.sigmoid(logits[0]).numpy()).max())
