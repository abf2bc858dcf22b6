"""`hypnostream train frame-stager`: from signal nights and a learned front-end to a bundle that runs at the bedside."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import torch

from hypnostream import __version__
from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.agreement import Agreement, agreement
from hypnostream.errors import UserError
from hypnostream.models.context import causal_only
from hypnostream.models.frame_stager import FrameStager
from hypnostream.models.seconds_stager import SecondsStager
from hypnostream.ranges import at_least, inside
from hypnostream.training.bundling.export import FrontEnd, ParityReport, export_bundle
from hypnostream.training.bundling.frame_stager_card import write_frame_stager_card
from hypnostream.training.bundling.sizes import Limits, check
from hypnostream.training.bundling.whose import whose
from hypnostream.training.nights.frame_channels import frame_specs
from hypnostream.training.nights.scoring_rule import scoring_rule
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.signal_store import signal_nights_in
from hypnostream.training.pretraining.frame_weights import sha256_of_weights
from hypnostream.training.pretraining.pretrain_synthsleepnet import fingerprint, held_out
from hypnostream.training.recipe import load_settings, recipe_path, sizes_of
from hypnostream.training.running.distributed import first, first_alone
from hypnostream.training.running.progress import told
from hypnostream.training.running.run import Run
from hypnostream.training.staging.frame_stager_task import FrameStagerSettings, FrameStagerTask, FrameTrained, predict
from hypnostream.training.staging.learned_front import learned_front
from hypnostream.training.staging.model_sizes import frame_stager
from hypnostream.training.staging.night_tokens import NightTokens

PARITY = 3e-5  # of trained networks 1.3e-5 was seen, of untrained ones 8e-7
NORMALISATION = (
    "raw frames of 4 s by each channel's running level: the square of the mean of sqrt(mean |x|), time constant 1 h"
)


@dataclass(frozen=True, slots=True)
class FrameStagerRecipe:
    """A whole run; the file's tables are these fields. `tested` is the share of the people that is held out, `limits`
    how large the model may be."""

    tested: float = 0.2
    parity_epochs: int = 960
    fit: FrameStagerSettings = field(default_factory=FrameStagerSettings)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        inside(0, 1, self, "tested")
        at_least(1, self, "parity_epochs")
        causal_only("fit.model.context", self.fit.model.context)
        causal_only("fit.model.seconds_context", self.fit.model.seconds_context)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes a run the same run."""

    recipe: FrameStagerRecipe
    encoders: str
    held_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FrameStagerReport:
    """`agreement` on the people held out, by which sensors there were; `parity` of the exported graph with torch."""

    people: dict[str, int]
    sets: tuple[str, ...]
    parameters: int
    flops: float
    agreement: dict[str, Agreement]
    parity: ParityReport


def frame_stager_command(nights: Path, encoders: Path, out: Path, recipe: str) -> None:
    """Train, hold out, export. See `train_frame_stager` for what is written."""
    settings = load_settings(recipe_path(recipe), FrameStagerRecipe)
    with sizes_of(recipe), torch.device("meta"):
        SecondsStager(1, 1, settings.fit.model)
    report = train_frame_stager(signal_nights_in(nights), encoders, out, settings)
    if report is None:
        return
    print(f"{report.people['trained on']} people trained on, {report.people['held out']} held out")
    print(agreement_table(report.agreement))
    print(f"bundle: {out / 'bundle'}; {report.parameters:,} parameters, {report.flops / 1e6:.0f} MFLOP a second")
    found = report.parity
    print(f"parity over {found.epochs} epochs: probabilities {found.probabilities:.1e}, states {found.states:.1e}")


