"""A second graph in a bundle: the epoch graph with an axis of time, which stages many epochs of one bed in one run.

It has the inputs, outputs and states of the epoch graph, (B, L, ...) but for the states, any L up to `MOST_EPOCHS`.
"""

import hashlib
import math
import shutil
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle, StretchSpec, load_bundle
from hypnostream.engine.graph_folded import folded
from hypnostream.engine.slots import Arrays
from hypnostream.engine.stretch import StretchBackend
from hypnostream.errors import UserError
from hypnostream.models.channel_memory import LATEST_CHUNK
from hypnostream.models.mamba2 import Mamba2
from hypnostream.models.normaliser import RunningLevel
from hypnostream.models.stager import StagerEnsemble
from hypnostream.models.state import named, rebuilt
from hypnostream.stream.stages import EPOCH_S, STAGES
from hypnostream.training.bundling.export import write_graph

FILE = "stretch.onnx"
MOST_EPOCHS = LATEST_CHUNK  # a stretch is one chunk of whatever is computed in chunks
# Of probabilities, beside the epoch graph: float32 sums of another order, carried from stretch to stretch over a night.
PARITY = 1e-5


class StretchGraph(nn.Module):
    """`(signal, valid, age_s, *state) -> (probabilities, weights, *state')` of a stretch of epochs."""

    def __init__(self, model: StagerEnsemble) -> None:
        super().__init__()
        self.model = model
        self.like = model.initial_state(1)

    def forward(self, signal: Tensor, valid: Tensor, age_s: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """Some epochs of a batch of beds."""
        answer, after = self.model.stretch(signal, valid, age_s, rebuilt(self.like, list(state)))
        return (*answer, *named(after).values())


def can_stretch(model: nn.Module) -> bool:
    """Whether this model has a form over stretches of any length that exports: Mamba-2 alone has."""
    return isinstance(model, StagerEnsemble) and model.config.context == "mamba2"


def export_stretch(model: StagerEnsemble, path: Path, rate_hz: int = 100) -> None:
    """Write the graph, with what a runtime would do first of all done. Raises UserError as `write_graph` does."""
    model = model.eval().float()
    C = model.config.channels
    state = named(model.initial_state(2))
    given = {
        "signal": torch.randn(2, MOST_EPOCHS, C, EPOCH_S * rate_hz),
        "valid": torch.ones(2, MOST_EPOCHS, C, EPOCH_S),
        "age_s": torch.zeros(2, MOST_EPOCHS, C),
    }
    shapes: dict[str, tuple[int | str, ...]] = {"probabilities": ("epochs", len(STAGES)), "weights": ("epochs", C)}
    shapes |= {f"next_{n}": tuple(t.shape[1:]) for n, t in state.items()}
    try:
        _set_exported(model, True)
        write_graph(StretchGraph(model), given | state, shapes, path, epochs=tuple(given))
    finally:
        _set_exported(model, False)
    onnx.save(_simplified(folded(onnx.load(str(path)))), str(path))


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same in fewer standard operators, by onnxruntime's basic optimizations: half the time of a cold start."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / FILE)
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simple = onnx.load(options.optimized_model_filepath)
    del simple.opset_import[:]  # it names its own operators too, of which there are none
    simple.opset_import.extend(model.opset_import)
    onnx.checker.check_model(simple)
    return simple


def _set_exported(model: StagerEnsemble, exported: bool) -> None:
    """Whether stretches are computed as they are exported: of any length, levels step by step."""
    for module in model.modules():
        if isinstance(module, Mamba2):
            module.any_length = exported
        elif isinstance(module, RunningLevel):
            module.exported_steps = MOST_EPOCHS if exported else 0


def bundle_with_stretch(base: Path, out: Path, model: StagerEnsemble, epochs: int = 960) -> float:
    """Copy a bundle to `out` (which may be `base`) with the stretch graph of its model in it; returns the parity.

    Raises UserError when it says something else than the epoch graph over a night of `epochs`.
    """
    bundle = load_bundle(base)
    out.mkdir(parents=True, exist_ok=True)
    for name in bundle.content.sha256:
        if out.resolve() != base.resolve():
            shutil.copyfile(bundle.path / name, out / name)
    export_stretch(model, out / FILE, bundle.channels[0].rate_hz)
    content = msgspec.structs.replace(
        bundle.content,
        stretch=StretchSpec(file=FILE, most=MOST_EPOCHS),
        sha256=bundle.content.sha256 | {FILE: hashlib.sha256((out / FILE).read_bytes()).hexdigest()},
    )
    (out / "bundle.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
    worst = stretch_parity(load_bundle(out), epochs)
    if worst > PARITY:
        raise UserError(f"{out}: epoch graph and stretch graph differ by {worst:.1e}, more than {PARITY}.")
    return worst


def stretch_parity(bundle: Bundle, epochs: int = 960, seed: int = 0) -> float:
    """The largest difference of probabilities between epochs one by one and in stretches of any length.

    Over a night of coloured noise with sensors that come and go, each with its own state; infinite where a stage
    differs.
    """
    signal, valid, age_s = _night(bundle, epochs, seed)
    single, stretched = OnnxBackend(bundle), StretchBackend(bundle)
    states = bundle.content.epoch.states
    rng = np.random.default_rng(seed)
    one, other = ({s.input: np.zeros((1, *s.shape), np.float32) for s in states} for _ in range(2))
    worst, start = 0.0, 0
    while start < epochs:
        stop = min(epochs, start + int(rng.integers(1, stretched.most + 1)))
        part = slice(start, stop)
        given = {"signal": signal[None, part], "valid": valid[None, part], "age_s": age_s[None, part]}
        said = stretched.run(given | other)
        other = {s.input: said[s.output] for s in states}
        for place in range(start, stop):
            row = slice(place, place + 1)
            alone: Arrays = single.run({"signal": signal[row], "valid": valid[row], "age_s": age_s[row]} | one)
            one = {s.input: alone[s.output] for s in states}
            p, q = alone["probabilities"][0], said["probabilities"][0, place - start]
            worst = max(worst, float(np.abs(p - q).max()) if p.argmax() == q.argmax() else math.inf)
        start = stop
    return worst


def _night(
    bundle: Bundle, epochs: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Signal (epochs, C, samples), valid (epochs, C, 30) and age in seconds (epochs, C)."""
    rng = np.random.default_rng(seed)
    C, rate = len(bundle.channels), bundle.channels[0].rate_hz
    walk = np.cumsum(rng.standard_normal((epochs, C, EPOCH_S * rate), np.float32), axis=-1)
    walk -= walk.mean(-1, keepdims=True)
    mix = rng.uniform(0, 1, (epochs, C, 1)).astype(np.float32)
    signal = mix * walk + (1 - mix) * 20 * rng.standard_normal(walk.shape, np.float32)
    valid = rng.uniform(size=(epochs, C, EPOCH_S)) > rng.choice([0.0, 0.0, 0.3, 1.0], (epochs, C, 1))
    age_s = np.maximum(0, rng.normal(0, 300, (epochs, C))) * ~valid[..., -1]
    signal *= np.repeat(valid, rate, axis=-1)
    return signal, valid.astype(np.float32), age_s.astype(np.float32)
