"""`hypnostream train neuronet`: from nights to a frame encoder, with what it knows that it did not know untrained."""

import copy
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError
from hypnostream.models.frame_network import FrameEncoder
from hypnostream.models.neuronet import NeuroNet, NeuroNetSettings
from hypnostream.training.nights.scaled_frames import ScaledFrames, frames_of_kind
from hypnostream.training.pretraining.collapse import collapse_line, collapse_of
from hypnostream.training.pretraining.frame_probe import FrameProbe, probe, probe_within
from hypnostream.training.pretraining.frame_weights import save_frame_encoder
from hypnostream.training.pretraining.heart_rate_probe import HeartRateProbe, heart_rate_probe
from hypnostream.training.pretraining.neuronet_nights import NightSet, SimulatedSet, nights_for, nights_of
from hypnostream.training.pretraining.pretrain_neuronet import NeuroNetObjective, NeuroNetTask
from hypnostream.training.pretraining.standardised import standardise
from hypnostream.training.recipe import load_settings, recipe_path, sizes_of
from hypnostream.training.running.distributed import first, first_alone
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.running.progress import told
from hypnostream.training.running.run import Run

_SOME = 150  # frames of each channel: of those trained on to begin by, of those held out to see collapse on


@dataclass(frozen=True, slots=True)
class NeuroNetRecipe:
    """A whole run; the file's tables are these fields."""

    model: NeuroNetSettings = field(default_factory=NeuroNetSettings)
    objective: NeuroNetObjective = field(default_factory=NeuroNetObjective)
    loop: LoopSettings = field(default_factory=LoopSettings)
    simulated: SimulatedSet = field(default_factory=SimulatedSet)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes a run the same run."""

    kind: str
    nights: str
    recipe: NeuroNetRecipe
    held_out: tuple[str, ...]


def recipe_of(kind: str) -> str:
    """The shipped recipe for a kind of signal. Those of breathing collapse at the learning rate of the others."""
    return "neuronet-breathing" if kind in ("flow", "effort") else "neuronet-product"


def neuronet_command(
    kind: str, data: Path | None, out: Path, recipe: str | None = None, folder: Path | None = None
) -> None:
    """Train and probe on the signal nights of `folder`, on those made of UCDDB in `data`, or on simulated ones.

    `recipe` is a name or a path, by default that of the kind. See `pretrain` for what is written. Raises UserError when
    both are given.
    """
    if data is not None and folder is not None:
        raise UserError("--nights and --data are both given: the first names signal nights, the second UCDDB; give one")
    recipe = recipe or recipe_of(kind)
    settings = load_settings(recipe_path(recipe), NeuroNetRecipe)
    with sizes_of(recipe), torch.device("meta"):
        NeuroNet(settings.model)
    if folder is not None:
        nights = nights_of(kind, folder, settings.loop.seed)
    else:
        with told("nights") as progress, first_alone(settings.loop.device):
            nights = nights_for(kind, data, out / "nights", settings.simulated, progress)
    report = pretrain(kind, nights, out, settings)
    if not first():
        return
    print(f"{kind}: {nights.words}; {len(nights.train)} nights trained on, {len(nights.held_out)} held out")
    print(collapse_line(report["collapse"]))
    for name, found in report["probes"].items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in found.items() if "_" in key))
    if not report["probes"]:
        print("no probes: of those trained on, or of those held out, no epoch has a stage")
    print(f"encoder: {out / 'encoder.safetensors'}")


def pretrain(kind: str, nights: NightSet, out: Path, recipe: NeuroNetRecipe) -> dict[str, dict[str, dict[str, float]]]:
    """Train, or go on where a killed run stopped; writes the run's folder, encoder.safetensors and report.json.

    The report holds `collapse` (variance and effective rank of held-out tokens, untrained and trained; those of each
    pass's own tokens are in the curves) and `probes` (of stages, untrained and trained, on people that neither encoder
    nor probe was trained on; none where no night is staged).
    """
    seed = recipe.loop.seed
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = NeuroNet(recipe.model)
    fitted, tested = (list(frames_of_kind(part, kind)) for part in (nights.train, nights.held_out))
    standardise(module.frames, torch.from_numpy(np.concatenate([source.some(_SOME) for source in fitted])))
    if module.teacher is not None:
        module.teacher.load_state_dict(module.frames.state_dict())
    untrained = copy.deepcopy(module.frames)
    watched = np.concatenate([source.some(_SOME) for source in tested])
    away = tuple(sorted({night.subject for night in nights.held_out}))
    run = Run(out, _Asked(kind, nights.words, recipe, away), nights.fingerprints)
    collapse = {"untrained": _collapse(untrained, watched)}

    with told(f"neuronet {kind}") as progress:

        def after_pass(done: int, passes: int, losses: dict[str, float]) -> None:
            progress(done, passes, " ".join(f"{name} {value:.3f}" for name, value in losses.items()))

        run.train(NeuroNetTask(module, fitted, recipe.objective, seed), recipe.loop, after_pass)
    if not first():  # of several processes one probes and writes
        return {}
    collapse["trained"] = _collapse(module.frames, watched)
    save_frame_encoder(out / "encoder.safetensors", module.frames, kind, {night.subject for night in nights.train})
    probes: dict[str, dict[str, float]] = {}
    for name, encoder in (("untrained", untrained), ("trained", module.frames.cpu())):
        for where, result in probes_of(encoder, fitted, tested).items():
            probes[f"{name}, {where}"] = asdict(result)
    report = {"collapse": collapse, "probes": probes}
    content = {"kind": kind, "nights": nights.words, **report}
    write_atomically(out / "report.json", json.dumps(content, indent=2).encode())
    return report


def probes_of(
    encoder: FrameEncoder, fitted: list[ScaledFrames], tested: list[ScaledFrames]
) -> dict[str, FrameProbe | HeartRateProbe]:
    """Stages of people held out; within a held-out night, if it has stages which nobody who was fitted on has; and of
    ECG the heart's rate.

    None where one side has no staged epoch.
    """
    if not all(any(len(source.scored_epochs()) for source in side) for side in (fitted, tested)):
        return {}
    found: dict[str, FrameProbe | HeartRateProbe] = {"held-out people": probe(encoder, fitted, tested)}
    if tested[0].night.kinds[tested[0].place] == "ecg":
        found["heart rate of held-out people"] = heart_rate_probe(encoder, fitted, tested)
    known = {int(stage) for source in fitted for stage in set(source.night.stage[source.scored_epochs()].tolist())}
    for source in tested:
        stages = source.night.stage[source.scored_epochs()]
        if set(stages.tolist()) - known:
            found[f"within {source.night.name}"] = probe_within(encoder, source)
    return found


@torch.no_grad()
def _collapse(encoder: FrameEncoder, frames: NDArray[np.float32]) -> dict[str, float]:
    device = next(encoder.parameters()).device
    return collapse_of(encoder(torch.from_numpy(frames).to(device)).cpu())
