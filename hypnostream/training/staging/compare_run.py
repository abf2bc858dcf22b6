"""`hypnostream train compare`: a comparison from a recipe to its table."""

import json
from dataclasses import asdict
from pathlib import Path

from hypnostream.bridges.atomic import write_atomically
from hypnostream.errors import UserError
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.training.nights.splits import sleep_edf_fold, split_by_subject, write_split
from hypnostream.training.recipe import load_settings, overridden, recipe_path, sizes_of
from hypnostream.training.running.distributed import alone
from hypnostream.training.running.progress import told
from hypnostream.training.staging.commands import staged_nights
from hypnostream.training.staging.compare import Comparison, run_trials, tables, trials
from hypnostream.training.staging.held_out import in_fold
from hypnostream.training.staging.stager_task import Trained


def compare_command(data: Path, out: Path, recipe: str, workers: int) -> None:
    """Ingest, train and judge what is not there yet; writes results.md and results.json, and prints the first."""
    alone()
    comparison = load_settings(recipe_path(recipe), Comparison)
    with sizes_of(recipe):
        for arm in comparison.arms:
            Trained(overridden(comparison.fit, arm.set))
        SynthSleepNet(1, 1, comparison.pretrain.model)
    nights = [(path, n) for path, n in staged_nights(data, out, workers) if sleep_edf_fold(n) is not None]
    split = split_by_subject([night for _, night in nights], in_fold(comparison.fold))
    if not split.train or not split.test:
        raise UserError(f"{data} has no Sleep-EDF nights on both sides of fold {comparison.fold}; choose another fold")
    write_split(out / "manifest.json", split)
    tested = {night.name for night in split.test}
    todo = trials(
        comparison,
        [path for path, night in nights if night.name not in tested],
        [path for path, night in nights if night.name in tested],
        out,
    )
    with told("compare") as progress:
        found = run_trials(todo, workers, progress)
    people = (len({night.subject for night in side}) for side in (split.train, split.test))
    data_line = "Sleep-EDF SC, real, {} people trained on, {} judged; fold {}; seeds {}; causal unless said.".format(
        *people, comparison.fold, ", ".join(map(str, comparison.seeds))
    )
    text = tables(comparison, todo, found, data_line)
    content = {
        "data": data_line,
        "trials": [
            {"arm": asdict(trial.arm), "seed": trial.seed, "scores": scores}
            for trial, scores in zip(todo, found, strict=True)
        ],
    }
    write_atomically(out / "results.json", json.dumps(content, indent=2).encode())
    write_atomically(out / "results.md", text.encode())
    print(text)
