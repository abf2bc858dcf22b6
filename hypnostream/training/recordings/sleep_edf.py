"""Sleep-EDF Expanded (PhysioNet): `SC4ssN..-PSG.edf` and `ST7ssN..-PSG.edf` with their `-Hypnogram.edf`."""

from functools import partial
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.training.recordings.edf_night import read_edf_night
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.recording import Recording
from hypnostream.training.recordings.subjects import sleep_edf_person

LICENCE = "ODC-By 1.0"
SET = "Sleep-EDF Expanded, EDF"  # another set than the features of its nights
_NIGHT = 6  # letters that say who and which night; the seventh is the recorder, the eighth the scorer
_VERSION = "sleep-edf 2"


def found(data: Path) -> list[Job]:
    """A job a night, and one for each hypnogram without a night, which says so when it is read."""
    hypnograms = {path.name[:_NIGHT]: path for path in sorted(data.rglob("S[CT]*-Hypnogram.edf"))}
    jobs = []
    for path in sorted(data.rglob("S[CT]*-PSG.edf")):
        scored = hypnograms.pop(path.name[:_NIGHT], None)
        files = (path,) if scored is None else (path, scored)
        jobs.append(Job(path.stem, partial(read, path, scored), files, _VERSION))
    return [*jobs, *(Job(path.stem, partial(_alone, path), (path,), _VERSION) for path in hypnograms.values())]


def read(path: Path, scored: Path | None) -> Recording:
    """One night, whole: people are awake for most of an SC recording's day."""
    try:
        subject = sleep_edf_person(path.name)
    except ValueError as error:
        raise UserError(f"{path.name}: {error}") from error
    return read_edf_night(path, stages=scored, subject=subject, set_name=SET, licence=LICENCE, scoring="R&K")


def _alone(path: Path) -> Recording:
    raise UserError(
        f"{path.name} has no recording: {path.name[:_NIGHT]}..-PSG.edf is not there; bring it, or remove it"
    )
