"""Room for a night: disk, memory, processor."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from hypnostream.bridges.doctor import OK, PROBLEM, WARNING, Check
from hypnostream.config import BedConfig

# A large recording, kept as float32: 32 channels at 256 Hz for 8 h. Results alone are far smaller.
RECORDED_BYTES = 32 * 256 * 4 * 8 * 3600
RESULTS_BYTES = 50e6
FEW_NIGHTS = 7
SLOW_WRITE_S = 0.25
LEAST_MEMORY, LITTLE_MEMORY = 256 << 20, 1 << 30
BUSY_PERCENT = 80.0
WATCHED_S = 1.0


def examine(config: BedConfig) -> Iterator[Check]:
    """Disk, memory, processor."""
    yield from disk(Path(config.keep.folder), config.keep.record)
    yield memory()
    yield processor()


def disk(folder: Path, record: bool) -> Iterator[Check]:
    """Whether nights can be written to `folder`, how fast, and how many more."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    made = "" if there == folder.absolute() else f" (for {folder}, which is made when it is needed)"
    try:
        took_s = write_time_s(there)
    except OSError as error:
        reason = error.strerror or str(error)
        yield Check("disk", PROBLEM, f"{there} cannot be written: {reason}", "choose another keep.folder")
        return
    free = psutil.disk_usage(str(there)).free
    nights = int(free / (RECORDED_BYTES if record else RESULTS_BYTES))
    each = "recorded, 32 channels at 256 Hz, 0.94 GB each" if record else "of results; without --record"
    state = OK if nights >= FEW_NIGHTS else WARNING if nights >= 1 else PROBLEM
    todo = "" if state == OK else "free some, or set keep.max_gb or keep.max_age_days"
    yield Check(
        "disk", state, f"{free / 1e9:.1f} GB free in {there}{made}: {min(nights, 9999)} nights of 8 h {each}", todo
    )
    slow = took_s > SLOW_WRITE_S
    said = f"1 MB is safe on disk after {took_s * 1000:.1f} ms"
    yield Check("disk speed", WARNING if slow else OK, said, "choose a disk of this machine" if slow else "")


def write_time_s(folder: Path, trials: int = 3) -> float:
    """Write a megabyte and wait until it is on the disk; the median time. OSError where it cannot be."""
    took_s = []
    for _ in range(trials):
        with tempfile.TemporaryFile(dir=folder, prefix=".hypnostream-doctor-") as file:
            started = time.perf_counter()
            file.write(bytes(1_000_000))
            file.flush()
            os.fsync(file.fileno())
            took_s.append(time.perf_counter() - started)
    return sorted(took_s)[trials // 2]


def memory() -> Check:
    """What could be used now without swapping."""
    seen = psutil.virtual_memory()
    state = OK if seen.available > LITTLE_MEMORY else WARNING if seen.available > LEAST_MEMORY else PROBLEM
    said = f"{seen.available / 1e9:.1f} of {seen.total / 1e9:.1f} GB free"
    return Check("memory", state, said, "" if state == OK else "end other programs; a bed needs about 0.2 GB")


def processor() -> Check:
    """How many cores there are and how busy they are."""
    cores = psutil.cpu_count() or 1
    percent = psutil.cpu_percent(WATCHED_S)
    load = psutil.getloadavg()[0]
    busy = percent > BUSY_PERCENT
    said = f"{cores} core{'s' * (cores != 1)}, {percent:.0f} % busy, load {load:.1f}"
    return Check("processor", WARNING if busy else OK, said, "end other programs before the night" if busy else "")
