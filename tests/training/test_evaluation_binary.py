"""Yes-or-no answers: the figures are the known ones, and accuracy never stands alone."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.training.evaluation.binary import binary_metrics, binary_table
from hypnostream.training.evaluation.calibration import reliability


def _case(seed: int, n: int, levels: int) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    reference = (rng.random(n) < 0.2).astype(np.int8)
    probability = np.clip(0.35 * reference + 0.6 * rng.random(n), 0, 1)
    return reference, np.round(probability * levels) / levels if levels else probability


# Computed once with scikit-learn 1.7; the last two have many ties.
GOLDEN = {
    (0, 200, 0): {
        "accuracy": 0.84, "balanced_accuracy": 0.8287182888, "mcc": 0.5717197321, "kappa": 0.553384508,
        "f1": 0.652173913, "auroc": 0.9348366772, "auprc": 0.8513950548, "sensitivity": 0.8108108108,
        "specificity": 0.8466257669,
    },
    (1, 300, 10): {
        "accuracy": 0.7833333333, "balanced_accuracy": 0.8224311441, "mcc": 0.5433481391, "kappa": 0.4997434582,
        "f1": 0.6368715084, "auroc": 0.9222722458, "auprc": 0.7608181255, "sensitivity": 0.890625,
        "specificity": 0.7542372881,
    },
    (2, 50, 3): {
        "accuracy": 0.82, "balanced_accuracy": 0.7601626016, "mcc": 0.4680644145, "kappa": 0.4604316547,
        "f1": 0.5714285714, "auroc": 0.8211382114, "auprc": 0.46996997, "sensitivity": 0.6666666667,
        "specificity": 0.8536585366,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", GOLDEN)
def test_the_figures_are_those_of_scikit_learn(case: tuple[int, int, int]) -> None:
    found = binary_metrics(*_case(*case))
    for name, value in GOLDEN[case].items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-9), name


def test_always_no_is_as_accurate_as_the_majority_rate_and_worth_nothing() -> None:
    reference = np.array([0] * 95 + [1] * 5, np.int8)
    found = binary_metrics(reference, np.zeros(100))
    assert found.accuracy == found.majority_rate == 0.95
    assert found.kappa == 0
    assert found.mcc is None
    assert found.sensitivity == 0
    assert found.auroc == 0.5
    assert found.auprc == found.prevalence == 0.05


def test_accuracy_is_not_shown_without_the_majority_rate() -> None:
    rows = [("apnea", binary_metrics(*_case(0, 200, 0)))]
    with pytest.raises(ValueError, match="majority"):
        binary_table(rows, ("n", "accuracy"))
    with pytest.raises(ValueError, match="majority"):
        binary_table(rows, ("accuracy_all", "mcc"))
    assert "| 0.840 |" in binary_table(rows)
    assert "majority rate" in binary_table(rows)


def test_what_nobody_labelled_or_answered_is_counted_apart() -> None:
    reference = np.array([1, 0, -1, 1], np.int8)
    probability = np.array([0.9, 0.2, 0.9, np.nan])
    found = binary_metrics(reference, probability)
    assert (found.n, found.unanswered, found.unlabelled) == (2, 1, 1)
    assert found.accuracy == 1
    assert found.accuracy_all == pytest.approx(2 / 3)


def test_nothing_to_compare_gives_none_and_not_nan() -> None:
    found = binary_metrics(np.array([-1, -1], np.int8), np.array([0.5, np.nan]))
    assert found.n == 0
    assert found.accuracy is found.auroc is found.auprc is found.ece is found.majority_rate is None


@pytest.mark.parametrize(
    ("reference", "probability"),
    [([0, 2], [0.1, 0.2]), ([0, 1], [0.1, 1.2]), ([0, 1], [0.1, -0.2]), ([0, 1], [0.1]), ([0, 1], [0.1, np.inf])],
)
def test_values_that_mean_nothing_are_refused(reference: list[int], probability: list[float]) -> None:
    with pytest.raises(ValueError, match=r"reference|probability"):
        binary_metrics(np.array(reference, np.int8), np.array(probability))


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=40), st.randoms())
def test_the_order_of_answers_does_not_matter(pairs: list[tuple[int, int]], random: Random) -> None:
    def found(pairs: list[tuple[int, int]]) -> dict[str, float | None]:
        agreement = binary_metrics(
            np.array([y for y, _ in pairs], np.int8), np.array([p / 8 for _, p in pairs], np.float64)
        )
        return {name: getattr(agreement, name) for name in ("auroc", "auprc", "ece", "mcc")}

    before = found(pairs)
    random.shuffle(pairs)
    assert found(pairs) == pytest.approx(before)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=40))
def test_auroc_is_the_chance_that_a_positive_ranks_higher(pairs: list[tuple[bool, int]]) -> None:
    yes, no = [p for y, p in pairs if y], [p for y, p in pairs if not y]
    found = binary_metrics(np.array([y for y, _ in pairs], np.int8), np.array([p / 5 for _, p in pairs]))
    if not yes or not no:
        assert found.auroc is None
    else:
        wins = [(a > b) + 0.5 * (a == b) for a in yes for b in no]
        assert found.auroc == pytest.approx(sum(wins) / len(wins))


def test_bins_hold_equally_many_answers_and_see_overconfidence() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.beta(8, 2, 3000)
    honest = reliability(confidence, rng.random(3000) < confidence)
    boastful = reliability(confidence, rng.random(3000) < confidence - 0.2)
    assert honest.count.min() >= 195
    assert honest.count.max() <= 205
    assert honest.expected_calibration_error is not None
    assert honest.expected_calibration_error < 0.03
    assert boastful.expected_calibration_error == pytest.approx(0.2, abs=0.03)
