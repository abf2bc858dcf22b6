"""`hypnostream run` with a ward's file, as a process beside real LSL streams: beds come, change, fail and go."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.client import Client
from hypnostream.bridges.lsl_config import use_private_lsl
from hypnostream.bridges.lsl_outlet import LslOutlets
from hypnostream.bridges.messages import EpochMessage, Message, StatusMessage
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.result_log import ResultLog
from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.bridges.tables import read_epochs
from hypnostream.bridges.ward import LOOK_S
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from tests.bridges.hearing import WITHIN_S, heard
from tests.bridges.lsl_sender import Device, kill, sending_device

SPEED = 30.0


def ward_file(folder: Path, session_id: str, text: str = "") -> Path:
    """Beds are in the folder "beds", and publish at their names."""
    (folder / "beds").mkdir(exist_ok=True)
    path = folder / "ward.toml"
    path.write_text(
        f"""beds = "{folder}/beds"
status = "ipc://{folder}/status"
[lsl]
private_session = {json.dumps(session_id)}
[publish]
address = "ipc://{folder}/{{bed}}"
[keep]
folder = "{folder}/nights"
{text}"""
    )
    return path


def bed_file(folder: Path, name: str, text: str = "") -> Path:
    path = folder / "beds" / f"{name}.toml"
    path.write_text(f"[lsl]\npredicate = \"starts-with(name,'{name}')\"\n{text}")
    return path


@contextmanager
def serving(ward: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-X", "faulthandler", "-m", "hypnostream", "run", "--config", str(ward), *options]
    with (ward.parent / "err").open("a") as err:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def stopped(process: subprocess.Popen[str], folder: Path) -> str:
    """What the ward said in the log, once it has ended in order."""
    process.send_signal(signal.SIGTERM)
    process.wait(WITHIN_S)
    err = (folder / "err").read_text()
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return err


def status(state: str, subject: str | None = None) -> Callable[[Message], bool]:
    return lambda m: isinstance(m, StatusMessage) and m.state == state and subject in (None, m.subject)


def stage(message: Message) -> bool:
    return isinstance(message, EpochMessage)


def night_of(folder: Path, bed: str) -> Path:
    (night,) = (folder / "nights").glob(f"{bed}-*")
    return night


def send_night(session_id: str, prefix: str, seed: int, epochs: int) -> None:
    """A monitor whose streams are called after the bed, in a process of its own."""
    use_private_lsl(session_id)
    settings = NightSettings(duration_s=epochs * 30.0, events_per_hour=40.0, breathing=BreathingSettings())
    outlets = LslOutlets(SimulatedSource(simulate_night(settings, seed), 0.6), SPEED, f"{prefix} ")
    outlets.wait_for_consumers(WITHIN_S)
    outlets.run()
    outlets.linger(WITHIN_S)


@contextmanager
def monitor(session_id: str, prefix: str, seed: int, epochs: int) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(
        target=send_night, args=(session_id, prefix, seed, epochs), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def same_as_alone(night: Path, out: Path, epochs: int) -> None:
    """What was recorded of a bed, replayed as one of its own, says the same."""
    _, again = replay(night, ReplayOptions(out=out))
    ours, theirs = (read_epochs(each / "epochs.parquet")[1] for each in (night, again))
    assert len(ours) == epochs
    assert [(r.epoch, r.stage, r.absent_reason) for r in ours] == [(r.epoch, r.stage, r.absent_reason) for r in theirs]
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_beds_say_what_each_would_say_alone(tmp_path: Path, lsl_session_id: str) -> None:
    epochs = 2
    ward = ward_file(tmp_path, lsl_session_id, f"[grid]\nlateness_s = {4 * SPEED}\n")
    for bed in ("north", "south"):
        bed_file(tmp_path, bed, "minimum = 4\n")
    with ExitStack() as stack:
        told = stack.enter_context(Client(f"ipc://{tmp_path}/status"))
        process = stack.enter_context(serving(ward, "--record"))
        for seed, bed in enumerate(("north", "south")):
            stack.enter_context(monitor(lsl_session_id, bed, seed + 1, epochs))
        ended: set[str | None] = set()
        while len(ended) < 2:
            message = heard(told, status("bed_ended"))
            ended.add(message.subject if isinstance(message, StatusMessage) else None)
        stopped(process, tmp_path)
    assert ended == {"north", "south"}
    for bed in ("north", "south"):
        same_as_alone(night_of(tmp_path, bed), tmp_path / f"{bed} again", epochs)
    stages = [[r.probabilities for r in read_epochs(night_of(tmp_path, b) / "epochs.parquet")[1]] for b in ended if b]
    assert stages[0] != stages[1]


@pytest.mark.slow
def test_beds_come_change_fail_and_go_and_the_others_do_not_notice(tmp_path: Path, lsl_session_id: str) -> None:
    ward = ward_file(tmp_path, lsl_session_id, '[channels]\neeg_frontal = "C0"\n')
    for bed in ("steady", "dying"):
        bed_file(tmp_path, bed)
    devices = [Device(name, base_s=time.monotonic()) for name in ("steady", "late")]
    with ExitStack() as stack:
        told = stack.enter_context(Client(f"ipc://{tmp_path}/status"))
        clients = {
            name: stack.enter_context(Client(f"ipc://{tmp_path}/{name}")) for name in ("steady", "dying", "late")
        }
        stack.enter_context(sending_device(lsl_session_id, *devices))
        dying = stack.enter_context(sending_device(lsl_session_id, Device("dying")))
        process = stack.enter_context(serving(ward))
        for name in ("steady", "dying"):
            first = heard(clients[name], stage)
        session_id = first.origin.session_id
        # One of which there is no stream yet looks again until there is.
        bed_file(tmp_path, "absent", "timeout_s = 0.5\n")
        heard(told, status("bed_failed", "absent"))
        stack.enter_context(sending_device(lsl_session_id, Device("absent")))
        heard(told, status("bed_begun", "absent"))
        # One more.
        bed_file(tmp_path, "late")
        heard(told, status("bed_begun", "late"))
        heard(clients["late"], stage)
        # A wrong file changes nothing but that it is said.
        right = (tmp_path / "beds" / "dying.toml").read_text()
        (tmp_path / "beds" / "dying.toml").write_text(right + "predicat = 3\n")
        refused = heard(told, status("bed_refused"))
        assert isinstance(refused, StatusMessage)
        assert refused.subject == str(tmp_path / "beds" / "dying.toml")
        assert "predicat" in refused.detail
        assert heard(clients["dying"], stage).origin == first.origin
        # Its source dies: it is said at that bed, which goes on without.
        kill(dying)
        heard(clients["dying"], status("source_lost", "dying"))
        # Its file is changed in what its night does not depend on: the night goes on.
        (tmp_path / "beds" / "dying.toml").write_text(right + "timeout_s = 3.0\n")
        with sending_device(lsl_session_id, Device("dying")):
            resumed = heard(clients["dying"], status("session_resumed"))
            again = heard(clients["dying"], stage)
        assert again.origin.session_id == session_id == resumed.origin.session_id
        assert again.origin.boot_id != first.origin.boot_id
        # One goes.
        (tmp_path / "beds" / "late.toml").unlink()
        heard(told, status("bed_removed", "late"))
        heard(clients["late"], status("session_ended"))
        heard(told, status("bed_ended", "late"))
        assert (night_of(tmp_path, "late") / "summary.json").exists()
        assert heard(clients["steady"], stage).origin.session_id
        steady = clients["steady"]
        err = stopped(process, tmp_path)
        last = heard(steady, status("session_ended"))
        assert isinstance(last, StatusMessage)
        assert last.detail == "stopped"
    assert (steady.lost, steady.restarts) == (0, 0)
    assert "steady: source_" not in err.replace("steady: source_found", "")
    assert all((night_of(tmp_path, name) / "summary.json").exists() for name in ("steady", "dying"))


@pytest.mark.slow
def test_no_file_that_is_wrong_gone_for_a_moment_or_strangely_named_ends_a_night(
    tmp_path: Path, lsl_session_id: str
) -> None:
    ward = ward_file(tmp_path, lsl_session_id, '[channels]\neeg_frontal = "C0"\n')
    path, right = bed_file(tmp_path, "north"), bed_file(tmp_path, "north").read_text()
    with ExitStack() as stack:
        told = stack.enter_context(Client(f"ipc://{tmp_path}/status"))
        client = stack.enter_context(Client(f"ipc://{tmp_path}/north"))
        stack.enter_context(sending_device(lsl_session_id, Device("north")))
        process = stack.enter_context(serving(ward))
        origin = heard(client, stage).origin
        (tmp_path / "beds" / os.fsdecode(b"zimmer-\xe4.toml")).write_text("")
        heard(told, status("bed_refused", f"{tmp_path}/beds/zimmer-\\udce4.toml"))
        for wrong in (
            '[publish]\naddress = "tcp://0.0.0.0:5700"\n',
            '[publish]\nkeys = "nowhere"\n',
            '[model]\nbundle = "nowhere"\n',
            '[channels]\neeg_fontal = "C0"\n',
        ):
            path.write_text(right + wrong)
            heard(told, status("bed_refused", str(path)))
        path.write_text(right)
        (tmp_path / "beds").rename(tmp_path / "elsewhere")
        (tmp_path / "beds").mkdir()
        heard(told, status("bed_refused", str(tmp_path / "beds")))
        deadline = time.monotonic() + 4 * LOOK_S
        while time.monotonic() < deadline:
            assert heard(client, stage).origin == origin
        (tmp_path / "beds").rmdir()
        (tmp_path / "elsewhere").rename(tmp_path / "beds")
        assert heard(client, stage).origin == origin  # the same session, in the same process, never taken up
        path.write_text(right + "timeout_s = 3.0\n")  # what can begin takes effect
        assert heard(client, status("session_resumed")).origin.session_id == origin.session_id
        stopped(process, tmp_path)
    assert (night_of(tmp_path, "north") / "summary.json").exists()


@pytest.mark.slow
def test_killed_a_ward_takes_all_its_beds_up_again(tmp_path: Path, lsl_session_id: str) -> None:
    epochs, beds = 30, ("north", "south")  # half a minute on the wall
    ward = ward_file(tmp_path, lsl_session_id, f"[grid]\nlateness_s = {4 * SPEED}\n")
    for bed in beds:
        bed_file(tmp_path, bed, "minimum = 4\n")
    with ExitStack() as stack:
        told = stack.enter_context(Client(f"ipc://{tmp_path}/status"))
        clients = [stack.enter_context(Client(f"ipc://{tmp_path}/{bed}", ("epoch",))) for bed in beds]
        for seed, bed in enumerate(beds):
            stack.enter_context(monitor(lsl_session_id, bed, seed + 3, epochs))
        for wanted in (2, 3):
            with serving(ward, "--record") as process:
                for client in clients:
                    for _ in range(wanted):
                        heard(client, stage)
                process.kill()
        with serving(ward, "--record") as process:
            ended: set[str | None] = set()
            while len(ended) < 2:
                message = heard(told, status("bed_ended"))
                ended.add(message.subject if isinstance(message, StatusMessage) else None)
            stopped(process, tmp_path)
    for bed in beds:
        night = night_of(tmp_path, bed)
        log = ResultLog(SessionFolder(night).results_path)
        said = list(log.messages())
        log.close()
        assert [m.epoch for m in said if isinstance(m, EpochMessage)] == list(range(epochs))
        assert [m.state for m in said if isinstance(m, StatusMessage)].count("session_resumed") == 2
        same_as_alone(night, tmp_path / f"{bed} again", epochs)
