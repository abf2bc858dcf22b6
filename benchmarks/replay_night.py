"""A whole night from an EDF file, cold and warm, beside YASA on the same file.

python -m benchmarks.replay_night [rounds]
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peer import ONE_THREAD, ask_peer, peer_command
from benchmarks.processes import family, shared_once_mib
from benchmarks.report import heading, spread, table
from hypnostream.bridges.bench_process import ProcessCost, measure
from hypnostream.bridges.own_process import own_command, own_environment

HOURS = 8.0
METHOD = f"""\
A plain EDF of {HOURS:g} h with 6 channels at 256 Hz, one at 32 Hz and one at 1 Hz: a simulated hour, repeated. In turn,
`hypnostream replay` (stages, writes the report with its picture) and YASA (reads with MNE, stages from one EEG, EOG and
EMG, writes nothing), each a new process whose start counts; one thread a library. The file is in the page cache. Warm:
the second time in one process that has all loaded and compiled. Medians over the rounds and their range. Resident
memory is the maximum of the largest process (wait4); "all processes" is, in a run of its own, the largest sum at any
time of what hypnostream's processes hold, shared pages counted once (PSS, sampled each 20 ms)."""


def main(rounds: int = 5) -> None:
    """Print the table."""
    heading(f"{HOURS:g} h replayed", METHOD)
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder:
        night, report = str(Path(folder) / "night.edf"), str(Path(folder) / "report")
        environment = {**own_environment(), **ONE_THREAD}
        measure(own_command("hypnostream.bridges.bench_night", night, f"{HOURS:g}"), environment)
        replay = own_command("hypnostream", "replay", night, "--out", report)
        yasa = peer_command("yasa_night.py", night)
        ours: list[ProcessCost] = []
        theirs: list[ProcessCost] = []
        ours_warm: list[float] = []
        theirs_warm: list[float] = []
        versions = ""
        for _ in range(rounds):
            ours.append(measure(replay, environment))
            if yasa is not None:
                theirs.append(measure(yasa, environment))
        for _ in range(rounds):
            ours_warm.append(_warm(night, report, environment))
            answer = None if yasa is None else ask_peer("yasa_night.py", night, "2")
            if answer is not None:
                theirs_warm.append(answer["seconds"][-1])
                versions = answer["versions"]
        together = _together_mib(replay, environment)
    rows = [_cold("hypnostream, cold", ours, together)]
    if theirs:
        rows.append(_cold("YASA, cold", theirs))
    rows.append(["hypnostream, warm", spread(ours_warm), "", "", ""])
    if theirs_warm:
        rows.append(["YASA, warm", spread(theirs_warm), "", "", ""])
    table(["", "s, median (range)", "s of CPU", "MiB, largest process", "MiB, all processes"], rows)
    if versions:
        print(f"Peer: {versions}.\n")


def _cold(name: str, costs: Sequence[ProcessCost], together: float | None = None) -> list[str]:
    cpu, peak = spread([cost.cpu_s for cost in costs]), max(cost.peak_mib for cost in costs)
    return [name, spread([cost.wall_s for cost in costs]), cpu, f"{peak:.0f}", f"{together:.0f}" if together else ""]


def _warm(night: str, report: str, environment: dict[str, str]) -> float:
    """Seconds of the second replay in one process."""
    command = [sys.executable, "-m", "benchmarks.replay_night", "--twice", night, report]
    return float(json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout))


def _twice(night: Path, report: Path) -> float:
    from hypnostream.bridges.replay import ReplayOptions, replay

    replay(night, ReplayOptions(out=report))
    started = time.perf_counter()
    replay(night, ReplayOptions(out=report))
    return time.perf_counter() - started


def _together_mib(command: Sequence[str], environment: dict[str, str]) -> float | None:
    """The largest memory at any time of a process and its children, where Linux says it."""
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    largest, ended = 0.0, threading.Event()

    def watch() -> None:
        nonlocal largest
        while not ended.wait(0.02):
            largest = max(largest, sum(shared_once_mib(pid) for pid in family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    process.wait()
    ended.set()
    watcher.join()
    return largest


if __name__ == "__main__":
    if sys.argv[1:2] == ["--twice"]:
        print(json.dumps(_twice(Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
