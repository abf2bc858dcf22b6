"""Simulated nights in a store: all that follows ingest can be tried on them, and they say that nobody is in them."""

from pathlib import Path

import numpy as np

from hypnostream.stream.simulator import NightSettings, simulate_night
from hypnostream.training.evaluation.report import is_simulated
from hypnostream.training.recordings.store import read_recording, recordings_in
from tests.command_line import Cli


def test_simulated_nights_are_recordings_of_the_store_as_any(tmp_path: Path, cli: Cli) -> None:
    store = tmp_path / "store"
    said = cli("train", "simulate", store, "--nights", 2, "--hours", 0.2, "--first-seed", 5)
    assert said.code == 0
    assert "2 simulated nights" in said.out
    assert cli("train", "validate", store).code == 0
    first, second = (read_recording(folder) for folder in recordings_in(store))
    assert is_simulated(first.set_name)
    assert first.subject != second.subject
    assert {channel.kind for channel in first.channels} >= {"eeg", "eog", "emg", "ecg", "flow", "effort", "spo2"}
    assert first.stages is not None
    np.testing.assert_array_equal(first.stages, simulate_night(NightSettings(720.0), 5).stages)
    assert cli("train", "signal-nights", store, tmp_path / "nights").code == 0
    assert len(list((tmp_path / "nights").iterdir())) >= 2


def test_hours_that_are_no_whole_number_of_epochs_make_a_night_of_whole_ones(cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "simulate", tmp_path / "store", "--nights", 1, "--hours", 0.11).code == 0  # 13.2 epochs
    (recording,) = (read_recording(folder) for folder in recordings_in(tmp_path / "store"))
    assert recording.epochs == 13
