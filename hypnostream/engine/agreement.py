"""How well a scored hypnogram agrees with a reference, epoch by epoch.

Where a figure is 0/0 (κ when both say one and the same stage throughout, the recall of a stage that the reference
has not) it is None, never NaN: an undefined figure must not look like a bad one.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import STAGES, UNSCORED, check_stage_codes


@dataclass(frozen=True, slots=True)
class StageAgreement:
    """One stage against the rest, over the compared epochs.

    `precision` is the share of the epochs scored as this stage that the reference calls so too, None when none was
    scored so. `recall` is the share of the reference's epochs of this stage that were found, None when it has none.
    `f1` is 2·TP / (2·TP + FP + FN), the harmonic mean of the two; None when neither hypnogram has the stage.
    `support` is the number of reference epochs.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement over the `n` epochs for which both the reference and the scoring have a stage.

    `accuracy` is the share of equal epochs. `kappa` is Cohen's (1960) κ = (p_o − p_e) / (1 − p_e), p_e the agreement
    of two independent scorers with these marginals; None when p_e is 1. `macro_f1` is the plain mean of F1 over the
    stages present in the reference. `confusion` counts epochs: row the reference's stage, column the scored one, in
    the order of STAGES. All three figures are None when n is 0.

    Not compared: `unscored` epochs without a stage in the reference, `unanswered` ones that have a reference but no
    scored stage, `unpaired` ones by which one hypnogram is longer than the other.
    """

    n: int
    accuracy: float | None
    kappa: float | None
    macro_f1: float | None
    stages: dict[str, StageAgreement]
    confusion: tuple[tuple[int, ...], ...]
    unscored: int
    unanswered: int
    unpaired: int


def agreement(reference: NDArray[np.integer], scored: NDArray[np.integer]) -> Agreement:
    """Compare two hypnograms (epochs,) of indices into STAGES, UNSCORED where there is none, both from epoch 0 on.

    Raises:
        ValueError: a code is neither an index into STAGES nor UNSCORED, or an array is not one-dimensional.
    """
    check_stage_codes(reference, "the reference")
    check_stage_codes(scored, "the scored hypnogram")
    paired = min(reference.size, scored.size)
    unpaired = max(reference.size, scored.size) - paired
    reference, scored = reference[:paired], scored[:paired]
    has_reference, has_score = reference != UNSCORED, scored != UNSCORED
    compared = has_reference & has_score

    confusion = np.zeros((len(STAGES), len(STAGES)), dtype=np.int64)  # (reference, scored)
    np.add.at(confusion, (reference[compared], scored[compared]), 1)
    n = int(confusion.sum())
    true_positive, in_reference, in_scored = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    stages = {
        stage: StageAgreement(
            precision=_ratio(true_positive[i], in_scored[i]),
            recall=_ratio(true_positive[i], in_reference[i]),
            f1=_ratio(2 * true_positive[i], in_scored[i] + in_reference[i]),
            support=int(in_reference[i]),
        )
        for i, stage in enumerate(STAGES)
    }
    present = [each.f1 for each in stages.values() if each.support and each.f1 is not None]
    agreed = int(true_positive.sum())
    by_chance = int(in_reference @ in_scored)  # n² times the agreement expected by chance, exact in integers
    return Agreement(
        n=n,
        accuracy=_ratio(agreed, n),
        kappa=_ratio(n * agreed - by_chance, n * n - by_chance),
        macro_f1=sum(present) / len(present) if present else None,
        stages=stages,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        unscored=int(paired - has_reference.sum()),
        unanswered=int((has_reference & ~has_score).sum()),
        unpaired=unpaired,
    )


def _ratio(part: int | np.integer, whole: int | np.integer) -> float | None:
    return int(part) / int(whole) if whole else None
