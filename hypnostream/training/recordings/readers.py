"""All that can be read of a folder: the sets that we know by name, then NSRR, Sleep-EDF, WFDB, a laboratory's own.

A file belongs to the first reader that knows it.
"""

from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from hypnostream.errors import UserError
from hypnostream.training.recordings import laboratory, nsrr, sets, sleep_edf, wfdb_night
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.recording import Recording


def found(data: Path) -> list[Job]:
    """A job a recording under `data`, in order of their names.

    Raises UserError when the folder is not there or holds nothing that can be read.
    """
    if not data.is_dir():
        raise UserError(f"{data} is no folder; name the one that holds the recordings")
    data = data.resolve()
    jobs: list[Job] = []
    for module in sorted(iter_modules(sets.__path__), key=lambda module: module.name):
        of_set = getattr(import_module(f"{sets.__name__}.{module.name}"), "found", None)
        if of_set is not None:
            jobs += of_set(data)
    claimed = _files(jobs)
    jobs += [job for read in (nsrr, sleep_edf) for job in read.found(data) if not claimed & _files([job])]
    jobs += wfdb_night.found(data, _files(jobs))
    jobs += laboratory.found(data, _files(jobs))
    if not jobs:
        raise UserError(
            f"{data} holds nothing that can be read: EDF with XML or hypnograms, WFDB records, NAME.signals.csv, "
            "or one of the sets that docs/training.md names"
        )
    return _named_once(jobs)


def _files(jobs: list[Job]) -> set[Path]:
    return {path.resolve() for job in jobs for path in job.files}


def _named_once(jobs: list[Job]) -> list[Job]:
    """Of two recordings with one name the second only says so when it is read."""
    first: dict[str, Job] = {}
    out = []
    for job in sorted(jobs, key=lambda job: job.name):
        other = first.setdefault(job.name, job)
        out.append(job if other is job else Job(job.name, partial(_same_name, other.files[0], job.files[0]), job.files))
    return out


def _same_name(first: Path, second: Path) -> Recording:
    raise UserError(f"{second} has the name of {first}, which is taken; rename one of them")
