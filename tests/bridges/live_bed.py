"""`hypnostream run` as a process of its own, for tests beside real LSL streams."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOPPED_WITHIN_S = 60.0


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
