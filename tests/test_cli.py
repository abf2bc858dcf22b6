"""The command line: what it says, what it writes, and that a user's mistake is one line and exit code 2."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hypnostream import __version__
from hypnostream.__main__ import main
from hypnostream.bridges.client import Client
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.messages import EpochMessage
from hypnostream.bridges.summary import Summary, read_summary
from hypnostream.bridges.tables import read_epochs
from hypnostream.engine.bundle import default_bundle_path, load_bundle
from hypnostream.stream.stages import EPOCH_S, STAGES
from tests.recordings import STAGES as TRUTH
from tests.recordings import write_night

SNIPPETS = Path(__file__).parents[2] / "shared" / "data" / "psg_snippets"
EPOCHS = 4


@dataclass(frozen=True)
class Said:
    """What a command said. Warnings and errors are the lines on stderr."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Cli = Callable[..., Said]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command as `hypnostream ...` would, in an empty folder; native libraries' output is seen too."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["hypnostream", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")
    return run


@pytest.fixture
def edf(tmp_path: Path) -> Path:
    return write_night(tmp_path / "night.edf", EPOCHS)


def assert_one_line(said: Said, *parts: str) -> None:
    """The promise for every mistake."""
    assert said.code == 2
    assert said.out == ""
    assert len(said.lines) == 1
    assert said.err.startswith("hypnostream: ")
    assert said.err.endswith("\n")
    for part in parts:
        assert part in said.err


def hypnostream(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own."""
    command = [sys.executable, "-m", "hypnostream", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# -- help and version


def test_the_version_is_said(cli: Cli) -> None:
    assert cli("--version") == Said(0, f"hypnostream {__version__}\n", "")


@pytest.mark.parametrize("command", ["", "replay", "run", "watch", "inspect", "demo", "bench", "train", "train stager"])
def test_each_command_has_help(cli: Cli, command: str) -> None:
    said = cli(*command.split(), "--help")
    assert (said.code, said.err) == (0, "")
    assert "--help" in said.out


def test_help_names_every_command_and_says_what_this_is_not(cli: Cli) -> None:
    said = cli("--help")
    for command in ("replay", "run", "watch", "inspect", "demo", "bench", "train"):
        assert f"  {command} " in said.out
    assert "Not a medical device" in " ".join(said.out.split())
    assert "..." not in said.out.partition("Commands:")[2]  # what a command does is said to the end


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['hypnostream', '--help']\n"
        "from hypnostream.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    heavy = {"numpy", "scipy", "torch", "matplotlib", "onnxruntime", "pyarrow", "pylsl", "zmq", "rich"}
    assert not heavy & set(said.stdout.splitlines()[-1].split())


def test_no_command_shows_help_and_a_wrong_one_is_an_error(cli: Cli) -> None:
    assert "Usage" in cli().out + cli().err
    assert cli("snore").code == 2
    assert cli("replay").code == 2
    assert cli("replay", "x.edf", "--sped", "max").code == 2


# -- replay


def test_a_replay_writes_its_three_files(cli: Cli, edf: Path, tmp_path: Path) -> None:
    said = cli("replay", edf, "--out", tmp_path / "report")
    assert (said.code, said.err) == (0, "")
    assert "4 epochs" in said.out
    assert "eog: E1-E2" in said.out
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == [
        "epochs.parquet",
        "hypnogram.png",
        "summary.json",
    ]
    assert (tmp_path / "report" / "hypnogram.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_and_the_summary_hold_what_they_promise(cli: Cli, edf: Path, tmp_path: Path) -> None:
    cli("replay", edf, "--out", tmp_path)
    summary = read_summary(tmp_path / "summary.json")
    header, results = read_epochs(tmp_path / "epochs.parquet")
    assert header.session_id == summary.session_id
    assert header.model_hash == summary.model.hash == load_bundle().hash
    assert [result.epoch for result in results] == list(range(EPOCHS))
    assert [result.t_start_s for result in results] == [float(EPOCH_S * epoch) for epoch in range(EPOCHS)]
    assert all(result.stage in STAGES for result in results)
    assert np.sum([result.probabilities for result in results], axis=1) == pytest.approx(1.0, abs=1e-4)
    names = [spec.name for spec in load_bundle().channels]
    assert [[state.name for state in result.channels] for result in results] == [names] * EPOCHS
    assert [channel.name for channel in summary.channels] == names
    assert [channel.found for channel in summary.channels] == [True] * 3
    assert [channel.sources for channel in summary.channels] == [("EEG Fpz-Cz",), ("EEG Pz-Oz",), ("EOG horizontal",)]
    assert [channel.rate_hz for channel in summary.channels] == [128, 128, 64]
    assert all(channel.why for channel in summary.channels)
    assert (summary.epochs.total, summary.epochs.staged, summary.epochs.absent) == (EPOCHS, EPOCHS, {})
    assert summary.input is not None
    assert (summary.input.name, summary.input.size_bytes) == ("night.edf", edf.stat().st_size)
    assert {"wall_s", "reading_s", "processing_s", "of_which_model_s"} <= summary.timings.keys()
    assert summary.agreement is None


def test_without_out_each_replay_gets_a_folder_of_its_own(cli: Cli, edf: Path) -> None:
    for _ in range(2):
        assert cli("replay", edf).code == 0
    assert sorted(path.name for path in Path().iterdir()) == ["night-report", "night-report-2"]


def test_json_is_the_summary_and_nothing_else(cli: Cli, edf: Path, tmp_path: Path) -> None:
    said = cli("replay", edf, "--out", tmp_path / "report", "--json")
    assert (said.code, said.err) == (0, "")
    assert json.loads(said.out) == json.loads((tmp_path / "report" / "summary.json").read_text())


def test_a_reference_gives_the_agreement(cli: Cli, edf: Path, tmp_path: Path) -> None:
    reference = tmp_path / "scored.csv"
    reference.write_text("stage\n" + "\n".join(STAGES[stage] for stage in TRUTH[:EPOCHS]))
    said = cli("replay", edf, "--out", tmp_path, "--reference", reference)
    assert said.code == 0
    agreement = read_summary(tmp_path / "summary.json").agreement
    assert agreement is not None
    staged = [STAGES.index(result.stage or "") for result in read_epochs(tmp_path / "epochs.parquet")[1]]
    assert agreement.accuracy == pytest.approx(np.mean(np.array(staged) == TRUTH[:EPOCHS]))
    assert np.sum(agreement.confusion) == EPOCHS
    content = json.loads((tmp_path / "summary.json").read_text())["agreement"]
    assert {"accuracy", "kappa", "macro_f1", "confusion"} <= content.keys()


def test_a_paced_replay_says_the_same_and_publishes(cli: Cli, edf: Path, tmp_path: Path) -> None:
    cli("replay", edf, "--out", tmp_path / "max")
    said = cli("replay", edf, "--out", tmp_path / "paced", "--speed", "240", "--publish", "tcp://127.0.0.1:*")
    assert (said.code, said.err) == (0, "")
    assert read_epochs(tmp_path / "paced" / "epochs.parquet")[1] == read_epochs(tmp_path / "max" / "epochs.parquet")[1]
    assert read_summary(tmp_path / "paced" / "summary.json").timings["wall_s"] >= 0.5


def test_gaps_are_epochs_without_a_stage(cli: Cli, tmp_path: Path) -> None:
    path = write_night(tmp_path / "gaps.edf", 6, gaps_s=[(60, 120)])
    said = cli("replay", path, "--out", tmp_path)
    assert "6 epochs, 2 without stage (no_data)" in said.out
    results = read_epochs(tmp_path / "epochs.parquet")[1]
    assert [result.absent_reason for result in results] == [None, None, "no_data", "no_data", None, None]
    assert read_summary(tmp_path / "summary.json").epochs.absent == {"no_data": 2}


def test_a_recording_shorter_than_an_epoch_is_one_epoch(cli: Cli, tmp_path: Path) -> None:
    write_edf(tmp_path / "short.edf", [EdfSignal("EEG Fpz-Cz", np.random.default_rng(0).normal(0, 20, 2000), 100)])
    assert cli("replay", tmp_path / "short.edf", "--out", tmp_path).code == 0
    (result,) = read_epochs(tmp_path / "epochs.parquet")[1]
    assert result.stage is not None
    assert result.channels[0].ok_fraction == pytest.approx(20 / 30, abs=0.05)


def test_a_bed_names_its_channels(cli: Cli, edf: Path, tmp_path: Path) -> None:
    (tmp_path / "bed.toml").write_text('[channels]\neeg_frontal = "EEG Pz-Oz"\n')
    assert cli("replay", edf, "--out", tmp_path, "--config", tmp_path / "bed.toml").code == 0
    assert read_summary(tmp_path / "summary.json").channels[0].sources == ("EEG Pz-Oz",)


@pytest.mark.skipif(not SNIPPETS.is_dir(), reason="needs ../shared/data/psg_snippets")
@pytest.mark.parametrize(("name", "epochs"), [("sleepedf_5min.edf", 10), ("nox_a1_2min.edf", 4)])
def test_real_recordings_replay_without_help(cli: Cli, tmp_path: Path, name: str, epochs: int) -> None:
    said = cli("replay", SNIPPETS / name, "--out", tmp_path)
    assert (said.code, said.err) == (0, "")
    summary = read_summary(tmp_path / "summary.json")
    assert [channel.found for channel in summary.channels] == [True, True, True]
    assert (summary.epochs.total, summary.epochs.staged) == (epochs, epochs)


# -- bad input: an error of one line, or a warning and as much result as can be had


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
        ("folder.edf", lambda p: (p.unlink(), p.mkdir()), "is a folder"),
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


def test_a_recording_with_no_channel_of_use_is_one_line(cli: Cli, tmp_path: Path) -> None:
    path = write_night(tmp_path / "legs.edf", 1, labels=("Airflow", "SpO2"))
    assert_one_line(cli("replay", path), "no channel serves this model", "'Airflow', 'SpO2'", "[channels]")
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


# -- inspect


def test_inspect_says_what_is_taken_and_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    path = write_night(tmp_path / "night.edf", 1, labels=("EEG Fpz-Cz", "SpO2"))
    said = cli("inspect", path)
    assert (said.code, said.err) == (0, "")
    for part in ("eeg_frontal", "Fpz-Cz read from 'EEG Fpz-Cz' at 128 Hz in uV", "missing", "SpO2"):
        assert part in said.out


def test_inspect_as_json(cli: Cli, edf: Path) -> None:
    said = cli("inspect", put(edf, 236, "-1      "), "--json")
    assert said.code == 0
    content = json.loads(said.out)
    assert [entry["derivation"] for entry in content["inputs"]] == ["Fpz-Cz", "Pz-Oz", "E1-E2"]
    assert {channel["label"] for channel in content["channels"]} >= {"EEG Fpz-Cz", "SpO2"}
    assert any("never closed" in warning for warning in content["warnings"])


@pytest.mark.skipif(not SNIPPETS.is_dir(), reason="needs ../shared/data/psg_snippets")
def test_inspect_reads_a_clinical_montage_of_eighty_channels(cli: Cli) -> None:
    content = json.loads(cli("inspect", SNIPPETS / "nox_a1_2min.edf", "--json").out)
    assert len(content["channels"]) >= 80
    assert all(entry["derivation"] and entry["why"] for entry in content["inputs"])


def test_inspect_wants_one_thing_to_look_at(cli: Cli, edf: Path) -> None:
    assert_one_line(cli("inspect"), "FILE or --lsl")
    assert_one_line(cli("inspect", edf, "--lsl"), "FILE or --lsl")


def test_where_no_stream_is_it_is_one_line(cli: Cli, tmp_path: Path, lsl_session_id: str) -> None:
    (tmp_path / "bed.toml").write_text(
        f"[lsl]\nprivate_session = '{lsl_session_id}'\npredicate = \"name='nobody'\"\ntimeout_s = 0.2\n"
    )
    assert_one_line(
        cli("inspect", "--lsl", "--config", tmp_path / "bed.toml"), "no LSL streams matched \"name='nobody'\""
    )
    said = cli("run", "--config", tmp_path / "bed.toml", "--out", tmp_path / "report")
    assert (said.code, said.out) == (2, "")
    assert len(said.lines) == 2
    assert said.lines[0].startswith("looking for LSL streams")
    assert "no LSL streams matched" in said.lines[1]
    assert not (tmp_path / "report").exists()


# -- as a process


def on_a_terminal(*arguments: str) -> str:
    """What a command shows on stderr where that is a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hypnostream", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as run:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody writes any more
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
    assert run.returncode == 0
    return shown.decode()


def test_what_takes_longer_than_two_seconds_shows_how_far_it_is(edf: Path, tmp_path: Path) -> None:
    shown = on_a_terminal("replay", str(edf), "--out", str(tmp_path), "--speed", "40")
    assert "night.edf" in shown
    assert f"2/{EPOCHS}" in shown
    assert "epochs" in shown


def test_what_is_quick_shows_nothing_on_a_terminal(edf: Path, tmp_path: Path) -> None:
    assert on_a_terminal("inspect", str(edf)) == ""


def test_an_interrupted_replay_leaves_a_table_and_no_traceback(edf: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hypnostream", "replay", str(edf), "--out", str(tmp_path), "--speed", "30"]
    with subprocess.Popen(
        [*command, "--publish", f"ipc://{tmp_path}/out"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        with Client(f"ipc://{tmp_path}/out") as client:
            while (message := client.receive(60.0)) is not None and not (
                isinstance(message, EpochMessage) and message.epoch == 1
            ):
                pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode not in (0, 2)
    assert "Traceback" not in err
    assert out == ""
    assert [result.epoch for result in read_epochs(tmp_path / "epochs.parquet")[1]] == [0]


def test_the_command_in_a_process_of_its_own(edf: Path, tmp_path: Path) -> None:
    said = hypnostream("replay", str(edf), "--out", str(tmp_path / "report"))
    assert (said.returncode, said.stderr) == (0, "")
    said = hypnostream("replay", str(tmp_path / "nowhere.edf"))
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.count("\n") == 1
    assert "Traceback" not in said.stderr
