"""Real hypnograms for the simulator, where the data is; a drawn one where it is not."""

from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.demo import night_settings
from hypnostream.bridges.real_hypnograms import real_hypnogram
from hypnostream.errors import UserError
from hypnostream.stream.simulator import simulate_night

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def _write(data: Path) -> None:
    (data / "boas_hypnograms").mkdir()
    nights = {f"sub-{i}": np.stack([np.full(40, i, np.int8), np.zeros(40, np.int8)], 1) for i in range(3)}
    np.savez(data / "boas_hypnograms" / "boas_hypnograms.npz", **nights)  # type: ignore[arg-type]


def test_a_seed_takes_a_night_of_the_consensus_and_the_simulator_follows_it(tmp_path: Path) -> None:
    _write(tmp_path)
    assert [real_hypnogram(tmp_path, seed)[0] for seed in (0, 1, 4)] == ["sub-0", "sub-1", "sub-1"]  # type: ignore[index]
    settings, follows = night_settings(0.25, 2, tmp_path)
    assert "real night, BOAS sub-2" in follows
    assert simulate_night(settings, 2).stages.tolist() == [2] * 30
    settings, _ = night_settings(8, 2, tmp_path)
    assert settings.duration_s == 40 * 30


def test_without_the_data_a_hypnogram_is_drawn(tmp_path: Path) -> None:
    assert real_hypnogram(tmp_path, 0) is None
    settings, follows = night_settings(1, 3, tmp_path)
    assert "drawn" in follows
    assert len(simulate_night(settings, 3).stages) == 120


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04nonsense"])
def test_a_damaged_file_is_one_line(tmp_path: Path, content: bytes) -> None:
    _write(tmp_path)
    (tmp_path / "boas_hypnograms" / "boas_hypnograms.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"boas_hypnograms\.npz"):
        real_hypnogram(tmp_path, 0)


@pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")
def test_real_nights_of_people_are_simulated() -> None:
    settings, follows = night_settings(8, 1, DATA)
    assert "real night" in follows
    assert set(simulate_night(settings, 1).stages.tolist()) <= {0, 1, 2, 3, 4}
