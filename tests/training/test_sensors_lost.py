"""A cross-validation says what each way of losing sensors costs, as the mean over its folds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hypnostream.errors import UserError
from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble
from hypnostream.training.bundling.export import save_weights
from hypnostream.training.damage.missing import CONDITIONS
from hypnostream.training.nights.token_night import TokenNight, write_token_night
from hypnostream.training.staging.evaluate import predict, score, under
from hypnostream.training.staging.sensors_lost import Fold, judged, mean_under_loss, sensors_lost_table
from tests.training.test_training import simulated_night


@pytest.fixture
def fold_of(tmp_path: Path) -> "FoldOf":
    model = StagerEnsemble([Stager(StagerConfig(d_model=32, headdim=16))]).eval()
    save_weights(model, tmp_path / "weights.safetensors")
    return FoldOf(tmp_path, model)


class FoldOf:
    """Folds of one untrained model and whatever nights are given."""

    def __init__(self, folder: Path, model: StagerEnsemble) -> None:
        self.folder, self.model = folder, model

    def __call__(self, *nights: TokenNight) -> Fold:
        for night in nights:
            write_token_night(self.folder / f"{night.name}.parquet", night)
        return Fold(self.folder / "weights.safetensors", tuple(self.folder / f"{n.name}.parquet" for n in nights))


def test_each_condition_is_judged_on_each_fold_and_the_mean_is_said(fold_of: FoldOf) -> None:
    nights = [simulated_night(f"n{i}", f"s{i}", 60, seed=i) for i in range(2)]
    found = mean_under_loss([fold_of(night) for night in nights], 1)
    assert list(found) == [condition.name for condition in CONDITIONS]
    for condition in CONDITIONS:
        each = [score([n], predict(fold_of.model, under(condition, [n]))).accuracy or 0 for n in nights]
        assert found[condition.name]["accuracy"] == pytest.approx(np.mean(each))


def test_a_night_that_never_had_a_sensor_is_not_judged_by_its_loss(fold_of: FoldOf) -> None:
    whole = simulated_night("whole", "a", 60)
    poor = simulated_night("poor", "b", 60, seed=1)
    poor = replace(poor, mask=poor.mask * np.array([1, 1, 0], np.float32))
    assert judged(fold_of(whole, poor)) == judged(fold_of(whole)) != {}
    assert judged(fold_of(poor)) == {}


def test_a_fold_that_cannot_be_judged_is_named(fold_of: FoldOf, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights\.safetensors could not be judged"):
        mean_under_loss([Fold(fold_of(simulated_night("n", "s", 40)).weights, (tmp_path / "absent.parquet",))], 1)


def test_the_table_says_how_much_kappa_is_lost_and_a_dash_where_there_is_none() -> None:
    table = sensors_lost_table(
        {
            "rate 0.0": {"accuracy": 0.9, "kappa": 0.8, "macro_f1": 0.85},
            "only eog": {"accuracy": 0.7, "kappa": 0.55, "macro_f1": 0.6},
            "joining late": {"accuracy": 0.7},
        }
    )
    assert "| only eog | 0.700 | 0.550 | 0.600 | 0.250 |" in table
    assert "| joining late | 0.700 | – | – | – |" in table
