"""The command line: what it says and what it writes."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hypnostream import __version__
from hypnostream.bridges.client import Client
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.messages import SESSION_ENDED, EpochMessage, Message, StatusMessage
from hypnostream.bridges.summary import read_summary
from hypnostream.bridges.tables import read_epochs
from hypnostream.engine.bundle import load_bundle
from hypnostream.stream.stages import EPOCH_S, STAGES
from tests.command_line import Cli, Said, assert_one_line
from tests.recordings import STAGES as TRUTH
from tests.recordings import write_night

SNIPPETS = Path(__file__).parents[2] / "shared" / "data" / "psg_snippets"
EPOCHS = 4


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


def test_a_replay_of_a_night_with_breathing_writes_its_files(cli: Cli, edf: Path, tmp_path: Path) -> None:
    said = cli("replay", edf, "--out", tmp_path / "report")
    assert (said.code, said.err) == (0, "")
    assert "4 epochs" in said.out
    assert "eog: E1-E2" in said.out
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == [
        "epochs.parquet",
        "events.parquet",
        "hypnogram.png",
        "scored.annot",
        "scored.edf",
        "scored.xml",
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
    paced, at_once = (read_epochs(tmp_path / how / "epochs.parquet")[1] for how in ("paced", "max"))
    assert [(result.epoch, result.stage) for result in paced] == [(result.epoch, result.stage) for result in at_once]
    # At full speed many epochs are one run of the model.
    ours, theirs = ([result.probabilities for result in results] for results in (paced, at_once))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)
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


# -- inspect


def test_inspect_says_what_is_taken_and_what_is_missing(cli: Cli, tmp_path: Path) -> None:
    path = write_night(tmp_path / "night.edf", 1, labels=("EEG Fpz-Cz", "SpO2"))
    said = cli("inspect", path)
    assert (said.code, said.err) == (0, "")
    for part in ("eeg_frontal", "Fpz-Cz read from 'EEG Fpz-Cz' at 128 Hz in uV", "missing", "SpO2"):
        assert part in said.out


def test_inspect_as_json(cli: Cli, edf: Path) -> None:
    os.truncate(edf, edf.stat().st_size // 2)
    said = cli("inspect", edf, "--json")
    assert said.code == 0
    content = json.loads(said.out)
    assert [entry["derivation"] for entry in content["inputs"]] == [
        *("Fpz-Cz", "Pz-Oz", "E1-E2"),
        *("Airflow", None, "Thorax", "Abdomen", "SpO2", "ECG"),
    ]
    assert {channel["label"] for channel in content["channels"]} >= {"EEG Fpz-Cz", "SpO2"}
    assert any("cut short" in warning for warning in content["warnings"])


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
        cli("inspect", "--lsl", "--config", tmp_path / "bed.toml"), "no LSL streams matched \"((name='nobody'))\""
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


@pytest.mark.slow
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


def test_who_watches_a_replay_is_told_of_its_end(edf: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hypnostream", "replay", str(edf), "--out", str(tmp_path), "--speed", "60"]
    messages: list[Message] = []
    with subprocess.Popen([*command, "--publish", f"ipc://{tmp_path}/out"], stdout=subprocess.DEVNULL) as process:
        with Client(f"ipc://{tmp_path}/out", topics=("epoch", "status")) as client:
            while (message := client.receive(60.0)) is not None:
                messages.append(message)
                if isinstance(message, StatusMessage) and message.state == SESSION_ENDED:
                    break
        assert process.wait(60) == 0
    final = [message for message in messages if isinstance(message, EpochMessage)]
    assert final[-1].epoch == EPOCHS - 1
    assert isinstance(messages[-1], StatusMessage)


def test_training_without_torch_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = cli("train", "stager", "--data", "nowhere")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert 'pip install ".[train]"' in said.err


def test_the_command_in_a_process_of_its_own(edf: Path, tmp_path: Path) -> None:
    said = hypnostream("replay", str(edf), "--out", str(tmp_path / "report"))
    assert (said.returncode, said.stderr) == (0, "")
    said = hypnostream("replay", str(tmp_path / "nowhere.edf"))
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.count("\n") == 1
    assert "Traceback" not in said.stderr
