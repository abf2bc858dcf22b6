"""Tables of what each part of a model is worth: arms that differ from one recipe in a setting or two.

Each arm is trained for each seed on the same people and judged on the same others, with sensors lost in the same ways.
What is done stays done: a comparison that was stopped goes on with what is missing.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError
from hypnostream.models.stager import StagerEnsemble
from hypnostream.ranges import above, at_least, between
from hypnostream.training.damage.missing import CONDITIONS
from hypnostream.training.evaluation.store import PredictionSet, write_predictions
from hypnostream.training.nights.label_share import labelled_share
from hypnostream.training.nights.token_night import TokenNight, read_token_night
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe
from hypnostream.training.recipe import overridden
from hypnostream.training.running.many import Failed, run_each
from hypnostream.training.running.run import Run
from hypnostream.training.staging.evaluate import predict, score, under
from hypnostream.training.staging.mean_token import settle_mean_token
from hypnostream.training.staging.members import scale_of, with_seed
from hypnostream.training.staging.predict_tokens import from_token_nights
from hypnostream.training.staging.pretrained import pretrained
from hypnostream.training.staging.stager_task import StagerSettings, StagerTask

MEASURES = ("accuracy", "macro_f1", "kappa")


@dataclass(frozen=True, slots=True)
class Arm:
    """`set` changes the comparison's `fit`, as `--set` would. `labels` is the share of the labels that is learned from;
    `pretrained`: beginning with what was learned without any label."""

    name: str
    set: tuple[str, ...] = ()
    labels: float = 1.0
    pretrained: bool = False

    def __post_init__(self) -> None:
        above(0, self, "labels")
        between(0, 1, self, "labels")


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a recipe of a comparison holds. `conditions` are names of `missing.CONDITIONS`; none: all of them."""

    title: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    fold: int = 1
    conditions: tuple[str, ...] = ()
    fit: StagerSettings = field(default_factory=StagerSettings)
    pretrain: SynthSleepNetRecipe = field(default_factory=SynthSleepNetRecipe)

    def __post_init__(self) -> None:
        at_least(0, self, "seeds", "fold")
        if not self.seeds:
            raise ValueError("seeds is []; it must be one or more")
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names) or not names:
            raise UserError(f"arms {names} of {self.title!r}: there must be some, each with a name of its own")
        unknown = set(self.conditions) - {condition.name for condition in CONDITIONS}
        if unknown:
            known = ", ".join(condition.name for condition in CONDITIONS)
            raise UserError(f"conditions {sorted(unknown)} of {self.title!r} are not known; known are {known}")


@dataclass(frozen=True, slots=True)
class Trial:
    """One arm with one seed: who it learns from, who it is judged on, where it is written."""

    comparison: Comparison
    arm: Arm
    seed: int
    train: tuple[Path, ...]
    test: tuple[Path, ...]
    folder: Path


Scores = dict[str, dict[str, float]]  # condition -> measure -> value


def trials(comparison: Comparison, train: Sequence[Path], test: Sequence[Path], out: Path) -> list[Trial]:
    """Seed by seed, so that a comparison that is cut short has all arms with fewer seeds, not some arms."""
    return [
        Trial(comparison, arm, seed, tuple(train), tuple(test), out / _plain(arm.name) / f"seed{seed}")
        for seed in comparison.seeds
        for arm in comparison.arms
    ]


def run_trials(
    todo: Sequence[Trial], workers: int, progress: Callable[[int, int, str], None] = lambda *_: None
) -> list[Scores]:
    """Train and judge all; raises UserError, when the others are done, if one could not be."""
    found: dict[int, Scores] = {}
    failed = []
    progress(0, len(todo), "")
    for done, (index, result) in enumerate(run_each(run_trial, todo, workers), start=1):
        if isinstance(result, Failed):
            failed.append(f"{todo[index].folder}: {result.message}")
        else:
            found[index] = result
        progress(done, len(todo), f"{todo[index].arm.name}, seed {todo[index].seed}")
    if failed:
        raise UserError("; ".join(failed))
    return [found[index] for index in range(len(todo))]


def run_trial(trial: Trial) -> Scores:
    """Train one, or go on with it, or find it done; judge it under each condition.

    `predictions.parquet`, for `train evaluate`, is what it says with all that was recorded.
    """
    torch.set_num_threads(1)
    scores = trial.folder / "scores.json"
    settings = with_seed(overridden(trial.comparison.fit, trial.arm.set), trial.seed)
    nights = [read_token_night(path) for path in trial.train]
    asked = replace(trial.comparison, fit=settings, arms=(trial.arm,), seeds=(trial.seed,))  # others may join later
    run = Run(trial.folder, asked, {night.name: night.source_sha256 for night in nights})
    if scores.exists():
        found: Scores = json.loads(scores.read_text(encoding="utf-8"))
        return found
    scaled_by = scale_of(nights)
    task = StagerTask(_with_labels(nights, trial.arm.labels, trial.seed), settings, scaled_by)
    if trial.arm.pretrained:
        begun = pretrained(trial.folder / "pretrained", nights, settings, trial.comparison.pretrain, scaled_by)
        task.module.stager.take(begun)
    run.train(task, settings.loop)
    settle_mean_token(task.module.stager, nights)
    test = [read_token_night(path) for path in trial.test]
    model = StagerEnsemble([task.module.stager]).cpu()
    causal = settings.model.context != "bidirectional"
    said = PredictionSet(tuple(from_token_nights(model, test)), trial.arm.name, causal)
    write_predictions(trial.folder / "predictions.parquet", said)
    found = {}
    for condition in CONDITIONS:
        if condition.name in trial.comparison.conditions or not trial.comparison.conditions:
            agreed = score(test, predict(model, under(condition, test)))
            found[condition.name] = {name: float(getattr(agreed, name)) for name in MEASURES}
    write_atomically(scores, json.dumps(found, indent=2).encode())
    return found


def _with_labels(nights: Sequence[TokenNight], share: float, seed: int) -> list[TokenNight]:
    """The nights with all labels but a share of them taken away."""
    if share == 1:
        return list(nights)
    given = labelled_share(nights, share, seed)
    return [replace(n, stage=np.where(given[n.name], n.stage, -1).astype(np.int8)) for n in nights]


def tables(comparison: Comparison, todo: Sequence[Trial], found: Sequence[Scores], data: str) -> str:
    """Markdown: a table a measure, a row an arm, a column a condition: mean and, of several seeds, their spread.

    `data` says whose nights they are.
    """
    columns = list(found[0])
    parts = [f"## {comparison.title}", data]
    for measure in MEASURES:
        best = {c: max(_mean(arm, c, measure, todo, found)[0] for arm in comparison.arms) for c in columns}
        lines = [f"**{measure}**", "", "| arm | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
        for arm in comparison.arms:
            cells = []
            for condition in columns:
                mean, spread = _mean(arm, condition, measure, todo, found)
                text = f"{mean:.3f}" + (f" ± {spread:.3f}" if len(comparison.seeds) > 1 else "")
                cells.append(f"**{text}**" if mean == best[condition] else text)
            lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _mean(
    arm: Arm, condition: str, measure: str, todo: Sequence[Trial], found: Sequence[Scores]
) -> tuple[float, float]:
    values = [scores[condition][measure] for trial, scores in zip(todo, found, strict=True) if trial.arm == arm]
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _plain(name: str) -> str:
    """A name for a folder."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)
