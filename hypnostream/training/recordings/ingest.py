"""Ingest: recordings of many files and forms into the store, side by side, going on where it was stopped.

A recording is left alone when it is in the store, whole, read by the same reader from files of the same hashes. One
that fails is skipped, named with its reason in `skipped.json`, and tried again the next time.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.folder_lock import is_locked, locked
from hypnostream.errors import UserError
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.readers import found
from hypnostream.training.recordings.recording import Source
from hypnostream.training.recordings.recording_file import read_recording_file, sha256_of
from hypnostream.training.recordings.store import PARTIAL, write_recording
from hypnostream.training.running.many import Failed, run_each

SKIPPED = "skipped.json"
Progress = Callable[[int, int, str], None]


class Skipped(msgspec.Struct, frozen=True):
    """A recording that could not be read: its files, and why in one line."""

    name: str
    files: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What one ingest did: names `written`, names `kept` as they were, and what was skipped."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    skipped: tuple[Skipped, ...]


def ingest(
    data: Path, out: Path, workers: int = 1, ray: bool = False, progress: Progress = lambda *_: None
) -> Ingested:
    """Bring all recordings under `data` into the store `out`; `progress` is called with (done, of how many, name).

    Raises UserError when there is nothing to read, or another ingest is at work in `out`.
    """
    data, out = data.resolve(), out.resolve()  # a worker of Ray is in another folder
    jobs = found(data)
    if is_locked(out):
        raise UserError(f"another ingest is at work in {out}; wait for it, or choose another folder")
    with locked(out):
        for left in out.glob(f"{PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        written, kept, skipped = _ingest(jobs, data, out, workers, ray, progress)
        skipped.sort(key=lambda each: each.name)
        write_atomically(out / SKIPPED, msgspec.json.format(msgspec.json.encode(skipped), indent=2))
    return Ingested(tuple(sorted(written)), tuple(sorted(kept)), tuple(skipped))


def _ingest(
    jobs: Sequence[Job], data: Path, out: Path, workers: int, ray: bool, progress: Progress
) -> tuple[list[str], list[str], list[Skipped]]:
    written: list[str] = []
    kept: list[str] = []
    skipped: list[Skipped] = []
    progress(0, len(jobs), "")
    for done, (place, result) in enumerate(run_each(partial(bring, data, out), jobs, workers, ray), 1):
        job = jobs[place]
        if isinstance(result, Failed):
            files = tuple(_under(path, data) for path in job.files)
            skipped.append(Skipped(job.name, files, result.message.removeprefix("UserError: ")))
        else:
            (written if result else kept).append(job.name)
        progress(done, len(jobs), job.name)
    return written, kept, skipped


def bring(data: Path, out: Path, job: Job) -> bool:
    """One recording into the store; False when it is there as it would come out."""
    sources = tuple(Source(_under(path, data), sha256_of(path)) for path in job.files)
    if _is_there(out / job.name, sources, job.reader):
        return False
    write_recording(out, replace(job.read(), name=job.name, sources=sources), job.reader)
    return True


def _is_there(folder: Path, sources: tuple[Source, ...], reader: str) -> bool:
    try:
        content = read_recording_file(folder)
    except UserError:
        return False
    sizes = all(
        (folder / name).is_file() and (folder / name).stat().st_size == table.bytes
        for name, table in content.tables.items()
    )
    return content.sources == sources and content.reader == reader and sizes


def _under(path: Path, data: Path) -> str:
    """The path as it is under `data`, the same on every machine."""
    return path.relative_to(data).as_posix() if path.is_relative_to(data) else path.name
