"""Two short pieces of real EDF (`psg_snippets`): five minutes of Sleep-EDF, and two of a full clinical montage."""

from functools import partial
from pathlib import Path

from hypnostream.training.recordings.edf_night import read_edf_night
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.recording import Recording
from hypnostream.training.recordings.sets.files import set_folder
from hypnostream.training.recordings.subjects import person

FOLDER = "psg_snippets"
LICENCES = {"sleepedf_5min": "Apache-2.0", "nox_a1_2min": "MIT"}


def found(data: Path) -> list[Job]:
    """A job a file."""
    folder = set_folder(data, FOLDER)
    if folder is None:
        return []
    return [Job(path.stem, partial(read, path), (path,), "snippets 1") for path in sorted(folder.glob("*.edf"))]


def read(path: Path) -> Recording:
    """One piece, as any EDF file is read; nobody scored it."""
    licence = LICENCES.get(path.stem, "")
    return read_edf_night(path, subject=person("snippets", path.stem), set_name="PSG snippets", licence=licence)
