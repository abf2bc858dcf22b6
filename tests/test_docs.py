"""What README.md and docs/ show is run: every command, every Python example, every TOML and JSON file.

A command that cannot run here is in ELSEWHERE, with the file that runs it; one that is in neither fails.
"""

import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from hypnostream.bridges.curve import Gate
from hypnostream.bridges.key_files import allow, new_keys
from hypnostream.bridges.lsl_config import private_lsl_config
from hypnostream.bridges.lsl_outlet import stream_simulated_night
from hypnostream.bridges.messages import HEARTBEAT_TOPIC, SESSION_ENDED, decode
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.ward_config import load_ward
from hypnostream.config import load_config
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError
from hypnostream.stream.simulator import NightSettings
from hypnostream.stream.stages import STAGES
from tests.documentation import ROOT, Block, Command, blocks, commands
from tests.recordings import STAGES as TRUTH
from tests.recordings import write_night

ADDRESS = "tcp://127.0.0.1:5556"  # what the pages say; here every port is a free one
EPOCHS = 20
WITHIN_S = 300.0  # on a busy machine
ELSEWHERE = {"make demo": ".ci/run", "make test": ".ci/run"}
SLOW = ("hypnostream bench", "hypnostream doctor", "hypnostream train", "hypnostream run", "hypnostream inspect --lsl")


