"""Ingest: many files side by side, nothing half, nothing lost in silence, and on again after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.errors import UserError
from hypnostream.training.recordings.ingest import SKIPPED, bring, ingest
from hypnostream.training.recordings.readers import found
from hypnostream.training.recordings.store import PARTIAL, read_recording, recordings_in
from hypnostream.training.recordings.validate import validate, wrong_with
from tests.command_line import Cli
from tests.training.nsrr_files import write_psg, write_xml

ROOT = Path(__file__).parents[2]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for number in (1, 2, 3):
        write_psg(folder / f"shhs1-20000{number}.edf", 90, number)
        write_xml(folder / f"shhs1-20000{number}-nsrr.xml", [0, 2, 5])
    return folder


def test_a_folder_is_ingested_once_and_a_changed_file_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    told: list[tuple[int, int, str]] = []
    first = ingest(data, out, 2, progress=lambda *each: told.append(each))
    assert first.written == ("shhs1-200001", "shhs1-200002", "shhs1-200003")
    assert (first.kept, first.skipped) == ((), ())
    assert [each[:2] for each in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    night = read_recording(out / "shhs1-200001")
    assert [source.path for source in night.sources] == ["shhs1-200001.edf", "shhs1-200001-nsrr.xml"]
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    write_xml(data / "shhs1-200002-nsrr.xml", [0, 2, 3])
    (data / "shhs1-200003.edf").touch()  # the same content: nothing to do
    second = ingest(data, out)
    assert (second.written, len(second.kept)) == (("shhs1-200002",), 2)
    stages = read_recording(out / "shhs1-200002").stages
    assert stages is not None
    assert stages.tolist() == [0, 2, 3]
    changed = {path.parent.name for path, when in before.items() if path.stat().st_mtime_ns != when}
    assert changed == {"shhs1-200002"}


def test_a_file_that_fails_is_named_with_its_reason_and_the_rest_is_there(data: Path, tmp_path: Path, cli: Cli) -> None:
    (data / "shhs1-200002.edf").write_bytes(b"not an EDF")
    (data / "shhs1-200003-nsrr.xml").write_text("<PSGAnnotation>")
    (data / "shhs1-200004-nsrr.xml").write_text("<PSGAnnotation/>")
    out = tmp_path / "store"
    said = cli("train", "ingest", data, out)
    assert said.code == 1
    assert "Traceback" not in said.err + said.out
    listed = json.loads((out / SKIPPED).read_text())
    assert [each["name"] for each in listed] == ["shhs1-200002", "shhs1-200003", "shhs1-200004-nsrr"]
    assert listed[0]["files"] == ["shhs1-200002.edf", "shhs1-200002-nsrr.xml"]
    for each, reason in zip(listed, ("is not an EDF file", "no well-formed XML", "has no recording"), strict=True):
        assert reason in each["reason"]
        assert f"skipped {each['name']}: {each['reason']}" in said.out
    assert [path.name for path in recordings_in(out)] == ["shhs1-200001"]
    write_psg(data / "shhs1-200002.edf", 90)  # mended, it is taken up; the list is of the last run
    assert ingest(data, out).written == ("shhs1-200002",)
    assert len(json.loads((out / SKIPPED).read_text())) == 2


def test_two_recordings_of_one_name_are_not_one_over_the_other(data: Path, tmp_path: Path) -> None:
    write_psg(data / "again" / "shhs1-200001.edf", 60, 9)
    first = ingest(data, tmp_path / "store")
    assert [each.name for each in first.skipped] == ["shhs1-200001"]
    assert "has the name of" in first.skipped[0].reason
    assert len(recordings_in(tmp_path / "store")) == 3


def test_the_store_does_not_depend_on_how_many_work_or_in_which_order(data: Path, tmp_path: Path) -> None:
    ingest(data, tmp_path / "one", 1)
    for job in reversed(found(data)):
        bring(data.resolve(), tmp_path / "other", job)
    for path in sorted((tmp_path / "one").glob("*/*")):
        assert path.read_bytes() == (tmp_path / "other" / path.relative_to(tmp_path / "one")).read_bytes(), path


@pytest.mark.skipif(sys.platform == "win32", reason="kills a group of processes")
def test_an_ingest_that_is_killed_goes_on_and_leaves_nothing_half(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "store"
    for number in range(6):
        write_psg(data / f"n{number:02d}.edf", 3600, number)
    command = [sys.executable, "-m", "hypnostream", "train", "ingest", str(data), str(out), "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while len(recordings_in(out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = [path.name for path in recordings_in(out)]
    assert len(done) >= 2
    assert all(not wrong_with(out / name) for name in done)
    again = ingest(data, out, 2)
    assert set(again.kept) == set(done)
    assert len(again.written) == 6 - len(done)
    assert not list(out.glob(f"{PARTIAL}*"))
    assert not any(validate(out, 2).values())


def test_another_ingest_in_the_same_store_is_refused(data: Path, tmp_path: Path) -> None:
    from hypnostream.bridges.folder_lock import locked

    with locked(tmp_path / "store"), pytest.raises(UserError, match="another ingest"):
        ingest(data, tmp_path / "store")


def test_validate_says_what_was_changed_and_exits_with_1(data: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "store"
    ingest(data, out)
    good = cli("train", "validate", out)
    assert good.code == 0
    assert "3 of 3" in good.out
    raw = bytearray((out / "shhs1-200001/signals.parquet").read_bytes())
    raw[500] ^= 1
    (out / "shhs1-200001/signals.parquet").write_bytes(raw)
    (out / "shhs1-200002/stages.parquet").unlink()
    (out / "shhs1-200003/more.parquet").write_bytes(b"")
    bad = cli("train", "validate", out)
    assert bad.code == 1
    assert "shhs1-200001: signals.parquet is not what its hash says" in bad.out
    assert "shhs1-200002: stages.parquet is not there" in bad.out
    assert "shhs1-200003: more.parquet is not one of its tables" in bad.out
    assert "0 of 3" in bad.out


def test_validate_finds_one_night_under_two_names(data: Path, tmp_path: Path) -> None:
    (data / "shhs1-200009.edf").write_bytes((data / "shhs1-200001.edf").read_bytes())
    ingest(data, tmp_path / "store")
    wrong = validate(tmp_path / "store")
    assert "said to be another person" in wrong["shhs1-200009"][0]
    assert not wrong["shhs1-200002"]


def test_validate_of_a_folder_without_a_store_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recordings"):
        validate(tmp_path)


@pytest.mark.slow
def test_the_same_over_ray(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    (data / "shhs1-200002.edf").write_bytes(b"not an EDF")
    ingested = ingest(data, tmp_path / "ray", 2, ray=True)
    ingest(data, tmp_path / "one")
    assert ingested.written == ("shhs1-200001", "shhs1-200003")
    assert [each.name for each in ingested.skipped] == ["shhs1-200002"]
    for path in sorted((tmp_path / "one").glob("*/*")):
        assert path.read_bytes() == (tmp_path / "ray" / path.relative_to(tmp_path / "one")).read_bytes(), path


@pytest.mark.slow
def test_memory_does_not_grow_with_the_night(tmp_path: Path) -> None:
    """Eight hours of ten channels at 256 Hz are 295 MB as float32; reading and writing them costs half of that."""
    rng = np.random.default_rng(0)
    signals = [EdfSignal(f"EEG {n}", rng.normal(size=8 * 3600 * 256), 256.0, "uV", -6, 6) for n in range(10)]
    write_edf(tmp_path / "data.edf", signals, record_s=1.0)
    del signals
    code = (
        "import resource, sys\nfrom pathlib import Path\n"
        "from hypnostream.training.recordings.edf_night import read_edf_night\n"
        "from hypnostream.training.recordings.store import read_recording, write_recording\n"
        "import pyarrow.parquet, numpy\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak()\nfolder = Path(sys.argv[1])\n"
        "night = read_edf_night(folder / 'data.edf', subject='x', set_name='x', licence='')\n"
        "write_recording(folder, night)\n"
        "assert sum(1 for _ in read_recording(folder / 'data').blocks()) == 960\n"
        "print(peak() - before)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT, check=True, timeout=300
    )
    assert float(said.stdout) < 150
