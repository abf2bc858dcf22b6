"""When mne-lsl's user has each newest sample, by the Python of the peers' environment: see benchmarks/README.md.

    .venv-peers/bin/python benchmarks/peers/mne_lsl_newest.py ACQUISITION_DELAY_S NAME...

Connects to each stream as its tutorials do and reads what is new as soon as there is any. When stdin says so it prints
one line of JSON: for each stream when something new was there (this machine's monotonic clock), the stamp of its newest
sample and that sample in channel 0; the processor time of the reading; the versions.
"""

import json
import os
import sys
import threading
import time
from importlib.metadata import version
from typing import Any

from mne_lsl import set_log_level
from mne_lsl.stream import StreamLSL

LOOK_S = 0.001  # as often as StreamLSL looks by itself


def main() -> None:
    """Runs until stdin says so."""
    set_log_level("ERROR")
    delay_s, names = float(sys.argv[1]), sys.argv[2:]
    streams: dict[str, Any] = {
        name: StreamLSL(bufsize=4, name=name).connect(acquisition_delay=delay_s, processing_flags="all", timeout=30)
        for name in names
    }
    print("connected", flush=True)
    stop = threading.Event()

    def obey() -> None:
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=obey, daemon=True).start()
    arrivals: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    while not stop.is_set() and all(stream.connected for stream in streams.values()):
        for name, stream in streams.items():
            new = stream.n_new_samples
            if new:
                data, stamps = stream.get_data(min(4.0, new / stream.info["sfreq"]))
                arrivals[name].append((time.monotonic(), float(stamps[-1]), float(data[0, -1])))
        time.sleep(LOOK_S)
    report = {
        "arrivals": arrivals,
        "cpu": (time.process_time() - began_cpu_s) / (time.monotonic() - began_s),
        "versions": f"mne-lsl {version('mne-lsl')}",
    }
    print(json.dumps(report), flush=True)
    os._exit(0)  # it may wait for senders that are gone


if __name__ == "__main__":
    main()
