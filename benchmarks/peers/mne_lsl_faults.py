"""mne-lsl's StreamLSL under a fault, by the Python of the peers' environment: see benchmarks/README.md.

    .venv-peers/bin/python benchmarks/peers/mne_lsl_faults.py PRIVATE_SESSION BASE_PORT

Connects as its tutorials do (background acquisition, all processing flags), collects every new sample, and prints one
line of JSON when it is told to stop: when data arrived and up to which number, which sample numbers (channel 0) are
missing, how its stamps step, and what it logged.
"""

import contextlib
import json
import logging
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

config = Path(tempfile.mkdtemp()) / "lsl.cfg"
config.write_text(
    f"[ports]\nBasePort = {sys.argv[2]}\n[multicast]\nResolveScope = machine\n"
    f"[lab]\nSessionID = {sys.argv[1]}\n[log]\nlevel = -3\n"
)
os.environ["LSLAPICFG"] = str(config)

import numpy as np  # noqa: E402
from mne_lsl.stream import StreamLSL  # noqa: E402

said: list[str] = []


class Remember(logging.Handler):
    """Keeps what was logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        said.append(record.getMessage().splitlines()[0][:200])


def main() -> None:
    """Runs until stdin says so; "sleep" makes the reader hang for a while."""
    logging.getLogger("mne_lsl").addHandler(Remember(level=logging.WARNING))
    stream: Any = StreamLSL(bufsize=4, name="amplifier").connect(
        acquisition_delay=0.01, processing_flags="all", timeout=10
    )
    print("connected", flush=True)
    stop, hang = threading.Event(), threading.Event()

    def obey() -> None:
        for line in sys.stdin:
            (hang if line.strip() == "sleep" else stop).set()
        stop.set()

    threading.Thread(target=obey, daemon=True).start()
    arrivals, numbers, stamps, last = [], [], [], -np.inf
    while not stop.wait(0.02):
        if hang.is_set():
            hang.clear()
            time.sleep(5.0)
        try:
            data, times = stream.get_data()
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}".splitlines()[0])
            break
        new = (times > last) & (times > 0)
        if new.any() or (len(times) and times[-1] < last - 10):
            new = new if new.any() else times == times[-1]
            arrivals.append((time.time(), float(data[0, new][-1])))
            numbers += data[0, new].tolist()
            stamps += times[new].tolist()
            last = times[-1]
    steps, walked = np.diff(np.array(numbers)), np.diff(np.array(stamps))
    gaps = steps > 1.5
    report = {
        "arrivals": arrivals,
        "lost": int((steps[gaps] - 1).sum()),
        "stepless": int((steps[gaps & (walked < 0.5 * steps / 256)] - 1).sum()) if len(steps) else 0,
        "largest_step_s": float(np.abs(walked).max()) if len(walked) else 0.0,
        "said": said,
        "connected": bool(stream.connected),
        "rate_hz": float(stream.info["sfreq"]) if stream.connected else 0.0,
        "labels": list(stream.ch_names) if stream.connected else [],
    }
    print(json.dumps(report), flush=True)
    with contextlib.suppress(Exception):
        stream.disconnect()
    os._exit(0)


if __name__ == "__main__":
    main()
