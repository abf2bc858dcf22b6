"""`hypnostream run` as a process of its own beside real LSL streams: what it says, and how it ends."""

import math
import multiprocessing.reduction
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pylsl
import pytest

from hypnostream.bridges.beginning import grid_start_s
from hypnostream.bridges.client import Client
from hypnostream.bridges.live_session import LiveOptions, clock_of
from hypnostream.bridges.lsl_settings import LslSettings
from hypnostream.bridges.messages import EpochMessage, StatusMessage
from hypnostream.bridges.summary import read_summary
from hypnostream.bridges.tables import read_epochs
from hypnostream.config import BedConfig
from hypnostream.engine.tensorrt_device import TensorRtError, device
from hypnostream.stream.clock import RealTimeClock, VirtualClock
from hypnostream.stream.source import Arrival, Chunk
from tests.bridges.hearing import heard_until
from tests.bridges.live_bed import STOPPED_WITHIN_S, bed_file, running

RATE_HZ = 128


@pytest.fixture
def bed(tmp_path: Path, lsl_session_id: str) -> Path:
    """The configuration of a bed that hears the streams of this test run alone."""
    return bed_file(tmp_path, lsl_session_id)


@contextmanager
def amplifier(name: str, silent: bool = False) -> Iterator[None]:
    """An EEG in real time as an amplifier sends it, with LSL's own stamps, from a thread."""
    info = pylsl.StreamInfo(name, "EEG", 1, RATE_HZ, "float32", f"serial-{name}")
    channel = info.desc().append_child("channels").append_child("channel")
    channel.append_child_value("label", "Fpz-Cz")
    channel.append_child_value("unit", "microvolts")
    outlet, stop = pylsl.StreamOutlet(info), threading.Event()

    def send() -> None:
        rng, sent, started_s = np.random.default_rng(0), 0, pylsl.local_clock()
        while not stop.wait(0.05):
            due = int((pylsl.local_clock() - started_s) * RATE_HZ)
            if due > sent:
                stamps = started_s + np.arange(sent, due) / RATE_HZ
                outlet.push_chunk(rng.normal(0, 20, (due - sent, 1)).astype(np.float32), stamps.tolist())
                sent = due

    thread = threading.Thread(target=send)
    if not silent:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if not silent:
            thread.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_flushes_and_closes_cleanly(bed: Path, tmp_path: Path, number: signal.Signals) -> None:
    with amplifier("fpz"), Client(f"ipc://{tmp_path}/out") as client, running(bed, tmp_path / "report") as process:
        provisional: list[EpochMessage] = []
        while len(provisional) < 2:
            message = client.receive(STOPPED_WITHIN_S)
            assert message is not None
            provisional += [message] if isinstance(message, EpochMessage) else []
        process.send_signal(number)
        out, err = process.communicate(timeout=STOPPED_WITHIN_S)
        rest = heard_until(client, lambda m: isinstance(m, StatusMessage) and m.state == "session_ended")
    assert process.returncode == 0
    assert "Traceback" not in err
    assert f"publishing on ipc://{tmp_path}/out, what was missed on ipc://{tmp_path}/out-replay" in err.splitlines()
    assert "source_found: fpz: eeg_frontal from Fpz-Cz" in err
    assert f"report: {tmp_path}/report/" in out
    # What was published.
    assert all(message.status == "preliminary" and message.epoch == 0 for message in provisional)
    moment = provisional[0].time
    assert moment.stream_s >= provisional[0].t_start_s + provisional[0].seconds  # nothing is said before it was
    assert moment.utc_s == pytest.approx(time.time(), abs=30.0)
    assert provisional[0].latency_s is not None
    assert 0 <= provisional[0].latency_s < 1
    final = [message for message in rest if isinstance(message, EpochMessage) and message.status == "final"]
    assert [message.epoch for message in final] == [0]
    assert isinstance(rest[-1], StatusMessage)
    assert rest[-1].detail == "stopped"
    # What was written.
    (result,) = read_epochs(tmp_path / "report" / "epochs.parquet")[1]
    assert (result.epoch, result.final) == (0, True)
    assert 0 < result.channels[0].ok_fraction < 0.9
    summary = read_summary(tmp_path / "report" / "summary.json")
    assert summary.session_id == final[0].origin.session_id
    assert summary.input is None
    assert summary.start_utc is not None
    assert summary.start_utc.timestamp() == pytest.approx(time.time(), abs=60.0)
    assert [channel.found for channel in summary.channels] == [True, False, False]
    assert (tmp_path / "report" / "hypnogram.png").exists()


