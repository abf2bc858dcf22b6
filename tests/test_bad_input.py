"""Bad input at the command line: an error of one line, or a warning and as much result as can be had."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.summary import Summary, read_summary
from hypnostream.engine.bundle import default_bundle_path
from tests.command_line import Cli, assert_one_line
from tests.recordings import write_night

EPOCHS = 4


def put(path: Path, at: int, text: str) -> Path:
    """Overwrite a field of the header."""
    raw = bytearray(path.read_bytes())
    raw[at : at + len(text)] = text.encode()
    path.write_bytes(raw)
    return path


def channel_field(channel: int, of: int, offset: int, width: int) -> int:
    """Where a channel's field is; `offset` is the sum of the widths of the fields before it."""
    return 256 + of * offset + channel * width


def only_eeg(path: Path) -> Path:
    return write_night(path, EPOCHS, labels=("EEG Fpz-Cz",))


def equal_digital_limits(path: Path, channel: int, of: int) -> Path:
    return put(
        put(path, channel_field(channel, of, 120, 8), "0       "), channel_field(channel, of, 128, 8), "0       "
    )


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("nowhere.edf", lambda p: p.unlink(), "No such file"),
        ("empty.edf", lambda p: p.write_bytes(b""), "empty"),
        ("text.edf", lambda p: p.write_text("These are my dreams.\n" * 100), "EDF"),
        ("picture.edf", lambda p: p.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(5000)), "EDF"),
        ("short.edf", lambda p: os.truncate(p, 200), "header"),
        ("cut.edf", lambda p: os.truncate(p, 400), "header"),
        ("nothing.edf", lambda p: os.truncate(p, 512), ""),
        (
            "rate0.edf",
            lambda p: put(p, channel_field(0, 1, 216, 8), "0       "),
            "every channel has 0 samples a record",
        ),
        ("flat.edf", lambda p: equal_digital_limits(p, 0, 1), "equal digital limits (0)"),
    ],
)
def test_what_is_no_recording_is_one_line(
    cli: Cli, tmp_path: Path, name: str, spoil: Callable[[Path], object], words: str
) -> None:
    path = only_eeg(tmp_path / name)
    spoil(path)
    for command in ("replay", "inspect"):
        assert_one_line(cli(command, path), name, words)
    assert list(Path().iterdir()) == []  # and no empty report is left behind


def test_a_folder_of_nothing_is_one_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "folder.edf"
    path.mkdir()
    assert_one_line(cli("inspect", path), "folder.edf", "is a folder")
    assert_one_line(cli("replay", path), "folder.edf", "holds no recording")
    assert list(Path().iterdir()) == []


def test_a_recording_with_no_channel_of_use_is_one_line(cli: Cli, tmp_path: Path) -> None:
    path = write_night(tmp_path / "legs.edf", 1, labels=("EMG chin",))
    assert_one_line(cli("replay", path), "no channel serves this model", "breathing", "'EMG chin'", "[channels]")
    said = cli("inspect", path)
    assert said.code == 0
    assert "missing" in said.out


@pytest.mark.parametrize("spoil", ["rate", "limits"])
def test_one_spoilt_channel_leaves_the_others(cli: Cli, tmp_path: Path, spoil: str) -> None:
    path = write_night(tmp_path / "night.edf", EPOCHS, labels=("EEG Fpz-Cz", "EOG horizontal"))
    if spoil == "limits":
        equal_digital_limits(path, 1, 2)
    else:  # of the rate 0, as a dummy channel has it: it has no samples in the data either
        signals = [EdfSignal("EEG Fpz-Cz", np.random.default_rng(0).normal(0, 20, 128 * 120), 128)]
        write_edf(path, [*signals, EdfSignal("EOG horizontal", np.zeros(120), 1)])
        raw = bytearray(path.read_bytes())
        data = np.frombuffer(bytes(raw[768:]), "<i2").reshape(120, 129)[:, :128]
        path.write_bytes(bytes(raw[:768]) + data.tobytes())
        put(path, channel_field(1, 2, 216, 8), "0       ")
    said = cli("replay", path, "--out", tmp_path)
    summary = read_summary(tmp_path / "summary.json")
    assert (said.code, said.err) == (0, "")
    assert summary.epochs.staged == EPOCHS
    assert [channel.found for channel in summary.channels] == [True, False, False]
    assert [warning for warning in summary.warnings if "EOG horizontal" in warning and "skipped" in warning]
    assert "warning: " in said.out


def replayed(cli: Cli, path: Path, tmp_path: Path) -> Summary:
    said = cli("replay", path, "--out", tmp_path / "report")
    assert (said.code, said.err) == (0, "")
    summary = read_summary(tmp_path / "report" / "summary.json")
    assert [f"warning: {warning}" in said.out for warning in summary.warnings] == [True] * len(summary.warnings)
    return summary


@pytest.mark.parametrize("date", ["99.99.99", "00.00.00", "31.02.26", "ab.cd.ef", "        "])
def test_an_absurd_date_is_a_warning_and_a_result(cli: Cli, edf: Path, tmp_path: Path, date: str) -> None:
    summary = replayed(cli, put(edf, 168, date), tmp_path)
    assert summary.epochs.staged == EPOCHS
    assert summary.start_utc is None
    assert any("date" in warning for warning in summary.warnings)


