"""Yes-or-no tasks over many nights: pooled figures, each with the interval over subjects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.training.evaluation.binary import BinaryAgreement, areas_of_counts, binary_metrics
from hypnostream.training.evaluation.calibration import equal_mass_bins
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.staging import calibration_error, calibration_sums
from hypnostream.training.evaluation.subjects import Estimate, Resampling, intervals

LEVELS = 512  # of probability, in which the draws rank answers; the figures themselves rank them exactly
OF_CONFUSION = ("accuracy", "majority_rate", "balanced_accuracy", "mcc", "kappa", "f1", "sensitivity", "specificity")


@dataclass(frozen=True, slots=True)
class Task:
    """One task at one clock: `every_s` seconds an answer. `intervals` are of the figures in `agreement`, by name."""

    name: str
    every_s: int
    nights: int
    subjects: int
    agreement: BinaryAgreement
    intervals: Mapping[str, Estimate]


def binary_tasks(nights: Sequence[NightPrediction], threshold: float = 0.5) -> list[Task]:
    """All tasks that any night has, apart by name and by clock."""
    keys = sorted({(name, night.binary_s) for night in nights for name in night.binary})
    return [_task(name, every_s, nights, threshold) for name, every_s in keys]


def _task(name: str, every_s: int, nights: Sequence[NightPrediction], threshold: float) -> Task:
    chosen = [night for night in nights if night.binary_s == every_s and name in night.binary]
    pairs = [night.binary[name] for night in chosen]
    agreement = binary_metrics(np.concatenate([y for y, _ in pairs]), np.concatenate([p for _, p in pairs]), threshold)
    known = [(y >= 0) & ~np.isnan(p) for y, p in pairs]
    kept = [(y[mask] == 1, p[mask].astype(np.float64)) for (y, p), mask in zip(pairs, known, strict=True)]
    resampling = Resampling(chosen)
    found = dict[str, Estimate]()
    if agreement.n and len(resampling.subjects) > 1:
        confusions = np.stack([_confusion(truth, p >= threshold) for truth, p in kept])
        drawn = figures_of_confusion(resampling.draws(confusions))
        found |= _named(agreement, OF_CONFUSION, drawn)
        pooled = np.concatenate([p for _, p in kept])
        ranks = _split(equal_mass_bins(pooled, LEVELS), kept)
        counts = [np.stack([np.bincount(rank[truth == yes], minlength=LEVELS) for yes in (False, True)])
                  for rank, (truth, _) in zip(ranks, kept, strict=True)]  # fmt: skip
        found |= _named(agreement, ("auroc", "auprc"), _areas(resampling.draws(np.stack(counts))))
        bins = _split(equal_mass_bins(pooled), kept)
        sums = np.stack([calibration_sums(which, p, truth) for which, (truth, p) in zip(bins, kept, strict=True)])
        found |= _named(agreement, ("ece",), calibration_error(resampling.draws(sums))[:, None])
    return Task(name, every_s, len(chosen), len(resampling.subjects), agreement, found)


def figures_of_confusion(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """OF_CONFUSION of counts (..., truth, answer): (..., 8), NaN where 0/0."""
    tn, fp, fn, tp = (counts[..., i, j] for i in (0, 1) for j in (0, 1))
    yes, no, n = tp + fn, tn + fp, counts.sum((-2, -1))
    by_chance = yes * (tp + fp) + no * (tn + fn)
    sensitivity, specificity = _ratio(tp, yes), _ratio(tn, no)
    each = (
        _ratio(tp + tn, n),
        _ratio(np.maximum(yes, no), n),
        (sensitivity + specificity) / 2,
        _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tn + fn) * yes * no)),
        _ratio(n * (tp + tn) - by_chance, n * n - by_chance),
        _ratio(2 * tp, 2 * tp + fp + fn),
        sensitivity,
        specificity,
    )
    return np.stack(each, -1)


def _confusion(truth: NDArray[np.bool_], positive: NDArray[np.bool_]) -> NDArray[np.int64]:
    counts = np.zeros((2, 2), np.int64)
    np.add.at(counts, (truth.astype(np.int64), positive.astype(np.int64)), 1)
    return counts


def _areas(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(AUROC, AUPRC) of each draw's counts (draws, 2, LEVELS), from the lowest level up: (draws, 2)."""
    above = counts[..., ::-1].cumsum(-1)
    found = np.full((len(counts), 2), np.nan)
    for row, (no, yes) in enumerate(above):
        auroc, auprc = areas_of_counts(yes, no)
        found[row] = [np.nan if value is None else value for value in (auroc, auprc)]
    return found


def _named(agreement: BinaryAgreement, names: Sequence[str], drawn: NDArray[np.float64]) -> dict[str, Estimate]:
    values = [getattr(agreement, name) for name in names]
    numbers = np.array([np.nan if value is None else value for value in values], np.float64)
    return dict(zip(names, intervals(numbers, drawn), strict=True))


def _split(
    pooled: NDArray[np.int64], kept: Sequence[tuple[NDArray[np.bool_], NDArray[np.float64]]]
) -> list[NDArray[np.int64]]:
    return np.split(pooled, np.cumsum([len(p) for _, p in kept])[:-1])


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(whole != 0, part / np.where(whole != 0, whole, 1), np.nan)
