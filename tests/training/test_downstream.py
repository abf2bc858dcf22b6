"""Downstream: labels by rule, people on one side, nights apart, rare answers, and what is chosen on whom."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as forall
from hypothesis import settings
from hypothesis import strategies as st

from hypnostream.errors import UserError
from hypnostream.models.event_detector import DetectorSettings
from hypnostream.models.synthsleepnet import SynthSleepNetSettings
from hypnostream.training.damage.augment import subset_left
from hypnostream.training.downstream.event_labels import labels_of
from hypnostream.training.downstream.event_night import (
    TASKS,
    EventNight,
    alone,
    read_event_night,
    read_event_nights,
    write_event_night,
)
from hypnostream.training.downstream.event_task import EventSettings, EventTask, probabilities
from hypnostream.training.downstream.scores import judged, scores, threshold_by
from hypnostream.training.downstream.shares import event_folds, given_labels, stratum
from hypnostream.training.losses.balanced_bce import balance, balanced_bce
from hypnostream.training.recordings.labels import repeated, tracks_of
from hypnostream.training.recordings.recording import Event, Recording
from hypnostream.training.running.loop import LoopSettings, Share, train
from tests.training.event_nights_simulated import event_night, event_nights

ENCODER = SynthSleepNetSettings(16, 2, 1, 1, 8, 1, 2, (16, 8))
SMALL = EventSettings(
    rounds=3,
    batch=3,
    segment=30,
    lose=0.3,
    model=DetectorSettings(headdim=8, dropout=0.0, encoder=ENCODER),
    loop=LoopSettings(passes=6, learning_rate=1e-2, warmup_steps=2),
)


def recording(epochs: int, **parts: Any) -> Recording:
    return Recording("r", "sim:r", "simulated", "none", (), epochs, **parts)


# Labels


def test_the_midpoint_rule_misses_events_that_the_others_find_and_only_ten_seconds_is_learned() -> None:
    events = (
        Event(2.0, 11.0, "apnea_obstructive", "a"),  # within epoch 0, over before its middle
        Event(40.0, 12.0, "hypopnea", "h"),  # covers the middle of epoch 1
        Event(85.0, 10.0, "apnea_central", "c"),  # 5 s of epoch 2, 5 s of epoch 3
    )
    tracks = tracks_of(events, 5, ("apnea", "hypopnea", "apnea_or_hypopnea"))
    labels, by_rule = labels_of(recording(5, events=events, tracks=tracks))
    assert by_rule["midpoint", "apnea"].tolist() == [0, 0, 0, 0, 0]
    assert by_rule["any", "apnea"].tolist() == [1, 0, 1, 1, 0]
    assert by_rule["ten_seconds", "apnea"].tolist() == [1, 0, 0, 0, 0]
    assert by_rule["midpoint", "event"].tolist() == [0, 1, 0, 0, 0]
    assert labels["event"].tolist() == [1, 1, 0, 0, 0]
    assert labels["hypopnea"].tolist() == [0, 1, 0, 0, 0]
    assert set(labels["event_minute"].tolist()) == {-1}


def test_a_minute_is_asked_where_it_ends_and_what_nobody_scored_is_unknown_not_no() -> None:
    minutes = repeated([0, 1, 1], 60, 7 * 30)
    labels, by_rule = labels_of(recording(7, tracks={"apnea_or_hypopnea": minutes}))
    assert labels["event_minute"].tolist() == [-1, 0, -1, 1, -1, 1, -1]
    assert set(labels["event"].tolist()) == {-1}
    assert not by_rule
    half = repeated([1, 0], 30, 4 * 30)
    labels, _ = labels_of(recording(4, tracks={"apnea_or_hypopnea": half}))
    assert labels["event"].tolist() == [1, 0, -1, -1]


def test_a_night_comes_back_from_its_files_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    night = event_night("a", "sim:a", epochs=20)
    night = replace(night, by_rule={("midpoint", "apnea"): night.labels["event"]})
    write_event_night(tmp_path, night)
    back = read_event_night(tmp_path / "a.parquet")
    np.testing.assert_array_equal(back.tokens.shape, night.tokens.shape)
    np.testing.assert_array_equal(back.by_rule["midpoint", "apnea"], night.labels["event"])
    assert all((back.labels[task] == night.labels[task]).all() for task in TASKS)
    (tmp_path / "a.labels.safetensors").write_bytes(b"\x80\x04nothing")
    with pytest.raises(UserError, match=r"a\.labels\.safetensors holds no labels"):
        read_event_nights(tmp_path)


# Who is where


def people() -> list[EventNight]:
    named = [(f"c{i}", f"hugcdn:C{i}", "H") for i in range(4)] + [(f"d{i}", f"hugcdn:D{i}", "H") for i in range(4)]
    named += [("slp60", "slpdb:slp60", "M"), ("santafe-slp60", "slpdb:slp60", "S"), ("slp01", "slpdb:slp01", "M")]
    named += [(f"x{i}", "apnea_ecg:one of 32", "A") for i in range(3)]
    return [event_night(name, subject, set_name, 20, i) for i, (name, subject, set_name) in enumerate(named)]


def test_a_person_of_two_sets_is_on_one_side_and_each_is_tested_once_whatever_the_order_of_files() -> None:
    nights = people()
    splits = event_folds(nights, 4, ("A",))
    tested = [night.name for split in splits for night in split.test if night.set_name != "A"]
    assert sorted(tested) == sorted(night.name for night in nights if night.set_name != "A")
    for split in splits:
        assert not {n.subject for n in split.train} & {n.subject for n in split.test}
        assert {n.name for n in split.test} >= {"x0", "x1", "x2"}
        assert len({any(n.name == name for n in split.test) for name in ("slp60", "santafe-slp60")}) == 1
    backwards = event_folds(nights[::-1], 4, ("A",))
    assert [s.manifest() for s in splits] == [s.manifest() for s in backwards]


def test_a_person_of_a_set_that_is_only_tested_may_not_be_in_another() -> None:
    with pytest.raises(UserError, match="slpdb:slp60"):
        event_folds(people(), 3, ("S",))


@settings(max_examples=15, deadline=None)
@forall(st.integers(0, 50))
def test_a_small_share_has_someone_of_each_stratum_and_is_held_by_a_larger_one(seed: int) -> None:
    nights = people()
    before = {night.name: np.zeros(len(night), np.bool_) for night in nights}
    for fraction in (0.01, 0.05, 0.1, 1.0):
        now = given_labels(nights, fraction, seed)
        assert all((before[name] <= now[name]).all() for name in now)
        assert {stratum(n) for n in nights if now[n.name].any()} == {stratum(n) for n in nights}
        before = now
    known = {night.name: night.stage >= 0 for night in nights}
    assert all((before[name] == known[name]).all() for name in before)  # each label once, none drawn twice


# Training


def test_of_rare_events_a_hit_weighs_more_and_the_mean_weight_stays_one() -> None:
    target = np.array([[1, -1], [0, 1], [0, 1], [0, 1]], np.int8)
    weight = balance(target, 1.0)
    torch.testing.assert_close(weight, torch.tensor([[2 / 3, 2.0], [1.0, 1.0]]))
    logits = torch.zeros(4, 2)
    loss = balanced_bce(logits, torch.from_numpy(target), weight, Share())
    torch.testing.assert_close(loss, torch.log(torch.tensor(2.0)))
    focused = balanced_bce(torch.full((4, 2), 3.0), torch.from_numpy(target), weight, Share(), focus=2.0)
    assert focused < balanced_bce(torch.full((4, 2), 3.0), torch.from_numpy(target), weight, Share())


class Half(Share):
    """One of two processes; the other has as many labels."""

    def total(self, value: float) -> float:
        return 2 * value


def test_labels_of_nobody_give_no_gradient_and_the_parts_of_two_processes_add_up() -> None:
    logits = torch.randn(6, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    target = torch.tensor([[1, 0], [0, -1], [-1, 1], [1, 1], [0, -1], [-1, 1]])
    weight = torch.tensor([[0.5, 2.0], [1.0, 3.0]])
    whole = balanced_bce(logits, target, weight, Share(), 1.0)
    (gradient,) = torch.autograd.grad(whole, logits)
    assert bool((gradient[target < 0] == 0).all())
    assert bool((gradient[target >= 0] != 0).all())
    parts = [balanced_bce(logits[rows], target[rows], weight, Half(), 1.0) for rows in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(parts[0] + parts[1], whole)
    assert float(balanced_bce(logits.detach(), torch.full_like(target, -1), weight, Share())) == 0


def test_apnea_trains_on_labels_of_several_tasks_and_every_night_comes_once_before_any_comes_again() -> None:
    task = EventTask(event_nights(5), SMALL)
    drawn = [night for number in range(10) for night in task.chosen(number // 3, number % 3)]
    assert all(sorted(drawn[i : i + 5]) == [0, 1, 2, 3, 4] for i in range(0, 30, 5))
    curves = train(task, SMALL.loop)
    assert curves[-1]["loss"] < 0.6 * curves[0]["loss"]
    unseen = event_night("new", "sim:new", seed=77)
    said = probabilities(task.module, unseen)
    ill = unseen.labels["event"] == 1
    assert said[ill, 0].mean() > said[unseen.labels["event"] == 0, 0].mean() + 0.4


def test_no_window_is_of_two_nights() -> None:
    nights = event_nights(3)
    task = EventTask(nights, SMALL)
    alone_said = probabilities(task.module, nights[1])
    with torch.no_grad():  # beside others, and padded behind its end
        shape, level, mask = (
            torch.from_numpy(np.stack([getattr(n.tokens, name) for n in nights])) for name in ("shape", "level", "mask")
        )
        shape[0], shape[2] = 9.0, -9.0
        beside = torch.sigmoid(task.module(shape, level, mask)[0][1]).numpy()
    np.testing.assert_allclose(beside, alone_said, atol=1e-5)


def test_training_does_not_look_at_labels_that_are_not_given() -> None:
    nights = event_nights(4)
    given = given_labels(nights, 0.3, 0)
    other = [
        replace(n, labels={k: np.where(given[n.name] | (v < 0), v, 1 - v).astype(np.int8) for k, v in n.labels.items()})
        for n in nights
    ]
    weights = []
    for each in (nights, other):
        task = EventTask(each, replace(SMALL, loop=replace(SMALL.loop, passes=2)), given, statistics_of=nights)
        train(task, task.settings.loop)
        weights.append(task.module.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_without_any_given_label_there_is_nothing_to_learn() -> None:
    nights = event_nights(2)
    with pytest.raises(UserError, match="no epoch of the training nights"):
        EventTask(nights, SMALL, {night.name: np.zeros(len(night), np.bool_) for night in nights})


@settings(max_examples=30, deadline=None)
@forall(st.integers(0, 10_000), st.floats(0, 1))
def test_lost_sensors_leave_each_night_one_that_it_had(seed: int, burst: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    worn = (torch.rand(6, 1, 3, generator=generator) < 0.6).float()
    mask = worn.expand(6, 40, 3)
    lost = subset_left(mask, 1.0, 0.0, generator)
    assert bool((lost <= mask).all())
    assert torch.equal(lost.amax((1, 2)), mask.amax((1, 2)))
    several = worn.sum((1, 2)) > 1
    assert bool((lost.amax(1).sum(1)[several] < worn.sum((1, 2))[several]).all())
    assert bool((subset_left(mask, 0.0, burst, generator) <= mask).all())


# Scores


def test_each_tested_epoch_counts_once_and_stands_beside_the_majority_rate() -> None:
    nights = [event_night("a", "sim:a"), event_night("b", "sim:b", seed=1)]
    said = [night.labels["event"].astype(np.float32).clip(0) for night in nights]
    (found,) = scores(nights, ("heart", "spo2"), TASKS.index("event"), said, 0.5)
    count = sum(int((night.labels["event"] >= 0).sum()) for night in nights)
    assert sum(found.epochs.values()) == count
    assert (found.found["accuracy"], found.found["mcc"]) == (1.0, 1.0)
    positive = sum(int((night.labels["event"] == 1).sum()) for night in nights) / count
    assert found.found["majority_rate"] == pytest.approx(max(positive, 1 - positive))


def test_a_rare_answer_never_given_is_as_right_as_the_majority_and_has_no_correlation() -> None:
    night = event_night("a", "sim:a")
    (found,) = scores([night], ("spo2",), TASKS.index("event"), [np.zeros(len(night), np.float32)], 0.5)
    assert found.found["kappa"] == 0.0
    assert found.found["accuracy"] == 1 - (found.found["prevalence"] or 0)


def test_the_threshold_is_chosen_on_training_people_whatever_the_tested_labels_are() -> None:
    train_nights, tested = event_nights(3), event_night("t", "sim:t", seed=9)
    given = given_labels(train_nights, 1.0, 0)
    flipped = replace(tested, labels={k: np.where(v < 0, v, 1 - v).astype(np.int8) for k, v in tested.labels.items()})

    def answers(night: EventNight) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        rise = night.tokens.shape[:, 2, 10:11] / 10
        return np.repeat(rise.clip(0, 1), len(TASKS), axis=1).astype(np.float32)

    as_is, other = judged(answers, train_nights, given, [tested]), judged(answers, train_nights, given, [flipped])
    assert len(as_is) == len(other) > 0
    for a, b in zip(as_is, other, strict=True):
        assert a.found["accuracy"] == pytest.approx(1 - (b.found["accuracy"] or 0))  # the same answers


def test_a_threshold_is_found_where_there_is_one_and_else_is_a_half() -> None:
    labels = np.array([0, 0, 1, 1, -1], np.int8)
    assert 0.2 < threshold_by(labels, np.array([0.1, 0.2, 0.3, 0.4, 0.9], np.float32)) <= 0.3
    assert threshold_by(labels, np.full(5, 0.3, np.float32)) == 0.5
    assert threshold_by(np.full(5, -1, np.int8), np.zeros(5, np.float32)) == 0.5


def test_a_sensor_left_out_is_gone_from_the_tokens_and_epochs_without_any_are_not_asked() -> None:
    night = event_night("a", "sim:a")
    heart = alone(night, ("heart",))
    assert not heart.tokens.shape[:, 2].any()
    assert not heart.tokens.mask[:, 2].any()
    assert set(alone(night, ("eeg",)).labels["event"].tolist()) == {-1}
