"""What a program costs from its start to its end: wall time, CPU time, memory.

A process inherits its parent's largest memory at its start (Linux, getrusage). So what is measured is started by a
small Python that has imported next to nothing: this file, run as a script.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class ProcessCost(NamedTuple):
    """`cpu_s` is user and system time, children included; `peak_mib` the resident memory of the largest process."""

    wall_s: float
    cpu_s: float
    peak_mib: float


def measure(command: Sequence[str], environment: Mapping[str, str] | None = None) -> ProcessCost:
    """Run `command`, its stdout thrown away, and say what it cost.

    Raises UserError when it fails, and where the system does not tell what a process cost (Windows).
    """
    import subprocess

    from hypnostream.errors import UserError

    if not hasattr(os, "wait4"):
        raise UserError(f"{sys.platform} does not tell what a process cost; measure on Linux or macOS")
    launcher = [sys.executable, "-I", "-S", __file__, *command]
    ran = subprocess.run(launcher, env=environment, capture_output=True, check=False)  # noqa: S603  the caller's own
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise UserError(f"{' '.join(command)} ended with {ran.returncode}: {said[-1] if said else 'it said nothing'}")
    return ProcessCost(*json.loads(ran.stdout))


def main(command: list[str]) -> int:
    """Run `command`, print its cost as JSON, return its exit code."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    started = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, nothing, 1)])
    _, status, usage = os.wait4(child, 0)
    wall_s = time.perf_counter() - started
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    print(json.dumps([wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**20]))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
