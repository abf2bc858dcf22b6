"""What running processes take, by their files in /proc: memory, processor time, and who started whom. Linux only."""

import os
from contextlib import suppress
from pathlib import Path


def memory_mib(of: str, pid: int | None = None) -> float:
    """Memory of a process, of this one if none is named, as its status calls it.

    VmRSS is all that is resident; VmHWM the most that it was; RssAnon is without the files that it maps, which come
    and go as the system likes. Raises OSError or StopIteration for a process that has ended.
    """
    status = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(of)) / 1024


def shared_once_mib(pid: int) -> float:
    """Resident memory in which a page that n processes share counts 1 / n (PSS); 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def processor_s(pid: int) -> float:
    """Processor time of a process, user and system. Raises OSError for one that has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def children(pid: int) -> list[int]:
    """The processes that any thread of a process started; none of one that has ended."""
    started: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # this thread has ended, others may not have
                started += map(int, (thread / "children").read_text().split())
    return started


def family(pid: int) -> list[int]:
    """A process and all below it."""
    return [pid, *(member for child in children(pid) for member in family(child))]
