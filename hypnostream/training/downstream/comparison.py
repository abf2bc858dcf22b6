"""Each way to a detector with each share of the labels and each seed: what of it is done stays done.

A seed holds out a fold of people of its own, so that over the seeds each person is tested once, and draws its own share
of the labels from the others. Folder: `split0.json` who is where, `seed0/pretrained` the encoder that was learned
without labels, `seed0/ARM-SHARE/` a run, with `scores.json` when it is done.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError
from hypnostream.ranges import above, at_least, between
from hypnostream.training.downstream.doubted import doubted_nights, with_doubted
from hypnostream.training.downstream.event_night import EventNight, read_event_nights
from hypnostream.training.downstream.event_task import EventSettings, EventTask, probabilities
from hypnostream.training.downstream.frozen import probed
from hypnostream.training.downstream.pretrained import PretrainSettings, load_pretrained, pretrain
from hypnostream.training.downstream.scores import Score, judged
from hypnostream.training.downstream.shares import event_folds, given_labels
from hypnostream.training.nights.label_share import FRACTIONS, SEEDS
from hypnostream.training.nights.splits import Split, write_split
from hypnostream.training.pretraining.probe import ProbeSettings
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.running.many import Failed, run_each
from hypnostream.training.running.progress import Progress
from hypnostream.training.running.run import WEIGHTS, Run

FROM_SCRATCH, FINE_TUNED, ON_FROZEN = "from scratch", "fine-tuned", "context on frozen"
PROBE, PROBE_UNTRAINED = "probe", "probe of untrained"
ARMS = (FROM_SCRATCH, FINE_TUNED, ON_FROZEN, PROBE, PROBE_UNTRAINED)
PRETRAINED = {FINE_TUNED, ON_FROZEN, PROBE}
SCORES, DOUBTED_SCORES = "scores.json", "scores-doubted.json"
DOUBTED_NIGHTS = "doubted"  # a folder beside that of the nights
_MOST_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class DownstreamRecipe:
    """A whole comparison; the file's tables are these fields. `transfer`: sets that are tested and not learned from.

    Apnea-ECG is such a set: 70 records of 32 people, and nobody says who is who, so it cannot be split.
    """

    arms: tuple[str, ...] = ARMS
    fractions: tuple[float, ...] = FRACTIONS
    seeds: tuple[int, ...] = SEEDS
    folds: int = 5
    transfer: tuple[str, ...] = ("Apnea-ECG",)
    fit: EventSettings = field(default_factory=EventSettings)
    pretrain: PretrainSettings = field(default_factory=PretrainSettings)
    probe: ProbeSettings = field(default_factory=lambda: ProbeSettings(passes=15))

    def __post_init__(self) -> None:
        unknown = set(self.arms) - set(ARMS)
        if unknown or not (self.arms and self.fractions and self.seeds):
            raise UserError(f"arms {sorted(unknown)} are not known; known are {', '.join(ARMS)}; name one or more")
        at_least(0, self, "seeds")
        at_least(2, self, "folds")
        above(0, self, "fractions")
        between(0, 1, self, "fractions")


@dataclass(frozen=True, slots=True)
class Trial:
    """One arm with one share and one seed; `arm` "" is the pretraining of a seed."""

    recipe: DownstreamRecipe
    nights: Path
    out: Path
    arm: str
    fraction: float
    seed: int

    @property
    def folder(self) -> Path:
        """Where it is written."""
        base = self.out / f"seed{self.seed}"
        return base / f"{self.arm.replace(' ', '-')}-{self.fraction:g}" if self.arm else base / "pretrained"


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a trial; `probe` is "linear" or "mlp", "" for a trained detector."""

    arm: str
    probe: str
    fraction: float
    seed: int
    scores: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes a trial the same trial."""

    arm: str
    fraction: float
    seed: int
    folds: int
    transfer: tuple[str, ...]
    fit: EventSettings
    pretrain: PretrainSettings
    probe: ProbeSettings


def compare(nights: Path, out: Path, recipe: DownstreamRecipe, workers: int, progress: Progress) -> list[Found]:
    """All trials, those that are done read from their files. Who is where is written first: `split0.json`, ...

    Raises UserError, when the others are done, if one could not be done.
    """
    for index, split in enumerate(_splits(read_event_nights(nights), recipe)):
        write_split(out / f"split{index}.json", split)
    first = [Trial(recipe, nights, out, "", 1.0, seed) for seed in recipe.seeds]
    # Share by share within a seed, seed after seed: a comparison that is cut short has all arms with fewer seeds.
    then = [Trial(recipe, nights, out, a, f, s) for s in recipe.seeds for f in recipe.fractions for a in recipe.arms]
    needed = first if PRETRAINED & set(recipe.arms) else []
    found: list[Found] = []
    failed: list[str] = []
    done = 0
    for part in (needed, then):
        for place, result in run_each(run_trial, part, workers):
            done += 1
            if isinstance(result, Failed):
                failed.append(f"{part[place].folder}: {result.message}")
            else:
                found += result
            progress(done, len(needed) + len(then), str(part[place].folder.relative_to(out)))
        if failed:
            raise UserError("; ".join(failed))
    return found


def run_trial(trial: Trial) -> list[Found]:
    """Train, or go on, or find it done."""
    torch.set_num_threads(1)
    recipe = with_seed(trial.recipe, trial.seed)
    split = _splits(read_event_nights(trial.nights), recipe)[trial.seed % recipe.folds]
    train, test = list(split.train), list(split.test)
    if not trial.arm:
        pretrain(trial.folder, train, recipe.pretrain, recipe.fit.model.encoder)
        return []
    asked = _Asked(
        trial.arm, trial.fraction, trial.seed, recipe.folds, recipe.transfer, recipe.fit, recipe.pretrain, recipe.probe
    )
    run = Run(trial.folder, asked, {night.name: night.source_sha256 for night in (*train, *test)})
    path = trial.folder / SCORES
    if path.exists():
        return [*read_found(path), *_with_doubted(trial, run, split)]
    given = given_labels(train, trial.fraction, trial.seed)
    task = EventTask(train, recipe.fit, given, statistics_of=train)
    if trial.arm in PRETRAINED:
        load_pretrained(task.module.encoder, trial.out / f"seed{trial.seed}" / "pretrained" / WEIGHTS)
    if trial.arm == ON_FROZEN:
        task.module.encoder.requires_grad_(False)
    if trial.arm in (PROBE, PROBE_UNTRAINED):
        told: list[str] = []
        by_kind = probed(task.module, train, given, test, recipe.probe, told.append)
        found = [Found(trial.arm, k, trial.fraction, trial.seed, tuple(v)) for k, v in by_kind.items()]
        write_atomically(trial.folder / "left-out.json", json.dumps(told).encode())
    else:
        run.train(task, recipe.fit.loop)
        reached = judged(lambda night: probabilities(task.module, night), train, given, test)
        found = [Found(trial.arm, "", trial.fraction, trial.seed, tuple(reached))]
    write_atomically(path, json.dumps([asdict(each) for each in found]).encode())
    return [*found, *_with_doubted(trial, run, split)]


def _with_doubted(trial: Trial, run: Run, split: Split[EventNight]) -> list[Found]:
    """What a trained detector reaches when the labels that do not fit count too; nothing where there are none, or of
    probes."""
    doubted, path = doubted_nights(trial.out / DOUBTED_NIGHTS), trial.folder / DOUBTED_SCORES
    if not doubted or not run.weights.exists():
        return []
    if path.exists():
        return read_found(path)
    recipe, train = with_seed(trial.recipe, trial.seed), list(split.train)
    given = given_labels(train, trial.fraction, trial.seed)
    module = EventTask(train, recipe.fit, given, statistics_of=train).module
    module.load_state_dict(load_file(run.weights))
    test = with_doubted(split.test, doubted, trial.seed % recipe.folds, recipe.folds)
    reached = judged(lambda night: probabilities(module, night), train, given, test)
    found = [Found(trial.arm, "", trial.fraction, trial.seed, tuple(reached))]
    write_atomically(path, json.dumps([asdict(each) for each in found]).encode())
    return found


def read_found(path: Path) -> list[Found]:
    """What a trial wrote. Raises UserError when the file is none of ours."""
    try:
        return msgspec.json.decode(read_bounded(path, _MOST_BYTES), type=list[Found])
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{path} holds no scores: {error}; remove it, and run again") from error


def with_seed(recipe: DownstreamRecipe, seed: int) -> DownstreamRecipe:
    """The same recipe from another beginning."""

    def seeded(loop: LoopSettings) -> LoopSettings:
        return replace(loop, seed=seed)

    return replace(
        recipe,
        fit=replace(recipe.fit, loop=seeded(recipe.fit.loop)),
        pretrain=replace(recipe.pretrain, loop=seeded(recipe.pretrain.loop)),
        probe=replace(recipe.probe, seed=seed),
    )


def _splits(nights: Sequence[EventNight], recipe: DownstreamRecipe) -> list[Split[EventNight]]:
    return event_folds(nights, recipe.folds, recipe.transfer)