@dataclass(frozen=True)
class Desk:
    """The folder in which a reader tries what the pages show, and the environment of a terminal there."""

    folder: Path
    environment: dict[str, str]
    lsl_session: str

    @contextmanager
    def start(self, arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
        """A command that is gone when the `with` is over."""
        process = subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=self.environment,
            text=True,
            encoding="utf-8",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


BREATHING = {"events.parquet", "scored.annot", "scored.edf", "scored.xml"}
REPORT = {"epochs.parquet", "hypnogram.png", "summary.json"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with night.edf, hypnogram.csv, the bed.toml of README.md, a small ../shared/data and `hypnostream`."""
    house = tmp_path_factory.mktemp("desk")
    folder, programs, lsl_session = house / "work", house / "bin", f"docs-{os.getpid()}"
    folder.mkdir()
    programs.mkdir()
    write_night(folder / "night.edf", EPOCHS)
    stages = [STAGES[TRUTH[epoch % len(TRUTH)]] for epoch in range(EPOCHS)]
    (folder / "hypnogram.csv").write_text("\n".join(stages) + "\n")
    bed = next(block.text for block in blocks("toml") if block.page == "README.md")
    (folder / "bed.toml").write_text(bed.replace(ADDRESS, "tcp://127.0.0.1:*"))
    (house / "lsl.cfg").write_text(private_lsl_config(lsl_session))
    _write_data(house / "shared" / "data")
    (folder / "examples").symlink_to(ROOT / "examples")
    program = programs / "hypnostream"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m hypnostream "$@"\n')
    program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "LSLAPICFG": str(house / "lsl.cfg"),
        "COLUMNS": "100",
    }
    return Desk(folder, environment, lsl_session)


def _write_data(folder: Path) -> None:
    """A night a fold in the form of `sleep_edfx_features`, and two in that of `ucddb_c3a2`; noise, and short."""
    rng, epochs = np.random.default_rng(0), 40
    for name in ("sleep_edfx_features", "ucddb_c3a2"):
        (folder / name).mkdir(parents=True)
    for subject in (0, 1, 2, 4):
        np.savez(
            folder / "sleep_edfx_features" / f"SC40{subject}1E0.npz",
            labels=(np.arange(epochs) % 5).astype(np.int8),
            eeg_fpzcz34=rng.uniform(0.1, 1, (epochs, 34)).astype(np.float32),
            bandpower=np.log(rng.uniform(0.1, 1, (epochs, 3, 10))).astype(np.float32),
        )
    for number in (2, 22):
        np.savez(
            folder / "ucddb_c3a2" / f"ucddb{number:03}.npz",
            eeg_i16=rng.normal(0, 300, (epochs, 3840)).astype(np.int16),
            epoch_index=np.arange(epochs, dtype=np.int32),
            stage=(np.arange(epochs) % 6).astype(np.int8),
            scale=1e-3,
            fs=128.0,
        )


@contextmanager
def monitor(desk: Desk) -> Iterator[None]:
    """A bedside monitor that sends six simulated minutes over LSL, once someone listens."""
    settings = NightSettings(duration_s=360.0)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=stream_simulated_night, args=(settings, 200.0, desk.lsl_session), daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def publish(publisher: Publisher) -> None:
    """Three epochs, one of them without an answer, and the end of the session, to whoever listens now."""
    assert publisher.wait_for_subscriber(WITHIN_S, HEARTBEAT_TOPIC)  # which a client subscribes to last
    for epoch, stage in enumerate(("N2", None, "R")):
        flat = ChannelState("eog", "flat", 0.1, True)
        reason = None if stage else "no_data"
        result = StageResult(epoch, epoch * 30.0, True, 30, stage, reason, (0.05, 0.05, 0.8, 0.05, 0.05), (flat,))
        publisher.publish(result, (epoch + 1) * 30.0)
    publisher.heartbeat(91.0)
    publisher.status(SESSION_ENDED, 91.0)


def record_a_night(desk: Desk) -> None:
    """The night that docs/nights.md replays, whichever of its commands were run before."""
    if not (desk.folder / "recorded-night" / "signals").exists():
        command = ["hypnostream", "run", "--config", "bed.toml", "--record", "--out", "recorded-night"]
        with monitor(desk), desk.start(command) as process:
            process.communicate(timeout=WITHIN_S)


def lay_out_keys(desk: Desk, shown: str) -> Path:
    """The keys that a command of docs/security.md finds, whichever of its commands were run before."""
    keys = desk.folder / "keys"
    for name in ("server", "dashboard"):
        with suppress(UserError):  # they are there
            new_keys(keys, name)
    (desk.folder / "dashboard.public").write_bytes((keys / "dashboard.public").read_bytes())
    for path in (keys / "allowed").iterdir():
        path.unlink()
    allow(keys, desk.folder / "dashboard.public")
    if shown.startswith("hypnostream keys new"):
        for path in keys.glob(f"{shown.split()[3]}.*"):
            path.unlink()
    return keys


@pytest.fixture
def publisher(request: pytest.FixtureRequest, desk: Desk) -> Iterator[Publisher]:
    """What is listened to; it asks for keys where what is shown has some."""
    shown = next(iter(request.node.callspec.params.values())).text
    keys = lay_out_keys(desk, shown)
    gate = Gate(keys) if "--keys" in shown or "client_keys" in shown else None
    with Publisher("tcp://127.0.0.1:*", model_hash="0" * 64, backend="none", curve=gate) as publisher:
        yield publisher


def _marked(command: Command) -> object:
    marks = [pytest.mark.slow] if command.text.startswith(SLOW) else []
    return pytest.param(command, marks=marks, id=str(command))


@pytest.mark.parametrize("command", [_marked(command) for command in commands()])
def test_a_shown_command_works(command: Command, desk: Desk, publisher: Publisher) -> None:
    if command.text in ELSEWHERE:
        assert command.text in (ROOT / ELSEWHERE[command.text]).read_text().splitlines()
        return
    arguments = shlex.split(command.text)
    assert arguments[0] == "hypnostream", f"{command} is neither run here nor named in ELSEWHERE"
    watching = arguments[:2] == ["hypnostream", "watch"]
    if watching:
        arguments = ["hypnostream", "watch", publisher.address, *(a for a in arguments[2:] if a != ADDRESS)]
    bridging = arguments[:3] == ["hypnostream", "bridge", "web"]
    if bridging:
        arguments += ["--connect", publisher.address, "--address", "127.0.0.1:0"]
    arguments = [argument.replace(ADDRESS, "tcp://127.0.0.1:*") for argument in arguments]
    if "recorded-night" in command.text and "--record" not in arguments:
        record_a_night(desk)
    with ExitStack() as companions:
        if arguments[1] == "run" or "--lsl" in arguments or arguments[1:3] == ["doctor", "--config"]:
            companions.enter_context(monitor(desk))
        process = companions.enter_context(desk.start(arguments))
        if watching:
            publish(publisher)
            assert process.stdout is not None
            lines = [json.loads(process.stdout.readline()) for _ in range(3)]
            assert [line["stage"] for line in lines] == ["N2", None, "R"]
            process.send_signal(signal.SIGINT)
        if bridging:
            assert process.stderr is not None
            assert process.stderr.readline().startswith("serving http://127.0.0.1:")
            process.terminate()
        out, err = process.communicate(timeout=WITHIN_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert watching or bridging or out.strip()
    _assert_shown(command, out)
    if "--json" in arguments:
        json.loads(out)
    if "--out" in arguments:
        made = desk.folder / arguments[arguments.index("--out") + 1]
        session = {"session.json", "results.arrows"} if arguments[1] == "run" else set[str]()
        session |= {"signals"} if "--record" in arguments else set()
        # The bed of the pages asks for EEG and EOG alone.
        breathing = set[str]() if arguments[1] == "run" or "recorded-night" in command.text else BREATHING
        assert {path.name for path in made.iterdir()} == REPORT | breathing | session


def _assert_shown(command: Command, out: str) -> None:
    """The output that the page shows is what came, line by line and in order."""
    lines = iter(line.rstrip() for line in out.splitlines())
    for shown in command.shown:
        if shown not in ("", "..."):
            assert shown in lines, f"{command.block} shows {shown!r}, which did not come or came earlier"


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_a_python_example_runs(block: Block, desk: Desk, publisher: Publisher) -> None:
    if "recorded-night" in block.text:
        record_a_night(desk)
    if "night-report" in block.text and not (desk.folder / "night-report").exists():
        with desk.start(["hypnostream", "replay", "night.edf", "--out", "night-report"]) as replay:
            replay.communicate(timeout=WITHIN_S)
    listens = "Client(" in block.text
    assert not listens or ADDRESS in block.text
    with desk.start([sys.executable, "-c", block.text.replace(ADDRESS, publisher.address)]) as process:
        if listens:
            publish(publisher)
            assert process.stdout is not None
            said = [process.stdout.readline().split() for _ in range(3)]
            assert said[0][:2] == ["0", "N2"]
            if SESSION_ENDED not in block.text:  # it listens for ever
                process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=WITHIN_S)
    assert "Traceback" not in err
    assert err == ""
    assert listens or out.strip()
    assert process.returncode == (-signal.SIGTERM if listens and SESSION_ENDED not in block.text else 0)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_a_toml_example_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "example.toml"
    path.write_text(block.text, encoding="utf-8")
    if block.page == "docs/training.md":
        pytest.importorskip("torch", reason="recipes need the train extra")
        from hypnostream.training.staging.stager_recipe import Recipe, load_recipe

        assert load_recipe(path) != Recipe()
    elif block.page == "docs/ward.md":
        assert load_ward(path).beds
    else:
        assert load_config(path) != load_config(Path(os.devnull))


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_a_shown_message_is_one_that_the_schema_allows_with_every_field(block: Block) -> None:
    shown = json.loads(block.text)
    message = decode(msgspec.msgpack.encode(shown))
    assert json.loads(msgspec.json.encode(message)) == shown


def test_every_block_says_its_language_and_no_other_shows_commands() -> None:
    assert {block.language for block in blocks()} <= {"sh", "console", "python", "toml", "json", ""}
    programs = ("hypnostream", "make", "pip", "python", "$")
    for block in blocks(""):
        assert not any(line.split()[:1] and line.split()[0] in programs for line in block.text.splitlines()), str(block)
