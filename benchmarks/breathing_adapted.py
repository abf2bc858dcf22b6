"""What the learned model of breathing gains on beats from recordings of the place where it is used: Apnea-ECG.

    python -m benchmarks.breathing_adapted RUN     # what `hypnostream train breathing` wrote

The model of all, which never saw this set, is trained further on four fifths of the recordings and tested on the rest.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.report import heading, table
from hypnostream.models.breathing_detector import QUESTIONS, BreathingDetector
from hypnostream.training.breathing.tick_night import TickNight, read_tick_nights
from hypnostream.training.breathing.tick_run import BreathingRecipe
from hypnostream.training.breathing.tick_scores import with_halves
from hypnostream.training.breathing.tick_task import TickTask, probabilities
from hypnostream.training.evaluation.binary import binary_metrics
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.running.loop import train

SET_NAME = "Apnea-ECG"
FOLDS, PASSES, LEARNING_RATE = 5, 6, 2e-3
MINUTE = QUESTIONS.index("event_in_minute")
MEASURES = ("majority_rate", "accuracy", "mcc", "kappa", "auprc", "auroc", "f1")
METHOD = (
    f"{SET_NAME}, real, beats alone, a label a minute, asked 60 s after it. Recordings in {FOLDS} folds, those of each "
    "class (a, b, c) dealt evenly; each is tested once. The set does not say who of its 32 people is who, so a person "
    f"may be on both sides: this tells what recordings of one's own place are worth, not strangers. {PASSES} passes "
    f"over the recordings learned from, learning rate {LEARNING_RATE:g}. The threshold is that of the largest accuracy "
    "on the recordings learned from. Means over the folds, and their spread."
)
Answers = tuple[NDArray[np.int8], NDArray[np.float32]]


def answers(detector: BreathingDetector, nights: Sequence[TickNight]) -> Answers:
    """Labels and probabilities of all minutes of these nights."""
    labels, said = [], []
    for night, each in zip(nights, probabilities(detector, nights), strict=True):
        target = night.target()[:, MINUTE]
        known = (target >= 0) & night.mask.any(axis=1)
        labels.append(target[known])
        said.append(with_halves(each)[known, MINUTE])
    return np.concatenate(labels), np.concatenate(said)


def most_accurate(labels: NDArray[np.int8], said: NDArray[np.float32]) -> float:
    """The threshold of the largest accuracy."""
    tried = np.linspace(0.02, 0.98, 97)
    return float(tried[np.argmax([((said >= threshold) == labels).mean() for threshold in tried])])


def measured(detector: BreathingDetector, learned: Sequence[TickNight], tested: Sequence[TickNight]) -> list[float]:
    """MEASURES on the nights that are tested."""
    labels, said = answers(detector, tested)
    found = binary_metrics(labels, said, most_accurate(*answers(detector, learned)))
    return [getattr(found, name) for name in MEASURES]


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    torch.set_num_threads(1)
    fit = load_settings(recipe_path("breathing"), BreathingRecipe).fit
    fit = replace(fit, lose=0.0, loop=replace(fit.loop, passes=PASSES, learning_rate=LEARNING_RATE, warmup_steps=10))
    nights = [night for night in read_tick_nights(run / "nights") if night.set_name == SET_NAME]
    dealt = sorted(nights, key=lambda night: (night.name.split("-")[1][0], night.source_sha256))  # by class, as by lot
    heading("Breathing from beats, with recordings of one's own", METHOD)
    rows: dict[str, list[list[float]]] = {"as it comes": [], "trained further": []}
    for fold in range(FOLDS):
        tested = dealt[fold::FOLDS]
        learned = [night for night in dealt if night not in tested]
        task = TickTask(learned, fit)
        task.module.load_state_dict(load_file(run / "all" / "weights.safetensors"))
        rows["as it comes"].append(measured(task.module, learned, tested))
        train(task, fit.loop)
        rows["trained further"].append(measured(task.module, learned, tested))
    table(
        ["model", *(name.replace("_", " ") for name in MEASURES)],
        (
            [name, *(f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}" for v in zip(*folds, strict=True))]
            for name, folds in rows.items()
        ),
    )


if __name__ == "__main__":
    main()
