"""Evaluation: figures are the known ones, people are counted once, and what is unsure is said to be."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.agreement import agreement
from hypnostream.errors import UserError
from hypnostream.stream.stages import STAGES
from hypnostream.training.evaluation.bias import stage_bias
from hypnostream.training.evaluation.elapsed import elapsed
from hypnostream.training.evaluation.paired import compare
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.provisional import provisional, seconds_to_stable
from hypnostream.training.evaluation.staging import (
    FIGURES,
    answers,
    confusion,
    figures,
    left_out,
    mean_scores,
    scores,
)
from hypnostream.training.evaluation.subjects import Resampling, refuse_doubles
from hypnostream.training.evaluation.tasks import binary_tasks

SILENT = 5


def sure(stages: NDArray[np.integer] | list[int], sureness: float = 0.8) -> NDArray[np.float32]:
    """Probabilities (..., 5) with `sureness` at each given stage; NaN for SILENT."""
    given_ = np.asarray(stages)
    table = np.full((6, 5), (1 - sureness) / 4, np.float32)
    table[np.arange(5), np.arange(5)] = sureness
    table[SILENT] = np.nan
    probabilities: NDArray[np.float32] = table[given_]
    return probabilities


def night(
    reference: list[int] | NDArray[np.integer],
    said: list[int] | NDArray[np.integer],
    name: str = "n1",
    subject: str = "s1",
    set_name: str = "simulated",
    provisional: NDArray[np.integer] | None = None,
) -> NightPrediction:
    """A night by its stages, `said` SILENT where there is no answer, `provisional` (N, 30) likewise."""
    return NightPrediction(
        name,
        subject,
        set_name,
        np.asarray(reference, np.int8),
        sure(said),
        None if provisional is None else sure(provisional),
    )


def random_nights(count: int, per_subject: int = 1, epochs: int = 300, seed: int = 0) -> list[NightPrediction]:
    """Nights of people who differ in how well they are staged."""
    rng = np.random.default_rng(seed)
    nights = []
    for i in range(count):
        skill = np.random.default_rng((seed, i // per_subject)).uniform(0.4, 0.95)
        reference = np.repeat(rng.integers(0, 5, epochs // 10), 10)
        said = np.where(rng.random(epochs) < skill, reference, rng.integers(0, 5, epochs))
        way = np.where(rng.random((epochs, 30)) < 0.9, said[:, None], rng.integers(0, 5, (epochs, 30)))
        way[:, -1] = said
        nights.append(night(reference, said, f"n{i}", f"s{i // per_subject}", provisional=way))
    return nights


@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(0, 5)), max_size=60))
def test_the_figures_are_those_of_the_engine(pairs: list[tuple[int, int]]) -> None:
    reference = np.array([r for r, _ in pairs], np.int8)
    said = np.array([s for _, s in pairs], np.int64)
    theirs = agreement(reference, np.where(said == SILENT, -1, said))
    ours = dict(zip(FIGURES, figures(left_out(confusion(reference, said))), strict=True))
    wanted: dict[str, float | None] = {name: getattr(theirs, name) for name in ("accuracy", "kappa", "macro_f1")}
    for stage in STAGES:
        wanted |= {f"{name}_{stage}": getattr(theirs.stages[stage], name) for name in ("f1", "precision", "recall")}
    for name, value in wanted.items():
        assert ours[name] == pytest.approx(np.nan if value is None else value, nan_ok=True), name


def test_an_epoch_without_an_answer_is_left_out_or_wrong_as_asked() -> None:
    counts = confusion(np.array([0, 0, 1, 1], np.int8), np.array([0, SILENT, 1, 1]))
    assert figures(left_out(counts))[0] == 1
    assert figures(counts)[0] == 0.75
    recall_w = FIGURES.index("recall_W")
    assert (figures(left_out(counts))[recall_w], figures(counts)[recall_w]) == (1, 0.5)


def test_no_number_at_all_counts_as_no_answer_and_not_as_wake() -> None:
    assert answers(sure([SILENT, 3])).tolist() == [SILENT, 3]
    assert np.isnan(figures(np.zeros((5, 6)))).all()


def test_brier_and_likelihood_are_as_by_hand() -> None:
    found = mean_scores(scores(night([0, 1, -1, 2], [0, 2, 0, SILENT])))
    right, wrong = 0.2**2 + 4 * 0.05**2, 0.95**2 + 0.8**2 + 3 * 0.05**2
    assert found == pytest.approx([(right + wrong) / 2, -(np.log(0.8) + np.log(0.05)) / 2], rel=1e-5)


def test_intervals_come_from_people_and_not_from_epochs_or_nights() -> None:
    """Five copies of each person's night tell nothing new, so the interval stays as wide."""
    people = random_nights(12)
    copied = [night(n.reference, answers(n.probabilities), f"{n.name}{c}", n.subject) for n in people for c in range(5)]

    def width(nights: list[NightPrediction]) -> float:
        counts = np.stack([confusion(n.reference, answers(n.probabilities)) for n in nights])
        accuracy = Resampling(nights).estimate(counts, figures)[0]
        assert accuracy.low is not None
        assert accuracy.high is not None
        assert accuracy.value is not None
        assert accuracy.low < accuracy.value < accuracy.high
        return accuracy.high - accuracy.low

    assert width(copied) == pytest.approx(width(people))
    strangers = [night(n.reference, answers(n.probabilities), n.name, n.name) for n in copied]
    assert width(strangers) < 0.6 * width(people)


