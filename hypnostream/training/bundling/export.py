"""A trained stager out as a bundle: one ONNX step graph, its card, its manifest, and a report that both say the same.

The graph holds standard operators only (opset 17, the newest that TensorRT 8.6 reads), and no Loop, Scan, If or
Einsum: each of those makes a recurrent model crawl or fail in one runtime or another.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import FORMAT_VERSION, BundleFile, GraphSpec, StateSpec, TensorSpec, load_bundle
from hypnostream.engine.torch_backend import TorchBackend
from hypnostream.errors import UserError
from hypnostream.models.epoch_model import EpochModel
from hypnostream.models.stager import StagerConfig, StagerEnsemble
from hypnostream.models.state import named, rebuilt
from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.stages import EPOCH_S, STAGES
from hypnostream.training.nights.scoring_rule import UNKNOWN_RULE

OPSET = 17
FORBIDDEN_OPERATORS = frozenset({"Loop", "Scan", "If", "Einsum"})
PARITY = 1e-5  # of probabilities
# Of states. Where tokens nearly cancel, the norm behind them magnifies float32's rounding: 3e-5 was seen, in one epoch
# of 960 with one sensor there, and it fades with the state.
STATE_PARITY = 1e-4


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Largest differences between torch and onnxruntime over a night, fed the same signals, each its own state.

    Of probabilities as they are, of states relative to one plus the largest value in that state.
    """

    epochs: int
    probabilities: float
    states: float
    argmax_agreement: float


@dataclass(frozen=True, slots=True)
class FrontEnd:
    """What a bundle says of how signals become tokens: "spectral" or "neuronet", and what they are relative to.

    `parity` is how far probabilities of torch and onnxruntime may differ, which is rounding and grows with the depth of
    the network.
    """

    name: str
    normalisation: str
    parity: float = PARITY


def spectral(config: StagerConfig) -> FrontEnd:
    """That of `Stager`."""
    return FrontEnd(
        "spectral",
        "shape features by training statistics; levels by their running mean over the night so far "
        f"(time constant {config.level_memory:g} epochs)",
    )


