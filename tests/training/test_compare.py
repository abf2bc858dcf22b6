"""Comparisons: every arm is trained on the same people, judged on the same others, once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hypnostream.errors import UserError
from hypnostream.models.stager import StagerConfig
from hypnostream.training.damage.missing import CONDITIONS
from hypnostream.training.evaluation.report import evaluate
from hypnostream.training.evaluation.store import read_predictions
from hypnostream.training.nights.token_night import TokenNight, read_token_night, write_token_night
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.staging.compare import Arm, Comparison, Trial, run_trial, run_trials, tables, trials
from hypnostream.training.staging.evaluate import under
from hypnostream.training.staging.stager_task import StagerSettings
from tests.training.test_training import simulated_night

FIT = StagerSettings(
    batch=2,
    segment=32,
    loop=LoopSettings(passes=2, learning_rate=3e-3, warmup_steps=2),
    model=StagerConfig(d_model=32, headdim=16, filling="imagination"),
)
SMALL = Comparison(
    "a comparison",
    (Arm("as it is"), Arm("no past", ("model.context=none",)), Arm("few labels", labels=0.5, pretrained=True)),
    seeds=(0, 1),
    conditions=("rate 0.0", "only eog"),
    fit=FIT,
    pretrain=SynthSleepNetRecipe(window=10, loop=LoopSettings(passes=1)),
)


def _nights(folder: Path) -> list[TokenNight]:
    nights = [simulated_night(f"night{i}", f"subject{i // 2}", seed=i) for i in range(6)]
    for night in nights:
        write_token_night(folder / f"{night.name}.parquet", night)
    return nights


def _trials(folder: Path, comparison: Comparison) -> list[Trial]:
    paths = [folder / f"{night.name}.parquet" for night in _nights(folder)]
    return trials(comparison, paths[:4], paths[4:], folder / "out")


def test_all_arms_of_a_seed_come_before_the_next_seed(tmp_path: Path) -> None:
    todo = _trials(tmp_path, SMALL)
    assert [(t.arm.name, t.seed) for t in todo[:4]] == [
        ("as it is", 0),
        ("no past", 0),
        ("few labels", 0),
        ("as it is", 1),
    ]
    assert len({t.folder for t in todo}) == len(todo)


@pytest.mark.slow
def test_arms_differ_by_what_they_set_and_are_not_trained_twice(tmp_path: Path) -> None:
    comparison = replace(SMALL, seeds=(0,))
    todo = _trials(tmp_path, comparison)
    found = run_trials(todo, workers=1)
    assert all(set(scores) == set(SMALL.conditions) for scores in found)
    assert found[0] != found[1]
    said = [read_predictions(trial.folder / "predictions.parquet") for trial in todo]
    assert [(each.model, each.causal) for each in said] == [("as it is", True), ("no past", True), ("few labels", True)]
    staging = evaluate(said[0], said[1]).staging
    assert staging is not None
    assert staging.figures["kappa"].value == pytest.approx(found[0]["rate 0.0"]["kappa"])
    weights = [trial.folder / "weights.safetensors" for trial in todo]
    written = [path.stat().st_mtime_ns for path in weights]
    with_another_seed = replace(comparison, seeds=(0, 1))
    assert run_trials([replace(trial, comparison=with_another_seed) for trial in todo], workers=1) == found
    assert [path.stat().st_mtime_ns for path in weights] == written
    text = tables(comparison, todo, found, "simulated nights")
    assert text.count("| no past |") == 3
    assert "simulated nights" in text
    best = max(scores["rate 0.0"]["kappa"] for scores in found)
    assert f"**{best:.3f}**" in text


def test_another_setting_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    trial = _trials(tmp_path, replace(SMALL, arms=SMALL.arms[:1], seeds=(0,)))[0]
    run_trial(trial)
    other = replace(trial, comparison=replace(trial.comparison, fit=replace(FIT, class_power=0.5)))
    with pytest.raises(UserError, match="class_power"):
        run_trial(other)


def test_nothing_of_those_who_are_judged_reaches_the_weights(tmp_path: Path) -> None:
    written = []
    for folder, factor in ((tmp_path / "a", 1.0), (tmp_path / "b", 5.0)):
        folder.mkdir()
        trial = _trials(folder, replace(SMALL, arms=SMALL.arms[2:], seeds=(0,)))[0]
        for path in trial.test:
            night = read_token_night(path)
            stage = ((night.stage + int(factor)) % 5).astype(np.int8)
            write_token_night(path, replace(night, shape=night.shape * np.float32(factor), stage=stage))
        run_trial(trial)
        written.append([path.read_bytes() for path in sorted(trial.folder.rglob("weights.safetensors"))])
    assert len(written[0]) == 2  # the arm's, and those of its pretraining
    assert written[0] == written[1]


def test_a_condition_takes_the_same_from_a_night_in_any_company(tmp_path: Path) -> None:
    nights = _nights(tmp_path)
    half = next(each for each in CONDITIONS if each.name == "rate 0.5")
    alone, together = under(half, nights[2:3])[0], under(half, nights)[2]
    assert np.array_equal(alone.mask, together.mask)
    assert 0.4 < 1 - alone.mask.sum() / nights[2].mask.sum() < 0.6


def test_arms_and_conditions_that_make_no_table_are_refused() -> None:
    with pytest.raises(UserError, match="name of its own"):
        replace(SMALL, arms=(Arm("a"), Arm("a")))
    with pytest.raises(UserError, match="rate 2"):
        replace(SMALL, conditions=("rate 2",))


@pytest.mark.parametrize("name", ["ablation", "labels", "subsets"])
def test_shipped_comparisons_can_be_made(name: str) -> None:
    comparison = load_settings(recipe_path(name), Comparison)
    for trial in trials(comparison, [], [], Path("out")):
        assert trial.seed in comparison.seeds
