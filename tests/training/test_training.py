"""Training: splits keep people apart, augmentation keeps what it must, a run is repeatable and resumable."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hypnostream.engine.session import NEVER_S
from hypnostream.engine.torch_backend import load_weights
from hypnostream.errors import UserError
from hypnostream.models.filling import FILLINGS
from hypnostream.models.fills import MeanToken
from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble
from hypnostream.models.token_features import BAND_SHAPE, LEVEL, SHAPE, WAVELET_SHAPE
from hypnostream.training.bundling.export import save_weights
from hypnostream.training.damage.augment import AugmentSettings, ages_s, other_amplifier, sensors_lost
from hypnostream.training.nights.channels import BANDS
from hypnostream.training.nights.splits import Split, split_by_subject, write_split
from hypnostream.training.nights.token_night import TokenNight, read_token_night, write_token_night
from hypnostream.training.running.loop import LoopSettings, Share, train
from hypnostream.training.staging.commands import crossvalidated
from hypnostream.training.staging.evaluate import predict, score
from hypnostream.training.staging.held_out import PUBLISHED_FOLDS, folds_of, in_fold
from hypnostream.training.staging.members import Member, ensemble_of, train_members, with_seed
from hypnostream.training.staging.stager_recipe import Recipe, load_recipe
from hypnostream.training.staging.stager_task import StagerSettings, StagerTask

SMALL = StagerSettings(
    batch=2,
    segment=32,
    loop=LoopSettings(passes=6, learning_rate=3e-3, warmup_steps=2, average=0.5),
    model=StagerConfig(d_model=32, headdim=16, filling="imagination"),
)


def simulated_night(name: str, subject: str, epochs: int = 100, seed: int = 0) -> TokenNight:
    """Stages that stay for a while, features that follow them: easy, so that learning shows."""
    rng = np.random.default_rng(seed)
    stage = np.repeat(rng.integers(0, 5, epochs // 10 + 1), 10)[:epochs].astype(np.int8)
    centres = np.random.default_rng(99).normal(size=(5, 3, SHAPE))
    shape = centres[stage] + rng.normal(size=(epochs, 3, SHAPE)) * 0.3
    mask = np.ones((epochs, 3), np.float32)
    mask[: epochs // 10, 1] = 0
    level = rng.normal(size=(epochs, 3, LEVEL)) - 12
    shape[:, 2, -1] = 0
    keep = mask[..., None]
    return TokenNight(
        name,
        subject,
        "simulated",
        "none",
        "0" * 64,
        (shape * keep).astype(np.float32),
        (level * keep).astype(np.float32),
        mask,
        stage,
    )


def _nights(count: int = 4) -> list[TokenNight]:
    return [simulated_night(f"night{i}", f"subject{i // 2}", seed=i) for i in range(count)]


def test_a_subject_on_both_sides_is_refused() -> None:
    a, b = simulated_night("a", "one"), simulated_night("b", "one")
    with pytest.raises(UserError, match="one"):
        Split((a,), (b,))


def test_both_nights_of_a_subject_stay_together() -> None:
    nights = [simulated_night(f"SC4{s:02d}{n}E0", f"sleepedf:SC{s:02d}", 20) for s in range(10) for n in (1, 2)]
    for fold in range(5):
        split = split_by_subject(nights, in_fold(fold))
        assert len(split.test) == 4
        assert not {n.subject for n in split.train} & {n.subject for n in split.test}
        assert {entry["night"] for entry in split.manifest()["test"]} == {n.name for n in split.test}


def test_without_nights_to_hold_out_nothing_is_trained() -> None:
    nights = [simulated_night(f"n{s}", f"sleepedf:SC{s:02d}", 20) for s in range(10)]
    assert {f: len(split.test) for f, split in folds_of(nights, None).items()} == dict.fromkeys(PUBLISHED_FOLDS, 2)
    with pytest.raises(UserError, match="fold 0"):
        folds_of(nights[1:4], None)
    with pytest.raises(UserError, match="--folds N, 2 to 2"):
        folds_of(_nights(), None)


def test_a_night_comes_back_from_its_file(tmp_path: Path) -> None:
    night = simulated_night("a", "one")
    write_token_night(tmp_path / "a.parquet", night)
    back = read_token_night(tmp_path / "a.parquet")
    assert (back.name, back.subject, back.licence) == (night.name, night.subject, night.licence)
    for name in ("shape", "level", "mask", "stage"):
        assert np.array_equal(getattr(back, name), getattr(night, name))


def test_a_file_that_is_no_night_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"nonsense")
    with pytest.raises(UserError, match=r"a\.parquet") as caught:
        read_token_night(tmp_path / "a.parquet")
    assert "\n" not in str(caught.value)


def test_sensors_are_lost_but_never_all_of_them_for_the_whole_night() -> None:
    generator = torch.Generator().manual_seed(0)
    lost = sensors_lost(torch.ones(400, 50, 3), AugmentSettings(burst=0.0), generator)
    kept = lost.amax(1)
    assert bool((kept.sum(1) >= 1).all())
    assert 0.2 < (kept.sum(1) == 1).float().mean() < 0.8
    assert 0.1 < (kept.sum(1) == 3).float().mean() < 0.6


def test_bursts_end_or_begin_within_a_night_and_ages_count_them() -> None:
    generator = torch.Generator().manual_seed(0)
    settings = AugmentSettings(keep=1.0, subset_share=0.0, burst=1.0)
    mask = sensors_lost(torch.ones(50, 60, 3), settings, generator)
    assert bool(((mask.sum(1) > 0) & (mask.sum(1) < 60)).any())
    age = ages_s(mask, never_s=1e6)
    assert bool((age[mask > 0] == 0).all())
    gone = (mask[:, 1:] == 0) & (mask[:, :-1] > 0)
    assert bool((age[:, 1:][gone] == 30).all())


def test_another_amplifier_moves_relative_powers_and_keeps_them_relative() -> None:
    torch.manual_seed(0)
    ln = torch.log_softmax(torch.randn(3, 20, 3, BAND_SHAPE), -1)
    shape = torch.cat([torch.randn(3, 20, 3, WAVELET_SHAPE), ln], -1)
    shape[:, :, 2, -1] = 0  # an EOG has four bands
    settings = AugmentSettings(noise=0.0, amplifier_share=1.0)
    moved = other_amplifier(shape, torch.ones(3, SHAPE), settings, torch.Generator().manual_seed(0))
    for channel, bands in enumerate(BANDS):
        part = moved[:, :, channel, WAVELET_SHAPE : WAVELET_SHAPE + bands]
        assert torch.allclose(part.exp().sum(-1), torch.ones(3, 20), atol=1e-4)
    assert bool((moved[:, :, 2, -1] == 0).all())
    assert not torch.allclose(moved, shape)
    still = other_amplifier(
        shape, torch.ones(3, SHAPE), AugmentSettings(noise=0.0, amplifier_share=0.0), torch.Generator()
    )
    assert torch.allclose(still, shape)


def test_every_loss_of_training_falls_and_a_seed_is_a_result() -> None:
    nights = _nights()
    tasks = [StagerTask(nights, with_seed(SMALL, seed)) for seed in (0, 0, 1)]
    curves = [train(task, task.settings.loop) for task in tasks]
    assert curves[0] == curves[1]
    for name, value in tasks[0].module.state_dict().items():
        assert torch.equal(value, tasks[1].module.state_dict()[name]), name
    assert curves[2] != curves[0]
    first, last = curves[0][0], curves[0][-1]
    assert set(first) == {"loss", "full", "lost", "consistency", "imagination", "smccl"}
    for name in ("loss", "full", "lost", "imagination", "smccl"):
        assert last[name] < first[name], name
    assert last["full"] < 0.8 * first["full"]


def test_a_night_that_begins_anew_does_not_know_how_long_a_sensor_has_been_gone() -> None:
    lossy = AugmentSettings(keep=1.0, subset_share=0.0, burst=1.0)
    task = StagerTask(_nights(), replace(SMALL, segment=8, restart=1.0, augment=lossy))
    gone = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        mask, age_s = inputs[2][:, 0], inputs[3][:, 0]
        gone.extend(age_s[mask == 0].tolist())

    with task.module.stager.register_forward_pre_hook(look):
        list(task.losses(0, 0, Share()))
    assert len(gone) > 10
    assert min(gone) >= NEVER_S


def test_with_few_labels_there_are_as_many_steps_as_with_all() -> None:
    nights, settings = _nights(8), replace(SMALL, augment=AugmentSettings(late_start=0.0))
    few = [night if i == 3 else replace(night, stage=np.full_like(night.stage, -1)) for i, night in enumerate(nights)]
    steps = [
        sum(len(list(task.losses(0, index, Share()))) for index in range(task.rounds(0)))
        for task in (StagerTask(nights, settings), StagerTask(few, settings))
    ]
    assert steps[0] == steps[1] == 16
    with pytest.raises(UserError, match="has a stage"):
        StagerTask([night for i, night in enumerate(few) if i != 3], SMALL)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
@pytest.mark.parametrize("filling", FILLINGS)
def test_it_trains_on_a_gpu(filling: str) -> None:
    loop = replace(SMALL.loop, passes=1, device="cuda")
    task = StagerTask(_nights(), replace(SMALL, loop=loop, model=replace(SMALL.model, filling=filling)))
    assert np.isfinite(train(task, loop)[0]["loss"])


def test_a_card_has_no_figures_of_another_recipe_or_of_other_nights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, results, nights = Recipe(fit=SMALL), tmp_path / "results.json", _nights()
    assert crossvalidated(results, recipe, nights) == {}
    content = {"recipe": asdict(recipe), "rows": [{"fold": "0"}, {"fold": "1"}], "mean": {"kappa": 0.8}}
    results.write_text(json.dumps(content))
    for fold, split in folds_of(nights, 2).items():
        write_split(tmp_path / f"fold{fold}" / "manifest.json", split)
    assert crossvalidated(results, recipe, nights) == {"kappa": 0.8}
    assert crossvalidated(results, replace(recipe, seeds=(0, 1)), nights) == {}
    assert "another recipe" in capsys.readouterr().err
    assert crossvalidated(results, recipe, nights[1:]) == {}
    assert "of other nights" in capsys.readouterr().err
    results.write_text(json.dumps({"mean": {"kappa": 0.8}}))  # as written before recipes were in it
    assert crossvalidated(results, recipe, nights) == {}


@pytest.mark.parametrize("filling", FILLINGS)
def test_every_filling_trains_and_answers_with_one_sensor(filling: str) -> None:
    nights = _nights()
    settings = replace(SMALL, loop=replace(SMALL.loop, passes=2), model=replace(SMALL.model, filling=filling))
    task = StagerTask(nights, settings)
    curves = train(task, settings.loop)
    assert curves[-1]["loss"] < curves[0]["loss"]
    for sensors in ((1, 1, 1), (0, 0, 1)):
        for p in predict(StagerEnsemble([task.module.stager]), nights, sensors):
            assert np.isfinite(p).all()


def test_the_mean_token_becomes_what_tokens_are() -> None:
    settings = replace(SMALL, model=replace(SMALL.model, filling="mean"))
    task = StagerTask(_nights(), settings)
    train(task, settings.loop)
    fill = task.module.stager.filling.fill
    assert isinstance(fill, MeanToken)
    assert fill.value.abs().max() > 0


@pytest.mark.slow
def test_members_are_trained_once_and_scored(tmp_path: Path) -> None:
    nights = _nights()
    paths = []
    for night in nights:
        paths.append(tmp_path / f"{night.name}.parquet")
        write_token_night(paths[-1], night)
    members = [Member(tuple(paths), with_seed(SMALL, s), tmp_path / f"seed{s}") for s in (0, 1)]
    train_members(members, workers=2)
    written = [member.weights.stat().st_mtime_ns for member in members]
    train_members(members, workers=2)  # nothing is left to do
    assert [member.weights.stat().st_mtime_ns for member in members] == written
    model = ensemble_of(members)
    assert len(model.members) == 2
    found = score(nights, predict(model, nights, (1, 1, 1)))
    assert found.accuracy is not None
    assert found.accuracy > 0.5


def test_weights_come_back_and_strangers_are_refused(tmp_path: Path) -> None:

    model = StagerEnsemble([Stager(SMALL.model)])
    save_weights(model, tmp_path / "w.safetensors")
    back = load_weights(tmp_path / "w.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(value, back.state_dict()[name]), name
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(UserError, match=r"bad\.safetensors"):
        load_weights(tmp_path / "bad.safetensors")


def test_the_shipped_recipe_loads_and_an_unknown_key_does_not(tmp_path: Path) -> None:
    assert load_recipe().fit.loop.passes > 0
    (tmp_path / "r.toml").write_text("[fit.model]\nd_modell = 3\n")
    with pytest.raises(UserError, match=r"fit\.model\.d_modell"):
        load_recipe(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("seeds = [1, 1]\n")
    with pytest.raises(UserError, match="each once"):
        load_recipe(tmp_path / "r.toml")


def test_results_of_all_folds_become_one_table() -> None:
    from hypnostream.engine.agreement import agreement
    from hypnostream.training.staging.results_table import Row, markdown_table

    reference = np.array([0, 1, 2, 3, 4, 2, 2, 0])
    rows = [Row("EEG", str(f), 3, agreement(reference, np.roll(reference, f))) for f in (0, 1)]
    table = markdown_table(rows)
    assert "| EEG | 0 | 3 | 8 | 1.000 | 1.000 | 1.000 |" in table
    assert "**mean**" in table
    assert json.dumps([row.as_dict() for row in rows])


def test_a_night_is_predicted_as_it_was_trained_on_in_segments() -> None:
    night = simulated_night("long", "one", epochs=300)
    for context, same in (("mamba2", True), ("bidirectional", False)):
        torch.manual_seed(0)
        stager = Stager(replace(SMALL.model, context=context)).eval()
        (said,) = predict(StagerEnsemble([stager]), [night])
        changed = replace(night, shape=night.shape.copy())
        changed.shape[200:] += 1
        (other,) = predict(StagerEnsemble([stager]), [changed])
        assert np.allclose(said[:128], other[:128], atol=1e-5)  # of the segment before
        assert np.allclose(said[128:200], other[128:200], atol=1e-5) == same
