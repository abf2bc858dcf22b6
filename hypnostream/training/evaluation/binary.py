"""Yes or no each epoch or second (apnea, hypopnea), and why its accuracy is never told alone.

Where 5 % of the epochs are positive, always saying no is 95 % right. So accuracy stands beside the majority rate, the
accuracy of the better constant answer, everywhere: `binary_table` refuses the one without the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.training.evaluation.calibration import reliability

COLUMNS = ("n", "prevalence", "accuracy", "majority_rate", "mcc", "kappa", "f1", "sensitivity", "specificity", "auprc")


@dataclass(frozen=True, slots=True)
class BinaryAgreement:
    """How `n` answers agree with the reference. A figure that is 0/0 is None, never NaN.

    `prevalence` is the share of positives, and what AUPRC is for a guesser. `majority_rate` is the accuracy of always
    giving the commoner answer. `balanced_accuracy` is the mean of sensitivity and specificity. `mcc` is Matthews'
    (1975) correlation and `kappa` Cohen's (1960). `auroc` is the chance that a positive has the higher probability,
    ties counting half (Hanley & McNeil 1982); `auprc` is average precision, without interpolation (Davis & Goadrich
    2006). `ece` is over equal-mass bins of the probability. `unanswered` had a reference but no probability, and
    `unlabelled` no reference; neither is in `n`. `accuracy_all` counts the unanswered as wrong.
    """

    n: int
    unanswered: int
    unlabelled: int
    prevalence: float | None
    majority_rate: float | None
    accuracy: float | None
    accuracy_all: float | None
    balanced_accuracy: float | None
    mcc: float | None
    kappa: float | None
    f1: float | None
    sensitivity: float | None
    specificity: float | None
    auroc: float | None
    auprc: float | None
    ece: float | None


def binary_metrics(
    reference: NDArray[np.integer], probability: NDArray[np.floating], threshold: float = 0.5
) -> BinaryAgreement:
    """Compare `probability` (n,) of a positive, NaN where nothing was said, with `reference` (n,) in 0, 1, -1.

    An answer is positive where its probability is at least `threshold`; -1 in the reference is nobody's word.

    Raises:
        ValueError: the two are not one-dimensional and equally long, or hold other values.
    """
    check_binary(reference, probability)
    labelled, answered = reference >= 0, ~np.isnan(probability)
    compared = labelled & answered
    truth, said = reference[compared] == 1, probability[compared].astype(np.float64)
    positive = said >= threshold
    n = truth.size
    tp, fp = int((positive & truth).sum()), int((positive & ~truth).sum())
    fn, tn = int((~positive & truth).sum()), int((~positive & ~truth).sum())
    unanswered = int((labelled & ~answered).sum())
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    by_chance = (tp + fn) * (tp + fp) + (tn + fp) * (tn + fn)  # n² times the agreement expected by chance
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    auroc, auprc = areas(truth, said)
    return BinaryAgreement(
        n=n,
        unanswered=unanswered,
        unlabelled=int((~labelled).sum()),
        prevalence=ratio(tp + fn, n),
        majority_rate=ratio(max(tp + fn, tn + fp), n),
        accuracy=ratio(tp + tn, n),
        accuracy_all=ratio(tp + tn, n + unanswered),
        balanced_accuracy=None if sensitivity is None or specificity is None else (sensitivity + specificity) / 2,
        mcc=(tp * tn - fp * fn) / margins**0.5 if margins else None,
        kappa=ratio(n * (tp + tn) - by_chance, n * n - by_chance),
        f1=ratio(2 * tp, 2 * tp + fp + fn),
        sensitivity=sensitivity,
        specificity=specificity,
        auroc=auroc,
        auprc=auprc,
        ece=reliability(said, truth).expected_calibration_error,
    )


def areas(truth: NDArray[np.bool_], probability: NDArray[np.floating]) -> tuple[float | None, float | None]:
    """(AUROC, AUPRC) of answers (n,) without NaN; None where there is no positive, or for AUROC no negative."""
    order = np.argsort(-probability, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(probability[order])), truth.size - 1) if truth.size else np.zeros(0)
    last_of_ties = last_of_ties.astype(np.int64)
    true_positives = np.cumsum(truth[order])[last_of_ties].astype(np.float64)
    return areas_of_counts(true_positives, 1.0 + last_of_ties - true_positives)


def areas_of_counts(
    true_positives: NDArray[np.float64], false_positives: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """The same from how many of each are at or above each distinct probability (k,), from the highest down."""
    if not true_positives.size or not (positives := true_positives[-1]):
        return None, None
    found = np.diff(true_positives, prepend=0.0)
    precision = true_positives / np.maximum(true_positives + false_positives, 1e-300)  # at least one is at or above
    auprc = float((found * precision).sum() / positives)
    if not (negatives := false_positives[-1]):
        return None, auprc
    halfway = true_positives - found / 2  # among equals, half are above
    wrong = np.diff(false_positives, prepend=0.0)
    return float((wrong * halfway).sum() / (positives * negatives)), auprc


def check_binary(reference: NDArray[np.integer], probability: NDArray[np.floating]) -> None:
    """Raise ValueError unless these are what `binary_metrics` takes."""
    if reference.ndim != 1 or reference.shape != probability.shape:
        raise ValueError(f"reference {reference.shape} and probability {probability.shape}: give (n,) and (n,)")
    if not np.isin(reference, (-1, 0, 1)).all():
        raise ValueError("the reference has a value that is not 0, 1 or -1 (nobody's word)")
    said = probability[~np.isnan(probability)]
    if said.size and not (said.min() >= 0 and said.max() <= 1):
        raise ValueError(f"a probability lies outside 0 to 1: from {said.min():g} to {said.max():g}")


def binary_table(rows: Sequence[tuple[str, BinaryAgreement]], columns: Sequence[str] = COLUMNS) -> str:
    """A Markdown table, one line a named agreement; columns are fields of `BinaryAgreement`.

    Raises:
        ValueError: the columns show accuracy and not the majority rate beside it.
    """
    if {"accuracy", "accuracy_all"} & set(columns) and "majority_rate" not in columns:
        raise ValueError("accuracy without the majority rate: show majority_rate too")
    lines = [
        "| | " + " | ".join(column.replace("_", " ") for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name, found in rows:
        values: list[int | float | None] = [getattr(found, column) for column in columns]
        lines.append(f"| {name} | " + " | ".join(_shown(value) for value in values) + " |")
    return "\n".join(lines) + "\n"


def ratio(part: float, whole: float) -> float | None:
    """part / whole, None when it is 0/0."""
    return part / whole if whole else None


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
