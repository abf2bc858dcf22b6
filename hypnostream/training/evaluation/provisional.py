"""What was said on the way: how right each second of the epoch already is, and how often it changes until the end."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.evaluation.calibration import equal_mass_bins
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.staging import (
    COUNT,
    answers,
    calibration_error,
    calibration_sums,
    confusion,
    figures,
    left_out,
)
from hypnostream.training.evaluation.subjects import Estimate, Resampling, defined


@dataclass(frozen=True, slots=True)
class Provisional:
    """Each of the first lists has an entry a second, 1 to 30.

    `answered` is the share of epochs of which anything is said yet: a window with too little signal has no answer.
    `accuracy` and `kappa` count an epoch without one as wrong. `flip_rate` is the share of answers
    that are not what is said at the end, `ece` their calibration. An epoch is stable from the first second after
    which its answer never changes: `stable_by` is the share of epochs that are by each second,
    `seconds_to_stable` the mean and `median_seconds_to_stable` the median. `changes` is how often an answer changes
    in an epoch, on average. All over `nights` nights and `epochs` epochs with a reference and an answer at the end.
    """

    nights: int
    subjects: int
    epochs: int
    answered: list[Estimate]
    accuracy: list[Estimate]
    kappa: list[Estimate]
    flip_rate: list[Estimate]
    ece: list[Estimate]
    stable_by: list[Estimate]
    seconds_to_stable: Estimate
    median_seconds_to_stable: float | None
    changes: Estimate


def provisional(nights: Sequence[NightPrediction]) -> Provisional | None:
    """Over the nights that have provisional answers; None when none has."""
    said = [(night, night.provisional) for night in nights if night.provisional is not None]
    if not said:
        return None
    resampling = Resampling([night for night, _ in said])
    bins = _bins([_kept(night, each)[1] for night, each in said])
    confusions, flips, calibration, stable, changes = [], [], [], [], []
    for (night, each), which in zip(said, bins, strict=True):
        truth, kept = _kept(night, each)
        answer = answers(kept)  # (n, 30)
        final = answer[:, -1:]
        spoken = answer < COUNT
        confusions.append(np.stack([confusion(truth, answer[:, s]) for s in range(EPOCH_S)]))
        flips.append(np.stack(((spoken & (answer != final)).sum(0), spoken.sum(0)), -1))
        right, confidence = answer == truth[:, None], _confidence(kept)
        calibration.append(
            np.stack(
                [
                    calibration_sums(which[s], confidence[spoken[:, s], s], right[spoken[:, s], s])
                    for s in range(EPOCH_S)
                ]
            )
        )
        stable.append(np.bincount(seconds_to_stable(answer) - 1, minlength=EPOCH_S))
        changes.append([(np.diff(answer, axis=1) != 0).sum(), len(answer)])
    whole = np.stack(confusions)  # (nights, 30, 5, 6)
    reached = np.stack(stable)  # (nights, 30)
    seconds = np.arange(1, EPOCH_S + 1)
    total = reached.sum(0)
    return Provisional(
        nights=len(said),
        subjects=len(resampling.subjects),
        epochs=int(total.sum()),
        answered=resampling.estimate(whole, _answered),
        accuracy=resampling.estimate(whole, lambda sums: figures(sums)[..., 0]),
        kappa=resampling.estimate(whole, lambda sums: figures(sums)[..., 1]),
        flip_rate=resampling.estimate(np.stack(flips), lambda sums: _share(sums[..., 0], sums[..., 1])),
        ece=resampling.estimate(np.stack(calibration), calibration_error),
        stable_by=resampling.estimate(
            reached, lambda sums: _share(sums.cumsum(-1), sums.sum(-1, keepdims=True).repeat(EPOCH_S, -1))
        ),
        seconds_to_stable=resampling.estimate(reached, lambda sums: _share(sums @ seconds, sums.sum(-1)))[0],
        median_seconds_to_stable=defined(np.median(np.repeat(seconds, total))) if total.sum() else None,
        changes=resampling.estimate(np.array(changes), lambda sums: _share(sums[..., 0], sums[..., 1]))[0],
    )


def seconds_to_stable(answer: NDArray[np.integer]) -> NDArray[np.int64]:
    """The second (n,), 1 to 30, from which each epoch's answers (n, 30) are what the last one is."""
    differs = answer != answer[:, -1:]
    return np.where(differs.any(1), EPOCH_S - differs[:, ::-1].argmax(1) + 1, 1)


def _kept(night: NightPrediction, each: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Reference (n,) and answers (n, 30, 5) of the epochs that have both a reference and an answer at the end."""
    kept = (night.reference >= 0) & ~np.isnan(each[:, -1]).any(-1)
    return night.reference[kept], each[kept]


def _answered(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return _share(left_out(counts).sum((-2, -1)), counts.sum((-2, -1)))


def _confidence(probabilities: NDArray[np.float32]) -> NDArray[np.float64]:
    """The likeliest stage's probability (...,), NaN where nothing was said."""
    confidence: NDArray[np.float64] = probabilities.max(-1).astype(np.float64)
    return confidence


def _bins(kept: Sequence[NDArray[np.float32]]) -> list[list[NDArray[np.int64]]]:
    """For each night and second, the bin of each answer among all nights' answers in that second."""
    each = [[_confidence(p[:, s])[~np.isnan(_confidence(p[:, s]))] for s in range(EPOCH_S)] for p in kept]
    borders = np.cumsum([[len(values) for values in night] for night in each], axis=0)[:-1]
    found = []
    for s in range(EPOCH_S):
        pooled = equal_mass_bins(np.concatenate([night[s] for night in each]))
        found.append(np.split(pooled, borders[:, s]))
    return [list(night) for night in zip(*found, strict=True)]


def _share(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(whole > 0, part / np.maximum(whole, 1e-300), np.nan)
