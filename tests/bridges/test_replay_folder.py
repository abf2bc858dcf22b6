"""A folder of nights: each as it is alone, on all cores or over Ray; what is done is not done again."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from hypnostream.bridges.replay_folder import nights_in
from hypnostream.bridges.summary import read_summary
from hypnostream.bridges.tables import read_epochs
from tests.command_line import Cli, assert_one_line
from tests.recordings import write_night

EPOCHS = 3
FILES = ("a.edf", "lab/b.EDF", "lab/b.xdf.edf")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three nights of different people, one of them with gaps; and what is no night."""
    nights = tmp_path / "nights"
    (nights / "lab").mkdir(parents=True)
    for seed, name in enumerate(FILES):
        write_night(nights / name, EPOCHS, gaps_s=[(35, 40)] if seed else (), seed=seed + 1)
    (nights / "notes.txt").write_text("not a night")
    return nights


def stages(report: Path) -> list[object]:
    return [(row.epoch, row.stage, row.probabilities) for row in read_epochs(report / "epochs.parquet")[1]]


@pytest.mark.slow
def test_each_night_of_a_folder_is_staged_as_it_is_alone(cli: Cli, folder: Path, tmp_path: Path) -> None:
    said = cli("replay", folder, "--out", tmp_path / "reports", "--workers", "2")
    assert (said.code, said.err) == (0, "")
    assert "3 nights staged, 0 had their report" in said.out
    assert {line.partition(":")[0] for line in said.out.splitlines()[:-1]} == set(FILES)
    for name in FILES:
        cli("replay", folder / name, "--out", tmp_path / "alone")
        report = tmp_path / "reports" / Path(name).with_suffix("")
        assert stages(report) == stages(tmp_path / "alone")
        assert (report / "hypnogram.png").read_bytes()[:4] == b"\x89PNG"


def test_a_night_that_fails_is_one_line_and_the_exit_code_and_the_others_are_done(cli: Cli, folder: Path) -> None:
    (folder / "broken.edf").write_text("nothing")
    said = cli("replay", folder, "--out", folder / "reports", "--workers", "1")
    assert said.code == 1
    assert said.err.startswith("failed broken.edf: ")
    assert said.err.count("\n") == 1
    assert "3 nights staged" in said.out


def test_what_has_its_report_is_left_and_what_a_kill_cut_off_is_done(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "reports"
    cli("replay", folder, "--out", out, "--workers", "1")
    kept = read_summary(out / "a" / "summary.json").session_id
    (out / "lab" / "b" / "summary.json").unlink()  # it comes last, so a night that was cut off has none
    write_night(folder / "lab" / "b.xdf.edf", EPOCHS + 1)  # another recording by the same name
    said = json.loads(cli("replay", folder, "--out", out, "--workers", "1", "--json").out)
    assert (said["staged"], said["kept"], said["failed"]) == (2, 1, {})
    assert read_summary(out / "a" / "summary.json").session_id == kept
    assert read_summary(out / "lab" / "b.xdf" / "summary.json").epochs.total == EPOCHS + 1


@pytest.mark.slow
def test_reports_of_other_settings_are_not_mixed(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out, bed = tmp_path / "reports", tmp_path / "bed.toml"
    for name in FILES[1:]:
        (folder / name).unlink()
    cli("replay", folder, "--out", out, "--workers", "1")
    bed.write_text("[breathing]\nenabled = false\n")
    assert_one_line(cli("replay", folder, "--out", out, "--config", bed), "other settings", "--out")
    (out / "replay.json").write_text("{}")
    assert_one_line(cli("replay", folder, "--out", out), "replay.json", "--out")


def test_two_recordings_of_one_name_have_a_report_each_and_reports_are_no_nights(tmp_path: Path) -> None:
    for name in ("n.edf", "n.xdf", "m.edf", "reports/m/scored.edf"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "reports" / "m" / "summary.json").touch()
    nights = nights_in(tmp_path, tmp_path / "reports")
    assert [night.report.name for night in nights] == ["m", "n.edf", "n.xdf"]
    assert len({night.report for night in nights}) == 3


@pytest.mark.parametrize("option", [("--speed", "60"), ("--reference", "x.csv"), ("--publish", "tcp://127.0.0.1:*")])
def test_what_is_for_one_night_is_refused_for_a_folder(cli: Cli, folder: Path, option: tuple[str, str]) -> None:
    assert_one_line(cli("replay", folder, *option), option[0], "one night")


def test_what_is_for_a_folder_is_refused_for_one_night_and_an_empty_folder_is_named(
    cli: Cli, folder: Path, tmp_path: Path
) -> None:
    assert_one_line(cli("replay", folder / "a.edf", "--ray"), "a.edf", "folder of nights")
    (tmp_path / "empty").mkdir()
    assert_one_line(cli("replay", tmp_path / "empty"), "empty", "no recording")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed; the extra `ray` has it")
def test_over_ray_it_is_the_same(cli: Cli, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    shutil.copyfile(folder / "a.edf", folder / "again.edf")
    (folder / "broken.edf").write_text("nothing")
    said = cli("replay", folder, "--out", tmp_path / "ray", "--ray", "--workers", "2")
    assert said.code == 1
    assert "failed broken.edf: " in said.err
    assert "4 nights staged" in said.out
    cli("replay", folder, "--out", tmp_path / "here", "--workers", "1")
    for name in ("a", "again", *(str(Path(name).with_suffix("")) for name in FILES[1:])):
        assert stages(tmp_path / "ray" / name) == stages(tmp_path / "here" / name)
