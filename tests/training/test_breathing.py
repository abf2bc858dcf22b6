"""Teaching the learned model of breathing: what is asked when, of whom, and a bundle at the end that says it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hypnostream.engine.bundle import default_bundle_path, load_bundle
from hypnostream.errors import UserError
from hypnostream.models.breathing_detector import LATE_S, QUESTIONS, BreathingDetectorSettings
from hypnostream.training.breathing.tick_export import bundle_with_tick
from hypnostream.training.breathing.tick_night import TickNight, read_tick_night, read_tick_nights, write_tick_night
from hypnostream.training.breathing.tick_nights import tick_night
from hypnostream.training.breathing.tick_results import as_markdown, card_of, metrics_of
from hypnostream.training.breathing.tick_run import BreathingRecipe, Trial, learned_from, run_trials, sleeper, split_of
from hypnostream.training.breathing.tick_scores import MinuteRate, agreement, best_threshold, with_halves
from hypnostream.training.breathing.tick_task import TickSettings, TickTask, probabilities
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.recordings.sets.hugcdn import read as read_hugcdn
from hypnostream.training.recordings.simulated import simulated_recording
from hypnostream.training.running.loop import LoopSettings, train

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
MODEL = BreathingDetectorSettings(taps=30, stride_s=4, filters=4, width=16, headdim=8, layers=1)
FIT = TickSettings(batch=4, window=600, model=MODEL, loop=LoopSettings(passes=2, warmup_steps=2, learning_rate=5e-3))
RECIPE = BreathingRecipe(folds=2, learned=("dips",), transfer=(), fit=FIT)
SPO2, HEART = 4, 5


def dips(number: int, minutes: int = 40) -> TickNight:
    """A night of saturation and heart beats in which some minutes have a dip, and are said to."""
    rng = np.random.default_rng(number)
    minute = rng.integers(0, 2, minutes).astype(np.int8)
    seconds = minutes * 60
    fall = np.repeat(minute, 60) * np.sin(np.arange(seconds) * np.pi / 60)
    numbers = np.zeros((seconds, 7, 3), np.float16)
    numbers[:, SPO2, 0] = -2 * fall + 0.1 * rng.standard_normal(seconds)
    numbers[:, HEART, 0] = 2 * fall * np.sin(np.arange(seconds) / 5) + 0.1 * rng.standard_normal(seconds)
    mask = np.zeros((seconds, 7), np.bool_)
    mask[:, [SPO2, HEART]] = True
    unknown = np.full((seconds, 2), -1, np.int8)
    return TickNight(
        f"n{number}", f"dips:p{number}", "dips", "none", f"{number:064d}", numbers, mask, unknown,
        np.full(seconds // 30, -1, np.int8), minute,
    )  # fmt: skip


def test_each_question_is_asked_when_its_time_is_over_and_late_enough() -> None:
    night = replace(dips(0), second=np.full((2400, 2), 0, np.int8))
    night.second[100:130] = 1
    target = night.target()
    assert target.shape == (2400, len(QUESTIONS))
    assert np.flatnonzero(target[:, 0] == 1).tolist() == list(range(100, 130))
    assert np.flatnonzero(target[:, 2] == 1).tolist() == list(range(100 + LATE_S, 130 + LATE_S))
    assert (target[:LATE_S, 2] == -1).all()
    asked = np.flatnonzero(target[:, 4] >= 0)
    assert asked[0] == 60 + LATE_S - 1  # as the second ends that is a minute after the first minute
    assert (np.diff(asked) == 60).all()
    assert target[asked, 4].tolist() == night.minute[: len(asked)].tolist()


def test_a_night_comes_back_from_its_file_and_a_damaged_one_says_so(tmp_path: Path) -> None:
    write_tick_night(tmp_path, dips(3))
    night = read_tick_nights(tmp_path)[0]
    assert (night.name, night.subject, night.source_sha256) == ("n3", "dips:p3", f"{3:064d}")
    assert np.array_equal(night.numbers, dips(3).numbers)
    path = tmp_path / "n3.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="make it again"):
        read_tick_night(path)


def test_a_sensor_left_out_is_zeros_and_is_not_there() -> None:
    alone = dips(0).with_sensors(("heart",))
    assert not alone.mask[:, SPO2].any()
    assert not alone.numbers[:, SPO2].any()
    assert alone.mask[:, HEART].all()


def test_a_pass_has_each_labelled_second_once() -> None:
    task = TickTask([dips(0), dips(1, 25)], FIT)
    for pass_index in (0, 1):
        seen = [np.zeros(len(night), np.int64) for night in task.nights]
        for night, start in task.windows(pass_index):
            seen[night][max(0, start) : start + FIT.window] += 1
        for night, counts in enumerate(seen):
            assert (counts[(task.targets[night] >= 0).any(1)] == 1).all()
    assert task.windows(0) != task.windows(1)


def test_nothing_is_asked_of_seconds_without_a_sensor() -> None:
    night = dips(0)
    night.mask[:1200] = False
    task = TickTask([night], FIT)
    assert (task.targets[0][:1200] == -1).all()
    with pytest.raises(UserError, match="scored for apnea"):
        TickTask([replace(night, mask=np.zeros_like(night.mask))], FIT)


def test_a_seed_gives_the_same_weights() -> None:
    weights = []
    for _ in range(2):
        task = TickTask([dips(i, 20) for i in range(3)], FIT)
        train(task, FIT.loop)
        weights.append(torch.cat([p.flatten() for p in task.module.parameters()]))
    assert torch.equal(*weights)


def test_it_learns_and_tells_by_either_sensor() -> None:
    settings = replace(FIT, window=400, loop=replace(FIT.loop, passes=15, learning_rate=1e-2))
    task = TickTask([dips(i) for i in range(4)], settings)
    curves = train(task, settings.loop)
    assert curves[-1]["loss"] < 0.7 * curves[0]["loss"]
    for sensors in (("spo2", "heart"), ("spo2",), ("heart",)):
        night = dips(9).with_sensors(sensors)
        target, said = night.target()[:, 4], probabilities(task.module, [night])[0][:, 4]
        assert said[target == 1].mean() > said[target == 0].mean() + 0.2, sensors


def test_people_are_on_one_side_and_simulated_sleepers_too() -> None:
    nights = [dips(i) for i in range(6)] + [replace(dips(7), set_name="away", subject="away:1", name="away")]
    recipe = replace(RECIPE, transfer=("away",))
    for fold in (0, 1):
        split = split_of(nights, recipe, fold)
        assert not {n.subject for n in split.train} & {n.subject for n in split.test}
        assert "away" in {n.name for n in split.test}
    assert len(split_of(nights, recipe, None).train) == 6
    with pytest.raises(UserError, match="ingest"):
        learned_from(nights, replace(RECIPE, learned=("another",)))


def test_what_a_bundle_gets_never_learns_from_the_night_that_its_stager_never_saw() -> None:
    nights = [dips(i) for i in range(3)] + [replace(dips(3), name="ucddb022", subject="dips:022")]
    nights.append(replace(dips(4), name="ucddb022-again", subject="dips:022"))
    split = split_of(nights, RECIPE, None)
    assert {night.name for night in split.train} == {"n0", "n1", "n2"}
    assert {night.name for night in split.test} == {"ucddb022", "ucddb022-again"}
    assert "Never trained on: dips:022." in card_of(split, [])
    assert "| dips | 3 | 3 | none |" in card_of(split, [])
    assert {night.subject for fold in (0, 1) for night in split_of(nights, RECIPE, fold).test} >= {"dips:022"}
    with pytest.raises(UserError, match="ucddb022 alone"):
        split_of(nights[3:], RECIPE, None)


@pytest.mark.slow
def test_folds_tables_and_a_bundle_that_says_what_torch_says(tmp_path: Path) -> None:
    for number in range(6):
        write_tick_night(tmp_path / "nights", dips(number))
    trials = [Trial(RECIPE, tmp_path / "nights", tmp_path, fold) for fold in (0, 1, None)]
    told: list[str] = []
    reached = run_trials(trials, 1, lambda done, total, name: told.append(f"{done}/{total} {name}"))
    assert told == ["1/3 fold0", "2/3 fold1", "3/3 all"]
    assert [each.fold for each in reached] == [0, 1]
    assert len({rate.night for each in reached for rate in each.rates}) == 6  # each person is tested once
    before = (tmp_path / "fold0" / "weights.safetensors").stat().st_mtime_ns
    assert run_trials(trials, 1, lambda *_: None) == reached  # what is done stays done
    assert (tmp_path / "fold0" / "weights.safetensors").stat().st_mtime_ns == before
    table = as_markdown(reached)
    assert "majority rate" in table
    assert "| dips, event in minute, spo2+heart | 6, " in table
    nights = read_tick_nights(tmp_path / "nights")
    split = split_of(nights, RECIPE, None)
    module = TickTask(nights, replace(FIT, model=BreathingDetectorSettings())).module
    worst = bundle_with_tick(
        default_bundle_path(), tmp_path / "bundle", module, card_of(split, reached), {"breathing_sets": "dips"}, {}
    )
    assert worst <= 1e-5
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.content.tick is not None
    assert bundle.content.training["breathing_sets"] == "dips"
    card = (tmp_path / "bundle" / "card.md").read_text()
    assert card.count("## Breathing, the learned part") == 1
    assert "| dips | 6 | 6 | none |" in card
    assert metrics_of(reached) == {}  # of HuGCDN alone


def test_rates_agree_as_far_as_they_do() -> None:
    pairs = ((2.0, 4.0), (10.0, 9.0), (20.0, 21.0), (50.0, 40.0))
    found = agreement([MinuteRate("s", "spo2", f"n{i}", a, b) for i, (a, b) in enumerate(pairs)])
    assert found.bias == pytest.approx(-2.0)
    assert found.low < -2 < found.high
    assert found.same_band == 1.0
    assert found.largest_band == 0.25
    assert 0.9 < found.correlation < 1


def test_a_threshold_is_that_of_the_largest_f1() -> None:
    labels, said = np.array([0, 0, 1, 1, 1], np.int8), np.array([0.1, 0.3, 0.4, 0.8, 0.9], np.float32)
    assert 0.3 < best_threshold(labels, said) <= 0.4


def test_a_simulated_night_has_all_sensors_and_a_label_each_second() -> None:
    night = tick_night(simulated_recording(sleeper(0.5, 40.0), 7))
    assert night is not None
    assert night.mask[300:].mean(0).min() > 0.9
    assert set(np.unique(night.second)) == {0, 1}
    late = night.numbers[:, 0, 0].astype(float)
    assert late[night.second[:, 1] == 1].mean() < late[night.second[:, 0] == 0].mean() - 0.5  # flow falls in apneas


@needs_data
def test_a_real_night_has_saturation_and_heart_and_labels_by_the_minute() -> None:
    night = tick_night(read_hugcdn(DATA / "hugcdn2014_oxi" / "D1.npz"))
    assert night is not None
    assert night.has(("spo2", "heart"))
    assert not night.has(("flow",))
    assert (night.second == -1).all()
    assert set(np.unique(night.minute)) == {0, 1}


def test_the_shipped_recipe_is_one() -> None:
    recipe = load_settings(recipe_path("breathing"), BreathingRecipe)
    assert recipe.fit.model == BreathingDetectorSettings()
    assert "Apnea-ECG" in recipe.transfer


def test_a_minute_is_answered_by_itself_and_the_surer_of_its_halves() -> None:
    said = np.full((200, 5), 0.5, np.float32)
    said[100, 4] = 0.8  # odds of 4
    said[100, 3], said[70, 3] = 0.2, 0.9  # odds of 1/4, and of 9 half a minute before
    answered = with_halves(said)
    assert answered[100, 4] == pytest.approx(6 / 7)  # odds of 6: the geometric mean of 4 and 9
    assert np.array_equal(answered[:, :4], said[:, :4])
    said[70, 3] = 0.1
    assert with_halves(said)[100, 4] == pytest.approx(0.5)  # of 4 and 1/4
    assert np.isfinite(with_halves(np.array([[0, 0, 0, 0, 1.0]] * 40, np.float32))).all()
