"""Training: splits keep people apart, augmentation keeps what it must, a run is repeatable and resumable."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hypnostream.engine.torch_backend import load_weights
from hypnostream.errors import UserError
from hypnostream.models.stager import StagerConfig
from hypnostream.models.token_features import BAND_SHAPE, LEVEL, SHAPE, WAVELET_SHAPE
from hypnostream.training.augment import AugmentSettings, ages_s, other_amplifier, sensors_lost
from hypnostream.training.channels import BANDS
from hypnostream.training.commands import in_fold
from hypnostream.training.evaluate import predict, score
from hypnostream.training.export import save_weights
from hypnostream.training.fit import FitSettings, fit
from hypnostream.training.members import Member, ensemble_of, train_members, with_seed
from hypnostream.training.recipe import load_recipe
from hypnostream.training.splits import Split, split_by_subject
from hypnostream.training.token_night import TokenNight, read_token_night, write_token_night

SMALL = FitSettings(
    passes=6, batch=2, segment=32, warmup_steps=2, average=0.5, model=StagerConfig(d_model=32, headdim=16)
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


def test_training_learns_is_repeatable_and_writes_its_curve(tmp_path: Path) -> None:
    nights = _nights()
    first = fit(nights, SMALL, curve=tmp_path / "curve.csv")
    second = fit(nights, SMALL)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    losses = [float(line.split(",")[1]) for line in (tmp_path / "curve.csv").read_text().splitlines()[1:]]
    assert len(losses) == SMALL.passes
    assert losses[-1] < 0.8 * losses[0]
    third = fit(nights, with_seed(SMALL, 1))
    assert not torch.equal(first.embed_weight, third.embed_weight)


def test_members_are_trained_once_and_scored(tmp_path: Path) -> None:
    nights = _nights()
    paths = []
    for night in nights:
        paths.append(tmp_path / f"{night.name}.parquet")
        write_token_night(paths[-1], night)
    members = [Member(tuple(paths), with_seed(SMALL, s), tmp_path / f"{s}.safetensors") for s in (0, 1)]
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
    from hypnostream.models.stager import Stager, StagerEnsemble

    model = StagerEnsemble([Stager(SMALL.model)])
    save_weights(model, tmp_path / "w.safetensors")
    back = load_weights(tmp_path / "w.safetensors")
    for name, value in model.state_dict().items():
        assert torch.allclose(value, back.state_dict()[name]), name
    (tmp_path / "bad.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(UserError, match=r"bad\.safetensors"):
        load_weights(tmp_path / "bad.safetensors")


def test_the_shipped_recipe_loads_and_an_unknown_key_does_not(tmp_path: Path) -> None:
    assert load_recipe().fit.passes > 0
    (tmp_path / "r.toml").write_text("[fit.model]\nd_modell = 3\n")
    with pytest.raises(UserError, match=r"fit\.model\.d_modell"):
        load_recipe(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("seeds = [1, 1]\n")
    with pytest.raises(UserError, match="each once"):
        load_recipe(tmp_path / "r.toml")


def test_results_of_all_folds_become_one_table() -> None:
    from hypnostream.engine.agreement import agreement
    from hypnostream.training.results_table import Row, markdown_table

    reference = np.array([0, 1, 2, 3, 4, 2, 2, 0])
    rows = [Row("EEG", str(f), 3, agreement(reference, np.roll(reference, f))) for f in (0, 1)]
    table = markdown_table(rows)
    assert "| EEG | 0 | 3 | 8 | 1.000 | 1.000 | 1.000 |" in table
    assert "**mean**" in table
    assert json.dumps([row.as_dict() for row in rows])
