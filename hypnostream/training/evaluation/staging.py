"""Five stages against the reference: confusion counts of a night, and the figures that follow from any sum of them."""

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import STAGES
from hypnostream.training.evaluation.calibration import BINS
from hypnostream.training.evaluation.predictions import NightPrediction

COUNT = len(STAGES)
FIGURES = (
    "accuracy",
    "kappa",
    "macro_f1",
    *(f"{figure}_{stage}" for figure in ("f1", "precision", "recall") for stage in STAGES),
)
SCORES = ("brier", "nll")
LEAST_PROBABILITY = 1e-7  # a certain answer that is wrong costs 16 nats, not all


def answers(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """The likeliest stage (...,) of probabilities (..., 5), and 5 where nothing was said (NaN)."""
    silent = np.isnan(probabilities).any(-1)
    return np.where(silent, COUNT, np.where(silent[..., None], 0.0, probabilities).argmax(-1))


def confusion(reference: NDArray[np.integer], answer: NDArray[np.integer]) -> NDArray[np.int64]:
    """Counts (5, 6) of epochs (n,): row the reference's stage, column the answer, the last column no answer.

    Epochs that nobody scored (-1) are left out.
    """
    scored = reference >= 0
    counts = np.zeros((COUNT, COUNT + 1), np.int64)
    np.add.at(counts, (reference[scored], answer[scored]), 1)
    return counts


def left_out(counts: NDArray[np.number]) -> NDArray[np.number]:
    """Confusion (..., 5, 6) without the epochs in which nothing was said: (..., 5, 5)."""
    return counts[..., :COUNT]


def figures(counts: NDArray[np.number]) -> NDArray[np.float64]:
    """FIGURES, in order, of confusion counts: (..., 5, 5 or 6) to (..., 18), NaN where 0/0.

    With six columns, an epoch in which nothing was said is a wrong one. The figures are those of
    `engine.agreement`; macro-F1 is the mean over the stages that the reference has.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1)  # (..., 5)
    in_reference, in_answer = counts.sum(-1), counts.sum(-2)[..., :COUNT]
    n = in_reference.sum(-1)
    agreed, by_chance = right.sum(-1), (in_reference * in_answer).sum(-1)
    f1 = _ratio(2 * right, in_reference + in_answer)
    present = in_reference > 0
    macro = _ratio(np.where(present, f1, 0.0).sum(-1), present.sum(-1))
    whole = np.stack((_ratio(agreed, n), _ratio(n * agreed - by_chance, n * n - by_chance), macro), -1)
    return np.concatenate((whole, f1, _ratio(right, in_answer), _ratio(right, in_reference)), -1)


def scores(night: NightPrediction) -> NDArray[np.float64]:
    """Sums (3,) over the epochs with a reference and an answer: Brier (1950), −ln p of the true stage, and epochs."""
    known = (night.reference >= 0) & ~np.isnan(night.probabilities).any(1)
    p, truth = night.probabilities[known].astype(np.float64), night.reference[known]
    of_truth = p[np.arange(len(p)), truth]
    brier = (p**2).sum() - 2 * of_truth.sum() + len(p)
    return np.array([brier, -np.log(np.maximum(of_truth, LEAST_PROBABILITY)).sum(), len(p)])


def mean_scores(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """SCORES from sums (..., 3): (..., 2)."""
    return _ratio(sums[..., :2], sums[..., 2:])


def calibration_sums(
    which: NDArray[np.int64], confidence: NDArray[np.floating], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Of answers (n,) in bins `which`: count, confidence and how many were right, (BINS, 3)."""
    columns = [np.bincount(which, weight, minlength=BINS) for weight in (np.ones(len(which)), confidence, right)]
    return np.stack(columns, -1)


def calibration_error(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """ECE from sums (..., BINS, 3): (...,)."""
    return _ratio(np.abs(sums[..., 1] - sums[..., 2]).sum(-1), sums[..., 0].sum(-1))


def _ratio(part: NDArray[np.number], whole: NDArray[np.number]) -> NDArray[np.float64]:
    return np.where(whole != 0, part / np.where(whole != 0, whole, 1), np.nan)
