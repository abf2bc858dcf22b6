"""What losing sensors costs a cross-validated stager: each condition of `damage.missing`, the mean over the folds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hypnostream.engine.agreement import Agreement
from hypnostream.engine.torch_backend import load_weights
from hypnostream.errors import UserError
from hypnostream.training.damage.missing import CONDITIONS
from hypnostream.training.nights.token_night import read_token_night
from hypnostream.training.running.many import Failed, run_each
from hypnostream.training.staging.evaluate import predict, score, under

MEASURES = ("accuracy", "kappa", "macro_f1")


@dataclass(frozen=True, slots=True)
class Fold:
    """A fold's weights, and the files of the nights that they have not seen."""

    weights: Path
    tested: tuple[Path, ...]


def mean_under_loss(
    folds: Sequence[Fold], workers: int, progress: Callable[[int, int, str], None] = lambda *_: None
) -> dict[str, dict[str, float]]:
    """By condition the mean over the folds of `MEASURES`; without those that are 0/0 in a fold.

    Only nights that have every channel at some time count; {} where a fold has none, as nothing can be lost there that
    was not missing before. Raises UserError when a fold cannot be judged.
    """
    found: dict[int, dict[str, Agreement]] = {}
    for place, result in run_each(judged, folds, workers):
        if isinstance(result, Failed):
            raise UserError(f"{folds[place].weights} could not be judged: {result.message}")
        found[place] = result
        progress(len(found), len(folds), folds[place].weights.parent.name)
    each = list(found.values())
    if not all(each):
        return {}
    return {condition: _mean([fold[condition] for fold in each]) for condition in each[0]}


def judged(fold: Fold) -> dict[str, Agreement]:
    """One fold under each condition; {} without a night that has every channel at some time."""
    torch.set_num_threads(1)
    nights = [night for night in map(read_token_night, fold.tested) if night.mask.any(0).all()]
    model = load_weights(fold.weights)
    if not nights:
        return {}
    return {each.name: score(nights, predict(model, under(each, nights))) for each in CONDITIONS}


def sensors_lost_table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a line a condition, and how far its κ is below that with all that was recorded."""
    whole = found[CONDITIONS[0].name].get("kappa")
    lines = ["| sensors lost | accuracy | κ | macro-F1 | κ lost |", "|---|---:|---:|---:|---:|"]
    for condition, values in found.items():
        figures = [values.get(name) for name in MEASURES]
        kappa = values.get("kappa")
        figures.append(None if whole is None or kappa is None else whole - kappa)
        lines.append(f"| {condition} | " + " | ".join("–" if v is None else f"{v:.3f}" for v in figures) + " |")
    return "\n".join(lines) + "\n"


def _mean(folds: Sequence[Agreement]) -> dict[str, float]:
    values = {name: [getattr(found, name) for found in folds] for name in MEASURES}
    return {name: sum(each) / len(each) for name, each in values.items() if None not in each}
