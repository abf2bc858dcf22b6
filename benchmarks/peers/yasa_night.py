"""One recording staged by YASA, by the Python of the peers' environment: see benchmarks/README.md.

    .venv-peers/bin/python benchmarks/peers/yasa_night.py NIGHT.edf [times]

Reads the EDF with MNE and stages it from one EEG, one EOG and the chin EMG, as YASA's documentation shows; `times`
more than once in one process, so that the second time shows it warm.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path


def stage(path: Path) -> int:
    """Stage a recording; how many epochs it has."""
    import mne
    import yasa

    channels = {"eeg_name": "EEG Fpz-Cz", "eog_name": "EOG horizontal", "emg_name": "EMG chin"}
    raw = mne.io.read_raw_edf(path, include=list(channels.values()), preload=True, verbose="error")
    return len(yasa.SleepStaging(raw, **channels).predict().hypno)


def main(path: Path, times: int) -> None:
    """Print one line of JSON: seconds of each time, epochs, versions."""
    seconds, epochs = [], 0
    for _ in range(times):
        started = time.perf_counter()
        epochs = stage(path)
        seconds.append(time.perf_counter() - started)
    versions = ", ".join(f"{name} {version(name)}" for name in ("yasa", "mne", "lightgbm", "numba"))
    print(json.dumps({"seconds": seconds, "epochs": epochs, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)
