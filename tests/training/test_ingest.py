"""Ingest: each set of recordings to nights, with the conditioning that runs live."""

from pathlib import Path

import numpy as np
import pytest

from hypnostream.errors import UserError
from hypnostream.models.token_features import WAVELET_SHAPE
from hypnostream.training.ingest import ingest, read_sleep_edf_features, read_ucddb
from hypnostream.training.token_night import read_token_night

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "ucddb_c3a2").exists(), reason="../shared/data is not here")


def _features_file(path: Path, epochs: int = 40, missing: int = 2) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, epochs).astype(np.int8)
    labels[3] = -100
    bands = np.concatenate([np.log(rng.uniform(0.1, 1, (epochs, 3, 5))), np.zeros((epochs, 3, 5))], -1)
    bands[5, 1] = np.nan
    np.savez(
        path,
        labels=labels,
        eeg_fpzcz34=rng.uniform(0.1, 1, (epochs - missing, 34)).astype(np.float32),
        bandpower=bands.astype(np.float32),
        onset_s=np.arange(epochs) * 30.0,
    )


def test_stored_features_keep_their_epochs_and_say_what_is_missing(tmp_path: Path) -> None:
    _features_file(tmp_path / "SC4001E0.npz")
    night = read_sleep_edf_features(tmp_path / "SC4001E0.npz")
    assert (night.subject, len(night)) == ("SC00", 40)
    assert night.stage[3] == -1
    assert night.mask[:, 0].tolist() == [1.0] * 38 + [0.0] * 2
    assert night.mask[5, 1] == 0
    assert np.isfinite(night.shape).all()
    relative = np.exp(night.shape[0, 0, WAVELET_SHAPE:])
    assert relative.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_folder_is_ingested_once_and_a_bad_file_is_said(tmp_path: Path) -> None:
    source = tmp_path / "data" / "sleep_edfx_features"
    source.mkdir(parents=True)
    _features_file(source / "SC4001E0.npz")
    np.savez(source / "SC4002E0.npz", labels=np.zeros(3, np.int8))
    skipped = ingest(tmp_path / "data", tmp_path / "out")
    assert len(skipped) == 1
    assert skipped[0].startswith("SC4002E0.npz")
    target = tmp_path / "out" / "SC4001E0.parquet"
    written = target.stat().st_mtime_ns
    ingest(tmp_path / "data", tmp_path / "out")
    assert target.stat().st_mtime_ns == written
    assert len(read_token_night(target)) == 40


def test_a_folder_without_a_known_set_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the data folder"):
        ingest(tmp_path, tmp_path / "out")


@needs_data
def test_a_raw_night_of_another_laboratory_becomes_tokens() -> None:
    night = read_ucddb(DATA / "ucddb_c3a2" / "ucddb022.npz")
    assert len(night) == 787
    assert int(night.mask[:, 0].sum()) == 722
    assert not night.mask[:, 1:].any()
    assert (night.stage[night.mask[:, 0] == 0] == -1).all()
    counts = np.bincount(night.stage[night.stage >= 0], minlength=5)
    assert counts.tolist() == [266, 68, 213, 131, 44]
    delta = night.shape[:, 0, WAVELET_SHAPE]
    assert delta[night.stage == 3].mean() > delta[night.stage == 0].mean() + 0.3
