"""`hypnostream train breathing`: from a store to the learned model of breathing, what it reaches, and a bundle with it.

OUT/nights            what the model is given of each recording, and simulated nights
OUT/fold0 ... fold4   runs that hold a fold of people out, with scores.json
OUT/all               the run on everyone but HELD_OUT
OUT/results.md, .json what the folds reached
OUT/bundle            the bundle that was given, with the model of all in it
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import msgspec
import torch
from safetensors.torch import load_file

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.bundle import default_bundle_path
from hypnostream.errors import UserError
from hypnostream.models.breathing_detector import BreathingDetector
from hypnostream.ranges import at_least, inside
from hypnostream.stream.simulator import NightSettings
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.training.breathing.tick_export import bundle_with_tick
from hypnostream.training.breathing.tick_night import TickNight, read_tick_nights, write_tick_night
from hypnostream.training.breathing.tick_nights import make_tick_nights, tick_night
from hypnostream.training.breathing.tick_results import as_markdown, card_of, held_out_of, metrics_of
from hypnostream.training.breathing.tick_scores import MinuteRate, TickScore, scored
from hypnostream.training.breathing.tick_task import TickSettings, TickTask
from hypnostream.training.nights.splits import Split, folds, split_by_subject, write_split
from hypnostream.training.recipe import load_settings, recipe_path, sizes_of
from hypnostream.training.recordings.simulated import SET_NAME, simulated_recording
from hypnostream.training.running.distributed import alone
from hypnostream.training.running.many import Failed, run_each
from hypnostream.training.running.progress import Progress, told
from hypnostream.training.running.run import Run
from hypnostream.training.staging.held_out import HELD_OUT

SCORES = "scores.json"
RATE_HZ = 200  # of simulated EEG and ECG: as conditioning wants the ECG
_MOST_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class SimulatedSettings:
    """Sleepers that are simulated and learned from: `nights` of `hours`, event rates an hour taken in turn.

    The first is seed `first_seed`; tests and tables use others.
    """

    nights: int = 20
    hours: float = 4.0
    events_per_hour: tuple[float, ...] = (2.0, 8.0, 15.0, 25.0, 35.0, 45.0, 5.0, 20.0)
    first_seed: int = 100

    def __post_init__(self) -> None:
        at_least(0, self, "nights", "events_per_hour", "first_seed")
        inside(0, 7 * 24, self, "hours")
        if not self.events_per_hour:
            raise ValueError("events_per_hour is []; it must be one or more rates")


@dataclass(frozen=True, slots=True)
class BreathingRecipe:
    """`learned` sets are split by person and learned from; `transfer` sets are tested in each fold and never learned
    from, the bundle's model apart: where nobody says who is who, no split is honest."""

    folds: int = 5
    learned: tuple[str, ...] = (
        "HuGCDN2014-OXI",
        "MIT-BIH Polysomnographic",
        "Santa Fe B",
        "CPAP flow",
        "UCDDB",
        SET_NAME,
    )
    transfer: tuple[str, ...] = ("Apnea-ECG",)
    fit: TickSettings = field(default_factory=TickSettings)
    simulated: SimulatedSettings = field(default_factory=SimulatedSettings)

    def __post_init__(self) -> None:
        at_least(2, self, "folds")


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: `fold` is who is held out; None is the run for the bundle, on everyone but HELD_OUT."""

    recipe: BreathingRecipe
    nights: Path
    out: Path
    fold: int | None

    @property
    def folder(self) -> Path:
        """Where it is written."""
        return self.out / ("all" if self.fold is None else f"fold{self.fold}")


@dataclass(frozen=True, slots=True)
class Reached:
    """What a fold reached."""

    fold: int
    scores: tuple[TickScore, ...]
    rates: tuple[MinuteRate, ...]


def breathing_command(store: Path, out: Path, recipe: str, workers: int, bundle: Path | None) -> None:
    """Nights, folds, the model of all, tables and bundle; what is done already stays."""
    alone()
    settings = load_settings(recipe_path(recipe), BreathingRecipe)
    with sizes_of(recipe), torch.device("meta"):
        BreathingDetector(settings.fit.model)
    with told("nights") as progress:
        make_tick_nights(store, out / "nights", progress)
        make_simulated(settings.simulated, out / "nights", progress)
    trials = [Trial(settings, out / "nights", out, fold) for fold in (*range(settings.folds), None)]
    with told("breathing") as progress:
        reached = run_trials(trials, workers, progress)
    write_atomically(out / "results.json", json.dumps([asdict(each) for each in reached], indent=2).encode())
    write_atomically(out / "results.md", as_markdown(reached).encode())
    split = split_of(read_tick_nights(out / "nights"), settings, None)
    task = TickTask(split.train, settings.fit)
    task.module.load_state_dict(load_file(trials[-1].folder / "weights.safetensors"))
    card, metrics = card_of(split, reached), metrics_of(reached)
    training = {
        "breathing_sets": ", ".join(sorted({night.set_name for night in split.train})),
        "breathing_held_out": ", ".join(held_out_of(split)) or "nobody",
    }
    worst = bundle_with_tick(bundle or default_bundle_path(), out / "bundle", task.module, card, training, metrics)
    print(f"results: {out / 'results.md'}; bundle: {out / 'bundle'}, parity {worst:.1e}")


def sleeper(hours: float, events_per_hour: float) -> NightSettings:
    """A simulated night with physiology."""
    return NightSettings(hours * 3600, events_per_hour=events_per_hour, breathing=BreathingSettings(), rate_hz=RATE_HZ)


def make_simulated(settings: SimulatedSettings, out: Path, progress: Progress) -> None:
    """Write the simulated nights that are not there yet."""
    for place in range(settings.nights):
        seed = settings.first_seed + place
        progress(place, settings.nights, f"simulated-{seed}")
        if not (out / f"simulated-{seed}.safetensors").exists():
            rate = settings.events_per_hour[place % len(settings.events_per_hour)]
            night = tick_night(simulated_recording(sleeper(settings.hours, rate), seed))
            if night is not None:
                write_tick_night(out, night)


def run_trials(trials: Sequence[Trial], workers: int, progress: Progress) -> list[Reached]:
    """Train, or go on, or find done; what the folds reached. Raises UserError when one could not be done."""
    reached, failed = list[Reached](), list[str]()
    for done, (place, result) in enumerate(run_each(run_trial, trials, workers), 1):
        if isinstance(result, Failed):
            failed.append(f"{trials[place].folder}: {result.message}")
        elif result is not None:
            reached.append(result)
        progress(done, len(trials), trials[place].folder.name)
    if failed:
        raise UserError("; ".join(failed))
    return sorted(reached, key=lambda each: each.fold)


def run_trial(trial: Trial) -> Reached | None:
    """Train one model, and test it on whom it holds out."""
    torch.set_num_threads(1)
    recipe, nights = trial.recipe, read_tick_nights(trial.nights)
    split = split_of(nights, recipe, trial.fold)
    run = Run(trial.folder, recipe, {night.name: night.source_sha256 for night in (*split.train, *split.test)})
    write_split(trial.folder / "split.json", split)
    path = trial.folder / SCORES
    if path.exists():
        return read_reached(path)
    task = TickTask(split.train, recipe.fit)
    run.train(task, recipe.fit.loop)
    if trial.fold is None:
        return None
    scores, rates = scored(task.module, split.train, split.test)
    reached = Reached(trial.fold, tuple(scores), tuple(rates))
    write_atomically(path, json.dumps(asdict(reached)).encode())
    return reached


def read_reached(path: Path) -> Reached:
    """What a fold wrote. Raises UserError when the file is none of ours."""
    try:
        return msgspec.json.decode(read_bounded(path, _MOST_BYTES), type=Reached)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{path} holds no scores: {error}; remove it, and run again") from error


def learned_from(nights: Sequence[TickNight], recipe: BreathingRecipe) -> list[TickNight]:
    """Those of the sets that are learned from. Raises UserError when there are none."""
    mine = [night for night in nights if night.set_name in recipe.learned]
    if not mine:
        raise UserError(f"none of the nights is of {', '.join(recipe.learned)}; ingest one of these sets")
    return mine


def split_of(nights: Sequence[TickNight], recipe: BreathingRecipe, fold: int | None) -> Split[TickNight]:
    """Who is learned from and who is tested; simulated sleepers are split like people.

    What a bundle gets (`fold` None) never learns from HELD_OUT, as its stager does not: so that night is new to all of
    the bundle. Raises UserError when nobody else is there.
    """
    mine = learned_from(nights, recipe)
    away = sorted((night for night in nights if night.set_name in recipe.transfer), key=lambda night: night.name)
    if fold is None:
        person = {night.subject for night in mine if night.name == HELD_OUT}
        split = split_by_subject(mine, lambda night: night.subject in person)
        if not split.train:
            raise UserError(f"{HELD_OUT} alone is there, and it is held out; ingest other nights too")
        return replace(split, test=(*split.test, *away))
    split = folds(mine, recipe.folds, 0, stratum)[fold]
    return replace(split, test=(*split.test, *away))


def stratum(night: TickNight) -> str:
    """A night's set, and how the set's own name of the sleeper begins: HuGCDN has C, D and ND, by how ill they are."""
    own = re.match("[A-Za-z]*", night.subject.partition(":")[2])
    return f"{night.set_name} {own.group() if own else ''}"
