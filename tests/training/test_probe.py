"""Probes: the test subjects are in nothing but the figures, the best pass is a copy, and accuracy is never alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypnostream.engine.agreement import Agreement
from hypnostream.errors import UserError
from hypnostream.training.evaluation.binary import BinaryAgreement, binary_metrics
from hypnostream.training.pretraining.probe import Labelled, ProbeSettings, copied, fit_probe, probe, sides

SMALL = ProbeSettings(hidden=(16,), passes=12, batch=32, learning_rate=1e-2)


def _people(first: int, count: int, classes: int, shape: str = "linear", seed: int = 0) -> Labelled:
    """60 epochs each; "linear": a class is a direction, "ring": it is how far from the middle."""
    rng = np.random.default_rng(seed + first)
    labels = rng.integers(0, classes, count * 60)
    x = rng.normal(size=(len(labels), 6)) * 0.4
    if shape == "linear":
        x[np.arange(len(labels)), labels] += 2.0
    else:
        angle = rng.uniform(0, 2 * np.pi, len(labels))
        x[:, 0], x[:, 1] = (1 + 2 * labels) * np.cos(angle), (1 + 2 * labels) * np.sin(angle)
    subjects = np.repeat([f"p{i}" for i in range(first, first + count)], 60)
    return Labelled(x.astype(np.float32), labels, subjects)


def test_a_subject_on_both_sides_is_refused() -> None:
    with pytest.raises(UserError, match="p3"):
        probe(_people(0, 4, 5), _people(3, 2, 5), "stage", SMALL)


def test_what_is_linear_is_found_by_both_and_what_is_not_by_the_network_alone() -> None:
    found = probe(_people(0, 6, 5), _people(6, 3, 5), "stage", SMALL)
    assert isinstance(found.linear, Agreement)
    assert isinstance(found.network, Agreement)
    assert (found.linear.accuracy or 0) > 0.95
    longer = replace(SMALL, passes=40, dropout=0.1)
    ring = probe(_people(0, 6, 2, "ring"), _people(6, 3, 2, "ring"), "apnea", longer)
    assert isinstance(ring.linear, BinaryAgreement)
    assert isinstance(ring.network, BinaryAgreement)
    assert (ring.linear.mcc or 0) < 0.4
    assert (ring.network.mcc or 0) > 0.8
    assert ring.network.majority_rate is not None
    assert ring.network.auprc is not None


def test_the_test_subjects_change_nothing_of_a_probe() -> None:
    """The bug was a probe trained on, and its best pass chosen by, the subjects that it was then scored on."""
    train, test = _people(0, 6, 5), _people(6, 3, 5)
    before = probe(train, test, "stage", SMALL)
    after = probe(train, Labelled(test.features, (test.labels + 1) % 5, test.subjects), "stage", SMALL)
    for a, b in ((before.linear, after.linear), (before.network, after.network)):
        assert isinstance(a, Agreement)
        assert isinstance(b, Agreement)
        # Told other labels of the test subjects, it says the same of each epoch of theirs.
        assert a.confusion == (*b.confusion[1:], b.confusion[0])


def test_those_who_choose_are_not_those_it_is_fitted_on() -> None:
    subjects = [set(side.subjects.tolist()) for side in sides(_people(0, 10, 2), SMALL)]
    assert not subjects[0] & subjects[1]
    assert [len(each) for each in subjects] == [8, 2]


def test_the_best_pass_is_a_copy() -> None:
    module = torch.nn.Linear(2, 2)
    best = copied(module)
    with torch.no_grad():
        module.weight.add_(1.0)
    assert not torch.equal(best["weight"], module.weight)


def test_a_network_that_gets_worse_goes_back_to_its_best() -> None:
    train = _people(0, 6, 2)
    rng = np.random.default_rng(0)
    noisy = Labelled(train.features, np.where(rng.random(360) < 0.4, 1 - train.labels, train.labels), train.subjects)
    wild = ProbeSettings(hidden=(64,), dropout=0.0, passes=40, batch=16, learning_rate=0.1, weight_decay=0.0)
    chosen = sides(noisy, wild)[1]

    def loss(settings: ProbeSettings) -> float:
        said = fit_probe(noisy, 2, settings, settings.hidden).probabilities(chosen.features)
        return -float(np.log(said[np.arange(len(said)), chosen.labels] + 1e-9).mean())

    assert loss(wild) < 0.75  # with what it ends with it is above 1


def test_a_probe_is_the_same_for_a_seed_and_leaves_the_global_chance_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    a, b = (fit_probe(_people(0, 4, 5), 5, SMALL, (8,)) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    x = _people(9, 1, 5).features
    assert np.array_equal(a.probabilities(x), b.probabilities(x))


def test_epochs_that_nobody_scored_are_left_out() -> None:
    train = _people(0, 6, 5)
    hidden: NDArray[np.bool_] = np.random.default_rng(0).random(len(train.labels)) < 0.5
    train.features[hidden], train.labels[hidden] = 1e3, -1
    found = probe(train, _people(6, 3, 5), "stage", SMALL)
    assert isinstance(found.linear, Agreement)
    assert (found.linear.accuracy or 0) > 0.9


def test_too_few_to_fit_or_nothing_to_test_is_said() -> None:
    with pytest.raises(UserError, match="at least 2"):
        probe(_people(0, 1, 5), _people(1, 1, 5), "stage", SMALL)
    test = _people(6, 1, 2)
    test.labels[:] = -1
    with pytest.raises(UserError, match="apnea"):
        probe(_people(0, 3, 2), test, "apnea", SMALL)


def test_a_threshold_is_chosen_where_positives_are_rare() -> None:
    def rare(people: Labelled, seed: int) -> Labelled:
        rng = np.random.default_rng(seed)
        labels = (rng.random(len(people.labels)) < 0.05).astype(np.int64)
        features = (rng.normal(size=(len(labels), 2)) + 1.5 * labels[:, None]).astype(np.float32)
        return Labelled(features, labels, people.subjects)

    train, test = rare(_people(0, 30, 2), 0), rare(_people(30, 10, 2), 1)
    fitted = fit_probe(train, 2, SMALL)
    assert fitted.threshold < 0.4
    found = probe(train, test, "hypopnea", SMALL).linear
    assert isinstance(found, BinaryAgreement)
    plain = binary_metrics(test.labels, fitted.probabilities(test.features)[:, 1])
    assert (found.mcc or 0) > (plain.mcc or 0)
    assert found.accuracy is not None
    assert found.majority_rate is not None
    assert found.majority_rate > 0.9


def test_the_threshold_is_that_of_those_who_choose() -> None:
    people = _people(0, 10, 2)
    away = np.isin(people.subjects, np.unique(sides(people, SMALL)[1].subjects))
    people.features[away, 1] += 2.5  # by those who choose the probe says yes too readily
    chooses = people.of(away)
    found = fit_probe(people, 2, SMALL)
    said = found.probabilities(chooses.features)[:, 1]
    by_theirs = binary_metrics(chooses.labels, said, found.threshold)
    plain = binary_metrics(chooses.labels, said, 0.5)
    assert (by_theirs.mcc or 0) > 0.9 > 0.6 > (plain.mcc or 0)