def train_frame_stager(
    nights: Sequence[SignalNight], encoders: Path, out: Path, recipe: FrameStagerRecipe
) -> FrameStagerReport | None:
    """Train, or go on where a killed run stopped; writes the run's folder, tokens/, bundle/ and report.json.

    None in all but the first of several processes. Raises UserError when nights have not the same channels, nobody is
    left to hold out whom the front-end has not met, or the model is larger than the recipe's limits.
    """
    slots, kinds = nights[0].channels, nights[0].kinds
    for night in nights:
        if night.channels != slots:
            raise UserError(f"{night.name} has channels {', '.join(night.channels)}, others {', '.join(slots)}")
    specs = frame_specs(slots, kinds)
    front = learned_front(encoders, nights)
    away = held_out([night.subject for night in nights], recipe.tested, recipe.fit.loop.seed, front.met)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.fit.loop.seed)
        module = FrameTrained(front, kinds, recipe.fit)
    size = frame_stager(module.plain())
    check(size, recipe.limits)
    made_of = {night.name: fingerprint(night) for night in nights}
    made_of["learned encoders"] = sha256_of_weights(*front.encoders, *([] if front.fused is None else [front.fused]))
    run = Run(out, _Asked(recipe, str(encoders), tuple(sorted(away))), made_of)
    folder = out / "tokens" if recipe.fit.encoders == "frozen" else None
    tokens = tokens_of(nights, module.model, folder, recipe.fit.loop.device)
    with told("frame-stager") as progress:

        def after_pass(done: int, passes: int, losses: dict[str, float]) -> None:
            progress(done, passes, " ".join(f"{name} {value:.3f}" for name, value in losses.items()))

        fitted = [each for each in tokens if each.night.subject not in away]
        run.train(FrameStagerTask(fitted, module, recipe.fit), recipe.fit.loop, after_pass)
    if not first():
        return None
    model = module.plain()
    found = tested(model, [each.told_by(model.front) for each in tokens if each.night.subject in away], slots)
    people = {"trained on": len({each.night.subject for each in fitted}), "held out": len(away)}
    sets = tuple(sorted({night.set_name for night in nights}))
    rule = scoring_rule([each.night for each in fitted])
    training = {
        "sets": "; ".join(sets),
        "nights": str(len(fitted)),
        "subjects": str(people["trained on"]),
        "people": whose([each.night for each in fitted]),
        "held_out": ", ".join(sorted(away)),
        "scoring": f"by people: {rule}",
        "licence": "; ".join(sorted({night.licence for night in nights} - {""})) or "not said",
        "recipe": json.dumps(asdict(recipe)),
    }
    metrics = {f"held_out_accuracy_{slug(k)}": round(a.accuracy, 4) for k, a in found.items() if a.accuracy is not None}
    metrics |= {f"held_out_kappa_{slug(k)}": round(a.kappa, 4) for k, a in found.items() if a.kappa is not None}
    card = write_frame_stager_card(specs, size, training, metrics)
    front_end = FrontEnd("neuronet", NORMALISATION, parity=PARITY)
    exported = export_bundle(
        model, out / "bundle", specs, "frame-stager", __version__, card, training, metrics, recipe.parity_epochs,
        front_end, scoring_rule=rule,
    )  # fmt: skip
    report = FrameStagerReport(people, sets, size.parameters, size.flops, found, exported)
    write_atomically(out / "report.json", msgspec.json.format(msgspec.json.encode(report), indent=2))
    return report


def tested(model: FrameStager, nights: Sequence[NightTokens], slots: Sequence[str]) -> dict[str, Agreement]:
    """Agreement over all epochs of all nights: with all sensors, without each, and with each alone."""
    count = len(slots)
    conditions = {"all sensors": (1,) * count}
    if count > 1:
        conditions |= {f"without {slot}": tuple(int(i != c) for i in range(count)) for c, slot in enumerate(slots)}
        conditions |= {f"{slot} alone": tuple(int(i == c) for i in range(count)) for c, slot in enumerate(slots)}
    reference = np.concatenate([each.night.stage for each in nights]).astype(np.int64)
    return {
        name: agreement(reference, np.concatenate([predict(model, each, sensors).argmax(1) for each in nights]))
        for name, sensors in conditions.items()
    }


def agreement_table(found: dict[str, Agreement]) -> str:
    """As Markdown."""
    lines = ["| sensors | epochs | accuracy | macro F1 | kappa |", "|---|---:|---:|---:|---:|"]
    for name, each in found.items():
        values = " | ".join("–" if v is None else f"{v:.3f}" for v in (each.accuracy, each.macro_f1, each.kappa))
        lines.append(f"| {name} | {each.n} | {values} |")
    return "\n".join(lines) + "\n"


def slug(name: str) -> str:
    """As a key."""
    return name.replace(" ", "_")


def tokens_of(nights: Sequence[SignalNight], model: FrameStager, folder: Path | None, device: str) -> list[NightTokens]:
    """The nights as their front-end tells them, kept in `folder` where there is one: of several processes by one."""
    out = []
    with told("tokens") as progress:
        for done, night in enumerate(nights):
            progress(done, len(nights), night.name)
            out.append(NightTokens(night, model.front))
            if folder is not None:
                with first_alone(device):
                    out[-1].keep(folder)
        progress(len(nights), len(nights), "")
    return out