def test_one_subject_has_no_interval() -> None:
    nights = random_nights(2, per_subject=2)
    counts = np.stack([confusion(n.reference, answers(n.probabilities)) for n in nights])
    accuracy = Resampling(nights).estimate(counts, figures)[0]
    assert accuracy.value is not None
    assert accuracy.low is accuracy.high is None


def test_intervals_are_the_same_each_time() -> None:
    nights = random_nights(5)
    counts = np.stack([confusion(n.reference, answers(n.probabilities)) for n in nights])
    assert Resampling(nights).estimate(counts, figures) == Resampling(nights).estimate(counts, figures)


def test_a_night_or_a_person_counted_twice_is_refused() -> None:
    a, b = random_nights(2)
    refuse_doubles([a, b])
    with pytest.raises(UserError, match="scored 2 times"):
        refuse_doubles([a, a])
    renamed = NightPrediction("other", "someone", a.set_name, a.reference, a.probabilities)
    with pytest.raises(UserError, match="one and the same"):
        refuse_doubles([a, renamed])
    elsewhere = NightPrediction("other", a.subject, "Santa Fe", b.reference, b.probabilities)
    with pytest.raises(UserError, match="Santa Fe"):
        refuse_doubles([a, elsewhere])
    with pytest.raises(UserError, match="no night"):
        refuse_doubles([])


def test_an_epoch_is_stable_when_it_changes_no_more() -> None:
    always, late = np.full(30, 2), np.full(30, 2)
    late[:7] = 1
    back_and_forth = np.full(30, 2)
    back_and_forth[28] = 0
    assert seconds_to_stable(np.stack([always, late, back_and_forth])).tolist() == [1, 8, 30]


def test_flips_and_accuracy_on_the_way_are_as_by_hand() -> None:
    way = np.array([[2] * 30, [1] * 7 + [2] * 23, [SILENT] * 10 + [3] * 20, [0] * 30])
    found = provisional([night([2, 2, 2, -1], [2, 2, 3, 0], provisional=way)])
    assert found is not None
    assert found.epochs == 3  # nobody scored the fourth
    first, tenth, last = 0, 9, 29
    assert [e.value for e in found.accuracy][first] == pytest.approx(1 / 3)
    assert [e.value for e in found.accuracy][tenth] == pytest.approx(2 / 3)
    assert found.answered[first].value == pytest.approx(2 / 3)
    assert found.flip_rate[first].value == pytest.approx(1 / 2)  # of the two of which anything was said
    assert found.flip_rate[tenth].value == found.flip_rate[last].value == 0
    assert found.stable_by[first].value == pytest.approx(1 / 3)
    assert found.stable_by[last].value == 1
    assert found.seconds_to_stable.value == pytest.approx((1 + 8 + 11) / 3)
    assert found.changes.value == pytest.approx(2 / 3)


def test_provisional_is_none_where_nobody_asked() -> None:
    assert provisional([night([0], [0])]) is None


def test_each_second_has_its_own_calibration() -> None:
    rng = np.random.default_rng(0)
    reference = rng.integers(0, 5, 2000)
    way = np.where(rng.random((2000, 30)) < np.linspace(0.3, 0.8, 30), reference[:, None], (reference[:, None] + 1) % 5)
    found = provisional([night(reference, way[:, -1], provisional=way)])
    assert found is not None
    assert found.ece[0].value == pytest.approx(0.5, abs=0.05)  # it says 0.8 and is right in 0.3
    assert found.ece[29].value == pytest.approx(0.0, abs=0.05)


def test_time_since_the_start_and_changes_are_told_apart() -> None:
    reference = [0] * 70 + [2] * 50
    said = [1] * 10 + [0] * 60 + [0] + [2] * 49  # wrong for five minutes, and at the change
    nights = [night(reference, said)]
    found = elapsed(nights, Resampling(nights))
    assert [part.epochs for part in found.half_hours] == [60, 60]
    assert found.half_hours[0].accuracy.value == pytest.approx(50 / 60)
    assert found.first_minutes.accuracy.value == 0
    assert found.later.accuracy.value == pytest.approx(109 / 110)
    assert (found.changing.epochs, found.changing.accuracy.value) == (1, 0)
    assert found.steady.epochs == 118


