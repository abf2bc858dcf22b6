import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.agreement import agreement
from hypnostream.stream.stages import STAGES, UNSCORED, stage_codes

CODES = st.integers(UNSCORED, len(STAGES) - 1)
PAIRS = st.lists(st.tuples(CODES, CODES), max_size=80)


def hypnogram(text: str) -> NDArray[np.int8]:
    names = {"w": "W", "1": "N1", "2": "N2", "3": "N3", "r": "R", ".": None}
    return stage_codes(names[letter] for letter in text)


def test_figures_of_a_night_worked_by_hand() -> None:
    # Epochs of W, N1, N2, N3, R: the reference has 2, 1, 4, 1, 2 and the scored hypnogram 3, 0, 4, 1, 2.
    result = agreement(hypnogram("ww122223rr"), hypnogram("www22r322r"))
    assert result.n == 10
    assert result.confusion == (
        (2, 0, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (0, 0, 2, 1, 1),
        (0, 0, 1, 0, 0),
        (0, 0, 1, 0, 1),
    )
    assert result.accuracy == pytest.approx(0.5)
    # p_e = (2·3 + 1·0 + 4·4 + 1·1 + 2·2) / 100 = 0.27
    assert result.kappa == pytest.approx((0.5 - 0.27) / (1 - 0.27))
    f1 = {stage: each.f1 for stage, each in result.stages.items()}
    assert f1 == pytest.approx({"W": 4 / 5, "N1": 0.0, "N2": 4 / 8, "N3": 0.0, "R": 2 / 4})
    assert result.macro_f1 == pytest.approx((4 / 5 + 0 + 1 / 2 + 0 + 1 / 2) / 5)
    assert result.stages["W"].precision == pytest.approx(2 / 3)
    assert result.stages["W"].recall == 1.0
    assert result.stages["N1"].precision is None
    assert result.stages["N1"].recall == 0.0
    assert [each.support for each in result.stages.values()] == [2, 1, 4, 1, 2]


def test_epochs_without_a_stage_on_either_side_are_left_out_and_counted() -> None:
    result = agreement(hypnogram("w..22rrr"), hypnogram("w2.2.r"))
    assert (result.n, result.unscored, result.unanswered, result.unpaired) == (3, 2, 1, 2)
    assert result.accuracy == 1.0


def test_a_stage_only_the_scorer_used_does_not_enter_the_macro_mean() -> None:
    result = agreement(hypnogram("ww22"), hypnogram("w122"))
    assert result.stages["N1"].f1 == 0.0
    assert result.stages["N1"].recall is None
    assert result.stages["R"].f1 is None
    assert result.macro_f1 == pytest.approx((2 / 3 + 1) / 2)


def test_one_stage_throughout_has_no_kappa() -> None:
    result = agreement(hypnogram("2222"), hypnogram("2222"))
    assert (result.accuracy, result.kappa, result.macro_f1) == (1.0, None, 1.0)


def test_a_constant_answer_has_kappa_zero() -> None:
    assert agreement(hypnogram("ww2233rr"), hypnogram("22222222")).kappa == 0.0


@pytest.mark.parametrize(("reference", "scored"), [("", ""), ("...", "w2r"), ("w2r", "..."), ("w.", ".w")])
def test_nothing_in_common_has_no_figures(reference: str, scored: str) -> None:
    result = agreement(hypnogram(reference), hypnogram(scored))
    assert result.n == 0
    assert result.accuracy is result.kappa is result.macro_f1 is None


@pytest.mark.parametrize("bad", [np.array([0, 5]), np.array([-2]), np.zeros((2, 2), dtype=int)])
def test_codes_that_are_no_stages_are_refused(bad: NDArray[np.integer]) -> None:
    with pytest.raises(ValueError, match="reference"):
        agreement(bad, np.zeros(2, dtype=int))


@settings(max_examples=60, deadline=None)
@given(PAIRS, st.integers(0, 1000))
def test_the_order_of_epochs_does_not_matter(pairs: list[tuple[int, int]], seed: int) -> None:
    codes = np.array(pairs, dtype=np.int8).reshape(-1, 2)
    order = np.random.default_rng(seed).permutation(len(pairs))
    assert agreement(codes[:, 0], codes[:, 1]) == agreement(codes[order, 0], codes[order, 1])


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_figures_equal_their_definitions_and_are_never_nan(pairs: list[tuple[int, int]]) -> None:
    codes = np.array(pairs, dtype=np.int8).reshape(-1, 2)
    result = agreement(codes[:, 0], codes[:, 1])
    both = [(a, b) for a, b in pairs if a != UNSCORED and b != UNSCORED]
    assert result.n == len(both)
    assert result.n + result.unscored + result.unanswered == len(pairs)
    json.dumps(asdict(result), allow_nan=False)
    if not both:
        return
    observed = sum(a == b for a, b in both) / len(both)
    chance = sum(
        sum(a == stage for a, _ in both) / len(both) * sum(b == stage for _, b in both) / len(both)
        for stage in range(len(STAGES))
    )
    assert result.accuracy == pytest.approx(observed)
    assert (
        result.kappa is None if chance > 1 - 1e-9 else result.kappa == pytest.approx((observed - chance) / (1 - chance))
    )
    harmonic = []
    for code in sorted({a for a, _ in both}):
        each = result.stages[STAGES[code]]
        assert each.recall is not None
        precision = each.precision or 0.0
        harmonic.append(2 * precision * each.recall / (precision + each.recall) if precision + each.recall else 0.0)
    assert result.macro_f1 == pytest.approx(sum(harmonic) / len(harmonic))


@settings(max_examples=40, deadline=None)
@given(st.lists(CODES, max_size=80))
def test_a_hypnogram_agrees_with_itself_perfectly(codes: list[int]) -> None:
    own = np.array(codes, dtype=np.int8)
    result = agreement(own, own)
    stages = set(codes) - {UNSCORED}
    assert result.accuracy == (1.0 if stages else None)
    assert result.macro_f1 == (1.0 if stages else None)
    assert result.kappa == (1.0 if len(stages) > 1 else None)


@settings(max_examples=40, deadline=None)
@given(PAIRS)
def test_swapping_the_two_transposes_the_confusion_and_keeps_kappa(pairs: list[tuple[int, int]]) -> None:
    codes = np.array(pairs, dtype=np.int8).reshape(-1, 2)
    one, other = agreement(codes[:, 0], codes[:, 1]), agreement(codes[:, 1], codes[:, 0])
    assert one.confusion == tuple(zip(*other.confusion, strict=True))
    assert one.kappa == other.kappa
    for stage in STAGES:
        assert one.stages[stage].precision == other.stages[stage].recall
