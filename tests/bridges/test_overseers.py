"""A session as its supervisor sees it: health, metrics, logs and what systemd is told, of a real `hypnostream run`."""

import json
import multiprocessing
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hypnostream.bridges.lsl_outlet import stream_simulated_night
from hypnostream.bridges.metrics import Metrics
from hypnostream.bridges.overseers import overseers_of
from hypnostream.config import BedConfig, MetricsSection
from hypnostream.errors import UserError
from hypnostream.stream.simulator import NightSettings
from tests.bridges.live_bed import bed_file

WITHIN_S = 60.0


@contextmanager
def sender(session_id: str, duration_s: float, speed: float) -> Iterator[None]:
    """A bedside monitor that sends a simulated night over LSL."""
    spawn = multiprocessing.get_context("spawn")
    arguments = (NightSettings(duration_s=duration_s), speed, session_id)
    process = spawn.Process(target=stream_simulated_night, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def test_a_bed_has_logs_always_and_metrics_where_an_address_is_given() -> None:
    with overseers_of(BedConfig()) as overseers:
        assert not any(isinstance(overseer, Metrics) for overseer in overseers)
    for config, address in ((BedConfig(metrics=MetricsSection("127.0.0.1:0")), None), (BedConfig(), "127.0.0.1:0")):
        with overseers_of(config, address) as overseers:
            (metrics,) = (overseer for overseer in overseers if isinstance(overseer, Metrics))
            assert urllib.request.urlopen(f"http://{metrics.address}/health", timeout=10).status == 200
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"http://{metrics.address}/health", timeout=10)
    with pytest.raises(UserError, match="only this machine"), overseers_of(BedConfig(), "0.0.0.0:0"):
        pass


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd's socket is a Unix one")
def test_a_supervisor_sees_a_session_come_up_work_and_end(
    tmp_path: Path, lsl_session_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = f"{lsl_session_id}-overseers"
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WITHIN_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        bed = bed_file(tmp_path, session)
        options = ["--out", str(tmp_path / "night"), "--metrics", address, "--log", "json"]
        command = [sys.executable, "-m", "hypnostream", "run", "--config", str(bed), *options]
        with (
            sender(session, 7200.0, 30.0),
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        ):
            try:
                said: list[str] = []
                threading.Thread(target=listen, args=(manager, said), daemon=True).start()
                deadline = time.monotonic() + WITHIN_S
                page: dict[str, float] = {}
                while not (page.get("hypnostream_epochs_total") and "WATCHDOG=1" in said):
                    assert time.monotonic() < deadline, said
                    time.sleep(0.2)
                    with suppress(OSError):  # it is not up yet
                        page = metrics_page(address)
                with urllib.request.urlopen(f"http://{address}/health", timeout=10) as answer:
                    health = json.loads(answer.read())
                process.send_signal(signal.SIGTERM)
                out, err = process.communicate(timeout=WITHIN_S)
            finally:
                process.kill()
        deadline = time.monotonic() + WITHIN_S
        while not any(each.startswith("STOPPING=1") for each in said):
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
    assert process.returncode == 0, err
    assert said.index("READY=1") < said.index("WATCHDOG=1")
    assert (health["alive"], health["state"]) == (True, "running")
    received = [value for name, value in page.items() if name.startswith("hypnostream_samples_received_total")]
    assert received
    assert min(received) > 0
    logged = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    events = [record["event"] for record in logged]
    assert events.index("session_started") < events.index("session_ended")
    assert out.strip()


def listen(manager: socket.socket, said: list[str]) -> None:
    """What the manager is told, until its socket is closed."""
    with suppress(OSError):
        while True:
            said.append(manager.recv(4096).decode())


def metrics_page(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
