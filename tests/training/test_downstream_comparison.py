"""Whole trials: nothing of the tested people reaches the weights, what is done stays done, and real nights are read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hypnostream.errors import UserError
from hypnostream.models.event_detector import DetectorSettings
from hypnostream.models.synthsleepnet import SynthSleepNetSettings
from hypnostream.training.downstream.comparison import (
    ARMS,
    DOUBTED_NIGHTS,
    FINE_TUNED,
    FROM_SCRATCH,
    ON_FROZEN,
    PROBE,
    SCORES,
    DownstreamRecipe,
    Found,
    Trial,
    compare,
    run_trial,
)
from hypnostream.training.downstream.event_night import (
    EventNight,
    read_event_night,
    read_event_nights,
    write_event_night,
)
from hypnostream.training.downstream.event_nights import event_night as night_of
from hypnostream.training.downstream.event_nights import make_event_nights
from hypnostream.training.downstream.event_task import EventSettings
from hypnostream.training.downstream.pretrained import PretrainSettings
from hypnostream.training.downstream.results import as_markdown, rows_of
from hypnostream.training.downstream.shares import event_folds
from hypnostream.training.evaluation.binary import areas
from hypnostream.training.pretraining.probe import ProbeSettings
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.recordings.readers import found
from hypnostream.training.recordings.recording import Recording
from hypnostream.training.recordings.store import write_recording
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.running.run import WEIGHTS
from tests.training.event_nights_simulated import event_night, event_nights

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="../shared/data is not here")
LOOP = LoopSettings(passes=1, warmup_steps=2, learning_rate=3e-3)
RECIPE = DownstreamRecipe(
    fractions=(1.0,),
    seeds=(0, 1),
    folds=3,
    transfer=(),
    fit=EventSettings(
        rounds=2,
        batch=2,
        segment=30,
        model=DetectorSettings(headdim=8, encoder=SynthSleepNetSettings(16, 2, 1, 1, 8, 1, 2, (16, 8))),
        loop=LOOP,
    ),
    pretrain=PretrainSettings(window=10, loop=LOOP),
    probe=ProbeSettings(hidden=(8,), passes=2),
)


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    for night in event_nights(6, 40):
        write_event_night(tmp_path / "nights", night)
    return tmp_path / "nights"


def trial(nights: Path, out: Path, arm: str, recipe: DownstreamRecipe = RECIPE) -> Trial:
    return Trial(recipe, nights, out, arm, 1.0, 0)


def flipped(night: EventNight) -> EventNight:
    return replace(night, labels={k: np.where(v < 0, v, 1 - v).astype(np.int8) for k, v in night.labels.items()})


def test_nothing_of_the_tested_people_reaches_weights_or_pretraining(nights: Path, tmp_path: Path) -> None:
    split = event_folds(read_event_nights(nights), RECIPE.folds, ())[0]
    other = tmp_path / "other"
    for night in split.train:
        write_event_night(other, night)
    for night in split.test:  # other signals and the opposite labels
        strange = event_night(night.name, night.subject, epochs=40, seed=int(night.source_sha256) + 50)
        write_event_night(other, flipped(strange))
    for arm in ("", FINE_TUNED):
        weights = []
        for folder in (nights, other):
            each = trial(folder, tmp_path / f"out-{folder.name}", arm)
            run_trial(each)
            weights.append((each.folder / WEIGHTS).read_bytes())
        assert weights[0] == weights[1]


def test_each_arm_is_scored_on_the_fold_alone_and_a_trial_that_is_done_is_read(nights: Path, tmp_path: Path) -> None:
    tested = {night.subject for night in event_folds(read_event_nights(nights), RECIPE.folds, ())[0].test}
    run_trial(trial(nights, tmp_path, ""))
    results: list[Found] = []
    for arm in ARMS:
        results += run_trial(trial(nights, tmp_path, arm))
    assert {each.probe for each in results if each.arm == PROBE} == {"linear", "mlp"}
    for each in results:
        assert {score.sensors for score in each.scores} == {"heart+spo2", "heart", "spo2"}
        assert all(set(score.subjects) <= tested for score in each.scores)
    before = (tmp_path / "seed0" / "from-scratch-1" / WEIGHTS).stat().st_mtime_ns
    again = run_trial(trial(nights, tmp_path, FROM_SCRATCH))
    assert again == [each for each in results if each.arm == FROM_SCRATCH]
    assert (tmp_path / "seed0" / "from-scratch-1" / WEIGHTS).stat().st_mtime_ns == before
    with pytest.raises(UserError, match="rounds was 2 and is 3"):
        run_trial(trial(nights, tmp_path, FROM_SCRATCH, replace(RECIPE, fit=replace(RECIPE.fit, rounds=3))))
    table = as_markdown(rows_of(results))
    assert "majority rate | accuracy | mcc | kappa | auprc | auroc" in table
    assert "## simulated, event, from heart+spo2" in table


def test_labels_that_do_not_fit_are_learned_from_by_nobody_and_stand_in_a_row_of_their_own(
    nights: Path, tmp_path: Path
) -> None:
    done = run_trial(trial(nights, tmp_path, FROM_SCRATCH))
    weights = (tmp_path / "seed0" / "from-scratch-1" / WEIGHTS).read_bytes()
    for name in ("a", "b"):  # one of the two is tested in fold 0, without a training anew
        write_event_night(tmp_path / DOUBTED_NIGHTS, flipped(event_night(name, f"sim:{name}", epochs=40, seed=9)))
    both = run_trial(trial(nights, tmp_path, FROM_SCRATCH))
    assert both == run_trial(trial(nights, tmp_path, FROM_SCRATCH))
    assert (tmp_path / "seed0" / "from-scratch-1" / WEIGHTS).read_bytes() == weights
    assert both[: len(done)] == done
    for before, after in zip(done[0].scores, both[1].scores, strict=True):
        assert after.set_name == f"{before.set_name} with labels that do not fit"
        assert set(after.subjects) == {*before.subjects, "sim:a"}
        assert after.found != before.found


def test_on_the_frozen_encoder_only_what_is_around_it_learns(nights: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    for arm in ("", ON_FROZEN, FINE_TUNED):
        run_trial(trial(nights, tmp_path, arm))
    pretrained = load_file(tmp_path / "seed0" / "pretrained" / WEIGHTS)
    frozen = load_file(tmp_path / "seed0" / "context-on-frozen-1" / WEIGHTS)
    tuned = load_file(tmp_path / "seed0" / "fine-tuned-1" / WEIGHTS)
    adaptors = [name for name in pretrained if name.startswith("model.adaptors")]
    assert adaptors
    for name in adaptors:
        inside = f"encoder.{name.removeprefix('model.')}"
        np.testing.assert_array_equal(frozen[inside], pretrained[name])
    assert any((tuned[f"encoder.{n.removeprefix('model.')}"] != pretrained[n]).any() for n in adaptors)


@pytest.mark.slow
def test_a_comparison_that_was_stopped_goes_on_and_ends_the_same(nights: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, arms=(FROM_SCRATCH,))
    for seed in recipe.seeds:
        run_trial(Trial(recipe, nights, tmp_path / "alone", FROM_SCRATCH, 1.0, seed))
    run_trial(trial(nights, tmp_path / "out", FROM_SCRATCH, recipe))
    (tmp_path / "out" / "seed0" / "from-scratch-1" / SCORES).unlink()  # killed before it was judged
    told: list[tuple[int, int]] = []
    found_now = compare(nights, tmp_path / "out", recipe, 1, lambda done, total, _: told.append((done, total)))
    assert told[-1] == (2, 2)
    for seed in recipe.seeds:
        name = f"seed{seed}/from-scratch-1/{SCORES}"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert (tmp_path / "out" / "split0.json").exists()
    # Over the folds each person is tested once.
    (row,) = [row for row in rows_of(found_now) if (row.sensors, row.task) == ("heart+spo2", "event")]
    assert (row.seeds, row.subjects) == (2, 4)


def test_the_shipped_recipe_is_read_and_an_unknown_arm_or_key_is_refused(tmp_path: Path) -> None:
    recipe = load_settings(recipe_path("downstream-product"), DownstreamRecipe)
    assert recipe.seeds == (0, 1, 2, 3, 4)
    assert recipe.fractions == (0.01, 0.05, 0.1, 1.0)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[fit]\nsampler = "weighted"\n')
    with pytest.raises(UserError, match=r"fit\.sampler"):
        load_settings(wrong, DownstreamRecipe)
    with pytest.raises(UserError, match="majority vote"):
        DownstreamRecipe(arms=("majority vote",))


def test_the_store_gives_nights_once_and_what_cannot_be_one_is_left(tmp_path: Path) -> None:
    blind = Recording("blind", "sim:b", "simulated", "none", (), 10)
    write_recording(tmp_path / "store", blind)
    assert make_event_nights(tmp_path / "store", tmp_path / "nights") == []
    with pytest.raises(UserError, match="holds no stored recording"):
        make_event_nights(tmp_path / "nowhere", tmp_path / "nights")
    with pytest.raises(UserError, match="holds no nights"):
        read_event_nights(tmp_path / "nights")


@needs_data
def test_real_nights_have_their_sensors_and_labels_and_slp60_is_one_person(tmp_path: Path) -> None:
    jobs = {job.name: job for job in found(DATA)}
    d1, slp60, a01 = (night_of(jobs[name].read()) for name in ("hugcdn-D1", "slp60", "apnea_ecg-a01"))
    assert d1 is not None
    assert slp60 is not None
    assert a01 is not None
    assert d1.tokens.mask[:, 1:].mean() > 0.95
    assert not d1.tokens.mask[:, 0].any()
    known = d1.labels["event"] >= 0
    auroc, _ = areas(d1.labels["event"][known] == 1, d1.tokens.shape[known, 2, 10])  # how far the saturation climbed
    assert auroc is not None
    assert auroc > 0.8
    assert (d1.labels["event_minute"][1::2] >= 0).sum() > 400
    assert set(a01.labels["event"].tolist()) == {-1}
    assert 280 < (slp60.labels["apnea"] == 1).sum() <= 291  # in a few of the 291 epochs the beats are lost
    assert jobs["santafe-slp60"].read().subject == slp60.subject
    write_event_night(tmp_path, slp60)
    assert read_event_night(tmp_path / "slp60.parquet").source_sha256 == slp60.source_sha256


@needs_data
@pytest.mark.slow
def test_on_a_real_night_the_midpoint_rule_misses_most_of_what_any_overlap_finds() -> None:
    (job,) = [job for job in found(DATA) if job.name == "ucddb002"]
    night = night_of(job.read())
    assert night is not None
    counts = {rule: int((night.by_rule[rule, "event"] == 1).sum()) for rule in ("midpoint", "ten_seconds", "any")}
    assert counts["midpoint"] < counts["ten_seconds"] < counts["any"]
    assert counts["midpoint"] < 0.6 * counts["any"]
    assert (night.labels["event"][night.tokens.mask[:, 0] == 0] == -1).all()