def test_a_change_next_to_an_unscored_epoch_is_not_known_to_be_one() -> None:
    nights = [night([0, -1, 2, 2], [0, 0, 2, 2])]
    found = elapsed(nights, Resampling(nights))
    assert (found.changing.epochs, found.steady.epochs) == (0, 1)


def test_bias_is_in_minutes_a_night() -> None:
    nights = [
        night([0] * 10 + [2] * 10, [0] * 14 + [2] * 6, "a", "s1"),
        night([0] * 10 + [2] * 10, [0] * 12 + [2] * 8, "b", "s2"),
    ]
    counts = np.stack([left_out(confusion(n.reference, answers(n.probabilities))) for n in nights]).astype(np.float64)
    wake, _, n2, *_ = stage_bias(counts, Resampling(nights))
    assert wake.nights_min == [2, 1]
    assert wake.mean_min.value == 1.5
    assert n2.mean_min.value == -1.5
    assert wake.reference_min == 5
    spread = 1.96 * np.std([2, 1], ddof=1)
    assert (wake.lower_limit_min, wake.upper_limit_min) == pytest.approx((1.5 - spread, 1.5 + spread))


def test_a_model_against_itself_differs_by_nothing() -> None:
    nights = random_nights(6)
    found = compare(nights, nights)
    assert all((e.value, e.low, e.high) == (0, 0, 0) for e in found.difference.values() if e.value is not None)
    assert (found.better, found.worse) == (0, 0)


def test_a_difference_is_paired_so_that_people_cancel() -> None:
    """Everybody gains two points; the interval of the gain is far narrower than that of the accuracy."""
    nights = random_nights(15, epochs=1000)
    rng = np.random.default_rng(1)
    better = [
        night(n.reference, np.where(rng.random(1000) < 0.1, n.reference, answers(n.probabilities)), n.name, n.subject)
        for n in nights
    ]
    found = compare(better, nights)
    gain = found.difference["accuracy"]
    counts = np.stack([confusion(n.reference, answers(n.probabilities)) for n in better])
    alone = Resampling(better).estimate(counts, figures)[0]
    assert gain.low is not None
    assert gain.high is not None
    assert alone.low is not None
    assert alone.high is not None
    assert 0 < gain.low < gain.high
    assert gain.high - gain.low < 0.5 * (alone.high - alone.low)
    assert found.better == 15


def test_only_the_same_nights_are_compared() -> None:
    a, b, c = random_nights(3)
    found = compare([a, b], [b, c])
    assert (found.nights, found.only_here, found.only_there) == (1, ["n0"], ["n2"])
    with pytest.raises(UserError, match="no night in common"):
        compare([a], [c])
    other = night((b.reference + 1) % 5, answers(b.probabilities), b.name, b.subject)
    with pytest.raises(UserError, match="another reference"):
        compare([b], [other])


def test_silence_counts_against_the_silent_one() -> None:
    one = night([0] * 10, [0] * 10)
    silent = night([0] * 10, [0] * 6 + [SILENT] * 4)
    assert compare([silent], [one]).difference["accuracy"].value == pytest.approx(-0.4)


def test_tasks_at_different_clocks_are_not_mixed() -> None:
    rng = np.random.default_rng(0)

    def one(subject: int, every_s: int) -> NightPrediction:
        truth = (rng.random(60) < 0.2).astype(np.int8)
        said = np.clip(0.4 * truth + 0.5 * rng.random(60), 0, 1).astype(np.float32)
        whole = night([0] * 60, [0] * 60)
        return NightPrediction(
            f"n{subject}", f"s{subject}", "simulated", whole.reference, whole.probabilities,
            binary={"apnea": (truth, said)}, binary_s=every_s,
        )  # fmt: skip

    tasks = binary_tasks([one(0, 30), one(1, 30), one(2, 30), one(3, 1)])
    assert [(t.name, t.every_s, t.subjects, t.agreement.n) for t in tasks] == [
        ("apnea", 1, 1, 60),
        ("apnea", 30, 3, 180),
    ]
    several = tasks[1].intervals
    assert several.keys() >= {"accuracy", "majority_rate", "mcc", "kappa", "auprc", "auroc", "ece"}
    for name, estimate in several.items():
        assert estimate.value == getattr(tasks[1].agreement, name)
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low - 1e-9 <= estimate.high
    assert tasks[0].intervals == {}
