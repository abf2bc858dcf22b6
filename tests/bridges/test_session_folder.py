"""Where a session lies on disk: which folder is taken up, what stays, what is removed when."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from hypnostream.bridges.retention import remove_old_signals
from hypnostream.bridges.session_folder import SessionFolder, SessionRecord, folder_of, slug
from hypnostream.bridges.shifted import ShiftedSource
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation, Arrival, Chunk, Notice, StreamInfo

RECORD = SessionRecord(
    session_id="abc123",
    name="bed 3",
    model_hash="0" * 64,
    t0_s=12.5,
    start_utc=datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
    lateness_s=2.0,
    stall_s=2.5,
    provisional=True,
    channels={"eog": "E1-M2"},
    subject="S-017",
)


def session(path: Path, record: SessionRecord = RECORD, checkpoint: bool = True, age_s: float = 0.0) -> SessionFolder:
    folder = SessionFolder(path)
    folder.write(record)
    if checkpoint:
        folder.checkpoint_path.write_bytes(b"state")
        os.utime(folder.checkpoint_path, (time.time() - age_s,) * 2)
    return folder


def test_what_a_session_is_comes_back(tmp_path: Path) -> None:
    assert session(tmp_path / "night").read() == RECORD


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"schema": "other"}', b"\xff" * 100, b"[" * 10**5])
def test_what_is_no_session_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "session.json").write_bytes(content)
    with pytest.raises(UserError, match="session") as error:
        SessionFolder(tmp_path).read()
    assert "\n" not in str(error.value)


def test_the_newest_session_that_was_cut_off_is_taken_up(tmp_path: Path) -> None:
    session(tmp_path / "bed-3-1", age_s=500.0)
    newest = session(tmp_path / "bed-3-2", replace(RECORD, session_id="newest"), age_s=100.0)
    session(tmp_path / "bed-3-3", replace(RECORD, ended_utc=datetime.now(UTC)))  # it has ended
    session(tmp_path / "bed-3-4", replace(RECORD, model_hash="1" * 64))  # another model
    session(tmp_path / "bed-3-5", replace(RECORD, name="bed 3 x"))  # another bed
    session(tmp_path / "bed-3-6", checkpoint=False)
    assert folder_of(None, tmp_path, "bed 3", "0" * 64, 3600.0).path == newest.path
    fresh = folder_of(None, tmp_path, "bed 3", "0" * 64, 60.0).path
    assert not fresh.exists()
    assert fresh.name.startswith("bed-3-20")


def test_a_named_folder_is_used_whatever_lies_in_it(tmp_path: Path) -> None:
    assert folder_of(tmp_path / "new", tmp_path, "bed 3", "0" * 64, 60.0).path == tmp_path / "new"
    session(tmp_path / "old", age_s=500.0)
    assert folder_of(tmp_path / "old", tmp_path, "bed 3", "0" * 64, 60.0).path == tmp_path / "old"


@pytest.mark.parametrize(
    ("name", "model_hash", "within_s", "is_taken_up"),
    [
        ("bed 3", "0" * 64, 600.0, True),
        ("bed 3", "0" * 64, 60.0, False),
        ("bed 3", "1" * 64, 600.0, False),
        ("bed 4", "0" * 64, 600.0, False),
    ],
)
def test_in_a_named_folder_too_only_the_same_bed_with_the_same_model_goes_on_and_soon(
    tmp_path: Path, name: str, model_hash: str, within_s: float, is_taken_up: bool
) -> None:
    folder = session(tmp_path / "night", age_s=500.0)
    assert (folder.resumable(name, model_hash, within_s) is not None) == is_taken_up


def test_a_new_session_in_an_old_ones_folder_loses_nothing_of_it(tmp_path: Path) -> None:
    folder = session(tmp_path / "night")
    folder.results_path.write_bytes(b"results")
    folder.journal_path.mkdir()
    (folder.journal_path / "000000.steps").write_bytes(b"steps")
    folder.clear()
    (earlier,) = folder.path.iterdir()
    assert earlier.name == "earlier-abc123"
    assert {path.name for path in earlier.iterdir()} == {"results.arrows", "journal", "session.json", "checkpoint"}
    assert SessionFolder(earlier).read() == RECORD
    folder.clear()
    assert list(folder.path.iterdir()) == [earlier]


def test_names_of_beds_make_names_of_folders() -> None:
    assert slug("bed 3") == "bed-3"
    assert slug("../../etc") == "etc"
    assert slug("///") == "bed"


def signals(path: Path, megabytes: int, age_days: float, record: SessionRecord = RECORD) -> Path:
    folder = session(path, record, checkpoint=False)
    folder.signals_path.mkdir()
    file = folder.signals_path / "EEG.parquet"
    with file.open("wb") as opened:
        opened.truncate(megabytes * 10**6)
    os.utime(file, (time.time() - age_days * 86400,) * 2)
    return folder.path


def test_recorded_signals_go_by_age_and_then_by_size_oldest_first(tmp_path: Path) -> None:
    old, middle, new, own = (
        signals(tmp_path / name, 10, days) for name, days in (("a", 40.0), ("b", 5.0), ("c", 1.0), ("d", 50.0))
    )
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "signals").mkdir()
    assert remove_old_signals(tmp_path, None, None, own) == []
    assert remove_old_signals(tmp_path, 30.0, None, own) == [old]
    assert remove_old_signals(tmp_path, None, 0.015, own) == [middle]
    assert not (middle / "signals").exists()
    assert (middle / "session.json").exists()
    assert (new / "signals").exists()
    assert (own / "signals").exists()
    assert (tmp_path / "stranger" / "signals").exists()


def test_a_journal_that_was_left_behind_counts_as_signals(tmp_path: Path) -> None:
    folder = session(tmp_path / "a", age_s=40 * 86400.0)
    folder.journal_path.mkdir()
    steps = folder.journal_path / "000000.steps"
    steps.write_bytes(b"steps")
    os.utime(steps, (time.time() - 40 * 86400,) * 2)
    assert remove_old_signals(tmp_path, 30.0, None, tmp_path / "other") == [folder.path]
    assert not folder.journal_path.exists()


def test_a_session_of_another_bed_that_goes_on_keeps_its_journal(tmp_path: Path) -> None:
    folder = session(tmp_path / "a")
    folder.journal_path.mkdir()
    (folder.journal_path / "000000.steps").write_bytes(b"steps")
    assert remove_old_signals(tmp_path, None, 1e-9, tmp_path / "other") == []
    folder.write(replace(RECORD, ended_utc=datetime.now(UTC)))
    assert remove_old_signals(tmp_path, None, 1e-9, tmp_path / "other") == [folder.path]


class _Source:
    streams: tuple[StreamInfo, ...] = ()
    start_s, start_utc, duration_s, warnings, exhausted, speed = 5.0, None, None, (), False, 1.0
    here_s: float | None = None

    def take(self, timeout_s: float) -> list[Arrival]:
        chunk = Chunk("EEG", np.zeros((2, 1), np.float32), np.array([10.0, 10.5]))
        return [StreamInfo("EEG", 2.0, ()), chunk, Annotation(10.0, 0.0, "note"), Notice("source_lost", "EEG", 11.0)]

    def read(self, timeout_s: float) -> list[Chunk]:
        return []

    def close(self) -> None:
        pass


def test_after_a_restart_of_the_machine_every_time_is_the_sessions() -> None:
    info, chunk, note, lost = ShiftedSource(_Source(), 1000.0).take(0.0)
    assert info == StreamInfo("EEG", 2.0, ())
    assert isinstance(chunk, Chunk)
    assert chunk.timestamps.tolist() == [1010.0, 1010.5]
    assert isinstance(note, Annotation)
    assert note.onset_s == 1010.0
    assert isinstance(lost, Notice)
    assert lost.at_s == 1011.0
    assert ShiftedSource(_Source(), 1000.0).start_s == 1005.0
