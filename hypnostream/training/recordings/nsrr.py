"""Studies of the National Sleep Research Resource (SHHS, MESA, CFS, ...): EDF files and their XML.

EDF and XML belong together by name, wherever they are: `polysomnography/edfs/shhs1/shhs1-200001.edf` and
`polysomnography/annotations-events-nsrr/shhs1/shhs1-200001-nsrr.xml`, or side by side in one folder.
"""

from functools import partial
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.training.recordings.edf_night import read_edf_night
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.recording import Recording
from hypnostream.training.recordings.subjects import person

STUDIES = (
    "abc", "apples", "bestair", "ccshs", "cfs", "chat", "hchs", "heartbeat", "homepap", "learn", "mesa", "mros",
    "nchsdb", "numom2b", "pats", "shhs", "sof", "wsc",
)  # fmt: skip
LICENCE = "NSRR data access and use agreement"
_RULES = {"shhs": "R&K", "cfs": "R&K"}
_VERSION = "nsrr 1"


def study_of(stem: str) -> str:
    """The study that a file's name begins with ("shhs2-200001" is of "shhs"), "" when it is none of NSRR's."""
    first = stem.partition("-")[0].casefold()
    return next((study for study in STUDIES if first == study or first.rstrip("0123456789") == study), "")


def subject_of(stem: str) -> str:
    """The person: the study and the last part of the name, so that all visits of one person have one name."""
    return person(study_of(stem), stem.rpartition("-")[2])


def scoring_stem(path: Path) -> str:
    """The recording that a scoring file is of: shhs1-200001 of "shhs1-200001-nsrr.xml" and "shhs1-200001.edf.XML"."""
    stem = path.stem
    for ending in ("-nsrr", "-profusion", ".edf", ".EDF"):
        stem = stem.removesuffix(ending)
    return stem


def scorings(data: Path) -> dict[str, Path]:
    """The XML of each recording, by the recording's name; NSRR's own before others of the same name."""
    found = sorted(path for path in data.rglob("*") if path.suffix.casefold() == ".xml")
    found.sort(key=lambda path: path.stem.endswith("-nsrr"))  # the last one counts
    return {scoring_stem(path): path for path in found}


def found(data: Path) -> list[Job]:
    """A job an EDF of a study, and one for each scoring without a recording, which says so when it is read."""
    edfs = [path for path in sorted(data.rglob("*")) if path.suffix.casefold() == ".edf" and study_of(path.stem)]
    xml = scorings(data)
    jobs = []
    for path in edfs:
        scored = xml.pop(path.stem, None)
        files = (path,) if scored is None else (path, scored)
        jobs.append(Job(path.stem, partial(read, path, scored), files, _VERSION))
    jobs += [Job(path.stem, partial(_alone, path), (path,), _VERSION) for stem, path in xml.items() if study_of(stem)]
    return jobs


def read(path: Path, scored: Path | None) -> Recording:
    """One night, its stages and all that was scored in it."""
    study = study_of(path.stem)
    return read_edf_night(
        path,
        stages=scored,
        events=scored,
        subject=subject_of(path.stem),
        set_name=f"NSRR {study.upper()}",
        licence=LICENCE,
        scoring=_RULES.get(study, ""),
    )


def _alone(path: Path) -> Recording:
    raise UserError(f"{path.name} has no recording: {scoring_stem(path)}.edf is not there; bring it, or remove the XML")
