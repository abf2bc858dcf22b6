from datetime import UTC, datetime
from pathlib import Path

import pytest

from hypnostream.bridges.report import ReportFolder
from hypnostream.bridges.summary import read_summary
from hypnostream.bridges.tables import EpochTableHeader, read_epochs
from hypnostream.errors import UserError
from tests.bridges.nights import CHANNELS, night
from tests.bridges.test_picture import night_of
from tests.bridges.test_summary import summary_of


def write_report(folder: ReportFolder, stages: str) -> None:
    header = EpochTableHeader("a1b2", "9f" * 32, "AASM", datetime(2026, 3, 28, 22, 41, tzinfo=UTC))
    with folder.epoch_table(header, CHANNELS) as table:
        for result in night(stages):
            table.append(result)
    folder.write_picture(night_of(stages))
    folder.write_summary(summary_of(stages))


def test_a_report_is_three_files_that_name_one_session(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path / "reports" / "bed 3")
    write_report(folder, "w122")
    assert sorted(each.name for each in folder.path.iterdir()) == ["epochs.parquet", "hypnogram.png", "summary.json"]
    header, rows = read_epochs(folder.epochs_path)
    summary = read_summary(folder.summary_path)
    assert header.session_id == summary.session_id
    assert summary.epochs.total == len(rows) == 4
    assert folder.picture_path.read_bytes().startswith(b"\x89PNG")


def test_only_its_own_files_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "summary.json").write_text("an earlier one")
    folder = ReportFolder(tmp_path)
    assert (tmp_path / "summary.json").read_text() == "an earlier one"  # until its successor is whole
    write_report(folder, "w1")
    write_report(ReportFolder(tmp_path), "w122")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert read_summary(tmp_path / "summary.json").epochs.total == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_a_fresh_folder_never_meets_an_earlier_night(tmp_path: Path) -> None:
    names = [ReportFolder.fresh(tmp_path, "night").path.name for _ in range(3)]
    assert names == ["night", "night-2", "night-3"]


def test_a_place_that_cannot_be_a_report_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file: name a folder"):
        ReportFolder(tmp_path / "file")
    with pytest.raises(UserError, match="cannot be made"):
        ReportFolder(tmp_path / "file" / "below")
    (tmp_path / "taken" / "hypnogram.png").mkdir(parents=True)
    with pytest.raises(UserError, match="would have to be replaced"):
        ReportFolder(tmp_path / "taken")
