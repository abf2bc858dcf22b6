"""`hypnostream run` as a process of its own, and a monitor that sends, for tests with real LSL streams."""

import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypnostream.bridges.lsl_outlet import stream_simulated_night
from hypnostream.stream.simulator import NightSettings
from hypnostream.stream.simulator_breathing_truth import BreathingSettings

STOPPED_WITHIN_S = 60.0
SPEED = 30.0  # of `monitor`, in times of life


@contextmanager
def monitor(session_id: str, epochs: int) -> Iterator[None]:
    """A simulated night of someone with apnea over LSL, in a process of its own."""
    settings = NightSettings(duration_s=epochs * 30.0, events_per_hour=40.0, breathing=BreathingSettings())
    process = multiprocessing.get_context("spawn").Process(
        target=stream_simulated_night, args=(settings, SPEED, session_id, 1), daemon=True
    )
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def bed_file(folder: Path, session_id: str, minimum: int = 1, lateness_s: float = 2.0) -> Path:
    path = folder / "bed.toml"
    path.write_text(
        f"""name = "bed 3"
[lsl]
minimum = {minimum}
private_session = {json.dumps(session_id)}
[publish]
address = "ipc://{folder}/out"
[grid]
lateness_s = {lateness_s}
"""
    )
    return path


@contextmanager
def running(bed: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "hypnostream", "run", "--config", str(bed), "--out", str(out), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