def test_a_backend_that_cannot_be_had_is_said_and_another_runs(bed: Path, tmp_path: Path) -> None:
    with suppress(TensorRtError):
        device()
        pytest.skip("TensorRT can be used here")
    bed.write_text(bed.read_text() + '[model]\nbackend = "tensorrt"\n')
    with amplifier("fpz"), Client(f"ipc://{tmp_path}/out") as client, running(bed, tmp_path / "report"):
        messages = iter(lambda: client.receive(STOPPED_WITHIN_S), None)
        said = next(each for each in messages if isinstance(each, StatusMessage) and each.state == "backend_failed")
        epoch = next(each for each in messages if isinstance(each, EpochMessage))
    assert said.detail.startswith("TensorRT is not used: ")
    assert epoch.origin.backend.startswith("onnxruntime")


def test_stopped_before_a_sample_came_it_reports_an_empty_night(bed: Path, tmp_path: Path) -> None:
    with amplifier("silent", silent=True), running(bed, tmp_path / "report") as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "looking for LSL streams" in line:
                break
        time.sleep(2.0)  # there is no sign of a stream that was found and says nothing
        process.terminate()
        process.communicate(timeout=STOPPED_WITHIN_S)
    assert process.returncode == 0
    assert read_epochs(tmp_path / "report" / "epochs.parquet")[1] == []
    assert read_summary(tmp_path / "report" / "summary.json").epochs.total == 0


def test_streams_of_no_use_are_one_line(bed: Path, tmp_path: Path) -> None:
    outlet = pylsl.StreamOutlet(pylsl.StreamInfo("knee", "Accelerometer", 3, 50, "float32", "knee"))
    bed.write_text(bed.read_text().replace("[lsl]", "[lsl]\ntimeout_s = 2.0"))
    with running(bed, tmp_path / "report") as process:
        out, err = process.communicate(timeout=STOPPED_WITHIN_S)
    assert (process.returncode, out) == (2, "")
    assert "no channel serves this model" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "report").exists()
    del outlet


def test_who_joins_late_keeps_to_the_recordings_grid() -> None:
    def chunk(first_s: float) -> list[Arrival]:
        return [Chunk("eeg", np.zeros((1, 1), np.float32), np.array([first_s]))]

    assert grid_start_s(0.0, chunk(1e-300)) == 0.0
    assert grid_start_s(0.0, chunk(12.5)) == 0.0
    assert grid_start_s(0.0, chunk(1800.0)) == 0.0
    assert grid_start_s(7.0, chunk(7.0 - 1e-9)) == 7.0
    assert grid_start_s(7.0, chunk(4 * 3600.0)) == 14377.0
    assert grid_start_s(-1e12, chunk(100.0)) == pytest.approx(100.0, abs=30.0)
    assert grid_start_s(5.0, []) == 5.0


def test_a_sender_without_a_pace_has_a_clock_that_stands_still() -> None:
    assert isinstance(clock_of(math.inf, 7.0), VirtualClock)
    assert clock_of(math.inf, 7.0).now() == 7.0
    assert isinstance(clock_of(600.0, 7.0), RealTimeClock)


def test_an_input_that_the_model_has_not_is_one_line(bed: Path, tmp_path: Path) -> None:
    bed.write_text(bed.read_text() + '[channels]\nfoo = "Fpz-Cz"\n')
    with amplifier("fpz"), running(bed, tmp_path / "report") as process:
        _, err = process.communicate(timeout=STOPPED_WITHIN_S)
    assert process.returncode == 2
    assert "'foo' is no input of this model" in err.splitlines()[-1]
    assert not (tmp_path / "report" / "session.json").exists()


def test_a_session_that_could_not_begin_leaves_no_folder(bed: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, amplifier("fpz"):
        taken = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        bed.write_text(bed.read_text().replace(f"ipc://{tmp_path}/out", f'{taken}"\nreplay = "tcp://127.0.0.1:0'))
        with running(bed, tmp_path / "report") as process:
            _, err = process.communicate(timeout=STOPPED_WITHIN_S)
    assert process.returncode == 2
    assert f"address {taken} is in use" in err.splitlines()[-1]
    assert not (tmp_path / "report").exists()


def test_keys_that_are_not_there_are_said_before_streams_are_looked_for(bed: Path, tmp_path: Path) -> None:
    bed.write_text(bed.read_text().replace("[publish]", '[publish]\nkeys = "nowhere"'))
    with running(bed, tmp_path / "report") as process:
        _, err = process.communicate(timeout=STOPPED_WITHIN_S)
    assert process.returncode == 2
    assert "nowhere" in err
    assert "looking for LSL streams" not in err


def test_a_private_session_holds_for_every_part_of_a_query() -> None:
    """liblsl puts its own condition before the query, with "and"."""
    assert LslSettings(predicates=("type='EEG' or type='EOG'",)).query == "((type='EEG' or type='EOG'))"
    assert LslSettings(predicates=("a", "b or c")).query == "((a) or (b or c))"
    assert LslSettings(types=("EEG", "EOG")).query == "(type='EEG' or type='EOG')"


def test_a_session_can_be_run_in_a_process_of_its_own() -> None:
    multiprocessing.reduction.ForkingPickler.dumps(LiveOptions(BedConfig()))