class StepGraph(nn.Module):
    """The model contract as a module: `(signal, valid, age_s, *state) -> (probabilities, weights, *state')`."""

    def __init__(self, model: EpochModel) -> None:
        super().__init__()
        self.model = model
        self.like = model.initial_state(1)

    def forward(self, signal: Tensor, valid: Tensor, age_s: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        """One epoch of a batch of beds."""
        answer, after = self.model.step(signal, valid, age_s, rebuilt(self.like, list(state)))
        return (*answer, *named(after).values())


def export_graph(model: EpochModel, path: Path, rate_hz: int = 100) -> None:
    """Write the step graph with a free batch size. Raises UserError as `write_graph` does."""
    model = model.eval().float()
    C = model.config.channels
    state = named(model.initial_state(2))
    given = {
        "signal": torch.randn(2, C, EPOCH_S * rate_hz),
        "valid": torch.ones(2, C, EPOCH_S),
        "age_s": torch.zeros(2, C),
    }
    shapes: dict[str, tuple[int | str, ...]] = {"probabilities": (len(STAGES),), "weights": (C,)}
    shapes |= {f"next_{n}": tuple(t.shape[1:]) for n, t in state.items()}
    write_graph(StepGraph(model), given | state, shapes, path)


def write_graph(
    module: nn.Module,
    given: Mapping[str, Tensor],
    shapes: Mapping[str, tuple[int | str, ...]],
    path: Path,
    epochs: Sequence[str] = (),
) -> None:
    """Trace a module with `given`, (B, ...) each, and write it as a graph with a free batch size.

    `shapes` are those of its outputs without the batch, a name where a size is free. `epochs` are the inputs whose
    second axis is free too, by that name. Raises UserError for an operator that no bundle may have.
    """
    import onnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of each shape that is a constant here by design
        torch.onnx.export(
            module,
            tuple(given.values()),
            str(path),
            input_names=list(given),
            output_names=list(shapes),
            dynamic_axes={name: {0: "batch"} | ({1: "epochs"} if name in epochs else {}) for name in (*given, *shapes)},
            opset_version=OPSET,
            dynamo=False,  # the newer exporter writes opset 18 whatever is asked
        )
    graph = onnx.load(str(path))
    found = {node.op_type for node in graph.graph.node} & FORBIDDEN_OPERATORS
    if found:
        raise UserError(f"{path} holds {sorted(found)}; rewrite the module without them.")
    for output in graph.graph.output:  # the exporter leaves shapes open; a bundle promises them
        for dim, size in zip(list(output.type.tensor_type.shape.dim)[1:], shapes[output.name], strict=True):
            dim.Clear()
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
    onnx.checker.check_model(graph)
    onnx.save(graph, str(path))


def export_bundle(
    model: EpochModel,
    directory: Path,
    channels: tuple[ChannelSpec, ...],
    name: str,
    version: str,
    card: str,
    training: dict[str, str],
    metrics: dict[str, float],
    parity_epochs: int = 960,
    front_end: FrontEnd | None = None,
    scoring_rule: str = UNKNOWN_RULE,
) -> ParityReport:
    """Write a whole bundle into `directory` and prove it: it loads, and says what torch says over `parity_epochs`.

    `front_end` need not be said of a `StagerEnsemble`. `scoring_rule`: see `nights.scoring_rule`.
    """
    if front_end is None:
        if not isinstance(model, StagerEnsemble):
            raise ValueError(f"a bundle says which front-end it has; give that of {type(model).__name__}")
        front_end = spectral(model.config)
    directory.mkdir(parents=True, exist_ok=True)
    rate = channels[0].rate_hz
    export_graph(model, directory / "epoch.onnx", rate)
    (directory / "card.md").write_text(card, encoding="utf-8")
    state = named(model.initial_state(1))
    C = model.config.channels
    content = BundleFile(
        format_version=FORMAT_VERSION,
        name=name,
        version=version,
        channels=channels,
        stages=STAGES,
        epoch=GraphSpec(
            file="epoch.onnx",
            clock_s=EPOCH_S,
            inputs=(
                TensorSpec("signal", (C, EPOCH_S * rate)),
                TensorSpec("valid", (C, EPOCH_S)),
                TensorSpec("age_s", (C,)),
            ),
            outputs=(TensorSpec("probabilities", (len(STAGES),)), TensorSpec("weights", (C,))),
            states=tuple(StateSpec(n, n, f"next_{n}", tuple(t.shape[1:])) for n, t in state.items()),
        ),
        grid="epoch k is [t0 + 30 k, t0 + 30 (k + 1)) s; t0 is the recording's start, or live the first sample",
        front_end=front_end.name,
        normalisation=front_end.normalisation,
        scoring_rule=scoring_rule,
        min_valid_s=model.config.min_valid_s,
        training=training,
        metrics=metrics,
        sha256={n: hashlib.sha256((directory / n).read_bytes()).hexdigest() for n in ("epoch.onnx", "card.md")},
    )
    (directory / "bundle.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))
    report = parity(model, directory, parity_epochs)
    if report.probabilities > front_end.parity or report.states > STATE_PARITY:
        limits = f"{front_end.parity} in probabilities, {STATE_PARITY} in states"
        raise UserError(f"{directory}: torch and onnxruntime differ by {report}, more than {limits}.")
    return report


def parity(model: EpochModel, directory: Path, epochs: int = 960, seed: int = 0) -> ParityReport:
    """Torch and onnxruntime side by side over a night of coloured noise with sensors that come and go."""
    bundle = load_bundle(directory)
    backends: tuple[Backend, Backend] = (OnnxBackend(bundle), TorchBackend(bundle, model))
    rng = np.random.default_rng(seed)
    C, samples = len(bundle.channels), EPOCH_S * bundle.channels[0].rate_hz
    states = bundle.content.epoch.states
    carried = [{s.input: np.zeros((1, *s.shape), np.float32) for s in states} for _ in backends]
    worst_p, worst_s, agree = 0.0, 0.0, 0
    for _ in range(epochs):
        walk = np.cumsum(rng.standard_normal((1, C, samples)), axis=-1)
        walk -= walk.mean(-1, keepdims=True)
        mix = rng.uniform(0, 1, (1, C, 1))
        signal = (mix * walk + (1 - mix) * 20 * rng.standard_normal(walk.shape)).astype(np.float32)
        valid = (rng.uniform(size=(1, C, EPOCH_S)) > rng.choice([0.0, 0.0, 0.3, 1.0], (1, C, 1))).astype(np.float32)
        signal *= np.repeat(valid, samples // EPOCH_S, axis=-1)
        age_s = (np.maximum(0, rng.normal(0, 300, (1, C))) * (valid[..., -1] == 0)).astype(np.float32)
        inputs = {"signal": signal, "valid": valid, "age_s": age_s}
        onnx, torch_ = (backend.run({**inputs, **state}) for backend, state in zip(backends, carried, strict=True))
        carried = [{s.input: outputs[s.output] for s in states} for outputs in (onnx, torch_)]
        p, q = onnx["probabilities"], torch_["probabilities"]
        worst_p = max(worst_p, float(np.abs(p - q).max()))
        agree += int(p.argmax() == q.argmax())
        for s in states:  # relative to the state's size: some are sums that grow to hundreds
            a, b = onnx[s.output], torch_[s.output]
            worst_s = max(worst_s, float(np.abs(a - b).max() / (1 + np.abs(b).max())))
    return ParityReport(epochs, worst_p, worst_s, agree / epochs)


def save_weights(model: StagerEnsemble, path: Path) -> None:
    """The torch weights, which stay with the training run."""
    from safetensors.torch import save_file

    # The front-end's matrices are constants that every member has; they are made, not learned.
    learned = {k: v.contiguous() for k, v in model.state_dict().items() if ".spectral." not in k}
    metadata = {"config": json.dumps(asdict(model.config)), "members": str(len(model.members))}
    save_file(learned, str(path), metadata=metadata)
