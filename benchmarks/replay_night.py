"""A whole night from an EDF file, cold and warm, beside YASA on the same file; and a folder of such nights.

python -m benchmarks.replay_night [rounds]
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.peer import ONE_THREAD, ask_peer, peer_command
from benchmarks.processes import family, shared_once_mib
from benchmarks.report import heading, spread, table
from hypnostream.bridges.bench_process import ProcessCost, measure
from hypnostream.bridges.own_process import own_command, own_environment

HOURS = 8.0
NIGHTS_A_CORE = 3
METHOD = f"""\
A plain EDF of {HOURS:g} h with 6 channels at 256 Hz, one at 32 Hz and one at 1 Hz: a simulated hour, repeated. In turn,
`hypnostream replay` with stages alone, the same with breathing (both write the report with its picture), and YASA
(reads with MNE, stages from one EEG, EOG and EMG, writes nothing), each a new process whose start counts; one thread a
library. Files and bytecode are in the page cache. Warm: the second time in one process that has all loaded and
compiled; ours as a worker of a folder does it, picture included. Medians over the rounds and their range; seconds of
CPU depend less on what else the machine does. Resident memory is the maximum of the largest process (wait4); "all
processes" is, in a run of its own, the largest sum at any time of what hypnostream's processes hold, shared pages
counted once (PSS, sampled each 20 ms). The folder: {NIGHTS_A_CORE} such nights a core, stages alone, `hypnostream
replay FOLDER` with a process a core, from its start to its end."""
STAGES_ALONE = "[breathing]\nenabled = false\n"


class Warm(NamedTuple):
    """What a night took in a process that had done one before."""

    wall_s: float
    cpu_s: float


def main(rounds: int = 5) -> None:
    """Print the tables."""
    heading(f"{HOURS:g} h replayed", METHOD)
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as name:
        folder = Path(name)
        night, report, stages, all_of_it = (str(folder / each) for each in ("night.edf", "report", "a.toml", "b.toml"))
        Path(stages).write_text(STAGES_ALONE)
        Path(all_of_it).write_text("")
        environment = {**own_environment(), **ONE_THREAD}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled
        measure(own_command("hypnostream.bridges.bench_night", night, f"{HOURS:g}"), environment)
        configs = {"hypnostream, stages": stages, "hypnostream, with breathing": all_of_it}
        replays = {
            title: own_command("hypnostream", "replay", night, "--out", report, "--config", config)
            for title, config in configs.items()
        }
        yasa = peer_command("yasa_night.py", night)
        commands = replays | ({} if yasa is None else {"YASA": yasa})
        cold: dict[str, list[ProcessCost]] = {title: [] for title in commands}
        warm: dict[str, list[Warm]] = {title: [] for title in replays}
        theirs_warm: list[float] = []
        versions = ""
        for command in commands.values():  # once for the page cache and the bytecode
            measure(command, environment)
        for _ in range(rounds):
            for title, command in commands.items():
                cold[title].append(measure(command, environment))
        for _ in range(rounds):
            for title, config in configs.items():
                warm[title].append(_warm(night, report, config, environment))
            answer = None if yasa is None else ask_peer("yasa_night.py", night, "2")
            if answer is not None:
                theirs_warm.append(answer["seconds"][-1])
                versions = answer["versions"]
        together = {title: _together_mib(command, environment) for title, command in replays.items()}
        nights, cost = _folder(folder, Path(night), stages, environment)
    rows = [_cold(f"{title}, cold", costs, together.get(title)) for title, costs in cold.items()]
    for title, each in warm.items():
        walls, cpus = spread([one.wall_s for one in each]), spread([one.cpu_s for one in each])
        rows.append([f"{title}, warm", walls, cpus, "", ""])
    if theirs_warm:
        rows.append(["YASA, warm", spread(theirs_warm), "", "", ""])
    table(["", "s, median (range)", "s of CPU", "MiB, largest process", "MiB, all processes"], rows)
    a_night_s = cost.cpu_s / nights
    row = [f"{nights}", f"{cost.wall_s:.1f}", f"{a_night_s:.2f}", f"{HOURS * 3600 / a_night_s:.0f}"]
    table(["a folder: nights", "s", "s of CPU a night", "times real time, a core"], [row])
    if versions:
        print(f"Peer: {versions}.\n")


def _cold(name: str, costs: Sequence[ProcessCost], together: float | None = None) -> list[str]:
    cpu, peak = spread([cost.cpu_s for cost in costs]), max(cost.peak_mib for cost in costs)
    return [name, spread([cost.wall_s for cost in costs]), cpu, f"{peak:.0f}", f"{together:.0f}" if together else ""]


def _folder(folder: Path, night: Path, config: str, environment: dict[str, str]) -> tuple[int, ProcessCost]:
    """How many nights a folder had, and what they cost together."""
    nights, cores = folder / "nights", len(os.sched_getaffinity(0))
    nights.mkdir()
    for number in range(NIGHTS_A_CORE * cores):
        (nights / f"{number}.edf").hardlink_to(night)
    command = own_command("hypnostream", "replay", str(nights), "--out", str(folder / "reports"), "--config", config)
    return NIGHTS_A_CORE * cores, measure(command, environment)


def _warm(night: str, report: str, config: str, environment: dict[str, str]) -> Warm:
    """The second replay in one process."""
    command = [sys.executable, "-m", "benchmarks.replay_night", "--twice", night, report, config]
    return Warm(*json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout))


def _twice(night: Path, report: Path, config: Path) -> Warm:
    from hypnostream.bridges.replay_folder import Night, stage_night
    from hypnostream.config import load_config

    stage_night(load_config(config), Night(night, report))
    started, started_cpu = time.perf_counter(), time.process_time()
    stage_night(load_config(config), Night(night, report))
    return Warm(time.perf_counter() - started, time.process_time() - started_cpu)


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
        print(json.dumps(_twice(*map(Path, sys.argv[2:5]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