def test_data_cut_short_are_a_warning_and_as_much_as_there_is(cli: Cli, edf: Path, tmp_path: Path) -> None:
    os.truncate(edf, edf.stat().st_size * 5 // 8)  # 75 of 120 s
    summary = replayed(cli, edf, tmp_path)
    assert (summary.epochs.total, summary.epochs.staged) == (3, 3)
    assert any("cut short" in warning for warning in summary.warnings)


def test_a_recording_that_was_never_closed_is_read(cli: Cli, edf: Path, tmp_path: Path) -> None:
    summary = replayed(cli, put(edf, 236, "-1      "), tmp_path)
    assert summary.epochs.staged == EPOCHS
    assert any("never closed" in warning for warning in summary.warnings)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("speeed = 3\n", "`speeed`"),
        ("[lsl]\nporedicate = 'x'\n", "`poredicate`"),
        ("[grid]\nlateness_s = -1\n", "$.grid.lateness_s"),
        ("[grid]\nlateness_s = 'soon'\n", "$.grid.lateness_s"),
        ("[grid]\nlateness_s = inf\n", "$.grid.lateness_s"),
        ("[grid]\nlateness_s = nan\n", "$.grid.lateness_s"),
        (f"name = '{'x' * 501}'\n", "$.name"),
        ('name = "bed \\u001b[2J"\n', "name 'bed \\x1b[2J' holds control characters"),
        ('[keep]\nfolder = "a\\u0000b"\n', "keep.folder 'a\\x00b' holds a NUL"),
        ('[model]\nbundle = "a\\u0000b"\n', "model.bundle 'a\\x00b' holds a NUL"),
        ("name = \n", "not TOML"),
        ("[channels]\nnose = 'EEG'\n", "nose"),
        ("[channels]\neog = 'Nowhere'\n", "Nowhere"),
        ("[model]\nbundle = 'no/such/folder'\n", "no bundle"),
    ],
)
def test_a_configuration_with_a_mistake_is_one_line(cli: Cli, edf: Path, tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "bed.toml").write_text(toml)
    assert_one_line(cli("replay", edf, "--config", tmp_path / "bed.toml"), words)
    assert list(Path().iterdir()) == []


def test_a_configuration_that_is_not_there_or_no_text_is_one_line(cli: Cli, edf: Path, tmp_path: Path) -> None:
    assert_one_line(cli("replay", edf, "--config", tmp_path / "no.toml"), "no.toml")
    assert_one_line(cli("run", "--config", tmp_path / "no.toml"), "no.toml")
    (tmp_path / "bed.toml").write_bytes(b"name = '\xff'\n")
    assert_one_line(cli("replay", edf, "--config", tmp_path / "bed.toml"), "UTF-8")


def test_a_bundle_with_a_changed_byte_is_one_line(cli: Cli, edf: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))
    raw = bytearray((bundle / "epoch.onnx").read_bytes())
    raw[len(raw) // 2] ^= 1
    (bundle / "epoch.onnx").write_bytes(raw)
    (tmp_path / "bed.toml").write_text(f"[model]\nbundle = {json.dumps(str(bundle))}\n")
    for command in ("replay", "inspect"):
        assert_one_line(cli(command, edf, "--config", tmp_path / "bed.toml"), "epoch.onnx was changed")


@pytest.mark.parametrize("speed", ["fast", "0", "-1", "nan", "inf", "1e9", ""])
def test_a_speed_that_is_none_is_one_line(cli: Cli, edf: Path, speed: str) -> None:
    assert_one_line(cli("replay", edf, f"--speed={speed}"), f"--speed {speed}")


@pytest.mark.parametrize(
    ("content", "words"), [("", ""), ("dreaming\n", "dreaming"), ("?\n?\n?\n?\n", ""), ("<not xml", "")]
)
def test_a_reference_that_is_none_is_one_line(cli: Cli, edf: Path, tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "scored.csv").write_text(content)
    assert_one_line(cli("replay", edf, "--reference", tmp_path / "scored.csv"), "scored.csv", words)
    assert_one_line(cli("replay", edf, "--reference", tmp_path / "gone.csv"), "gone.csv")


def test_an_output_that_cannot_be_is_one_line(cli: Cli, edf: Path, tmp_path: Path) -> None:
    assert_one_line(cli("replay", edf, "--out", edf), "is a file")
    assert_one_line(cli("replay", edf, "--out", edf / "below"), "night.edf")


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:5556", "tcp://127.0.0.1:99999", "nonsense", ""])
def test_an_address_that_cannot_be_is_one_line(cli: Cli, edf: Path, tmp_path: Path, address: str) -> None:
    cli("replay", edf, "--out", tmp_path / "report")
    before = {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir()}
    assert_one_line(cli("replay", edf, "--out", tmp_path / "report", f"--publish={address}"), "address")
    assert {file.name: file.read_bytes() for file in (tmp_path / "report").iterdir()} == before


@pytest.mark.parametrize("address", ["nonsense", ""])
def test_what_is_no_address_cannot_be_watched(cli: Cli, address: str) -> None:
    assert_one_line(cli("watch", address), "address")
