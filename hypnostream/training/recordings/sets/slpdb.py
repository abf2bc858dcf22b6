"""MIT-BIH Polysomnographic Database (`slpdb_labels`): heart beats, and a stage with breathing events every 30 s."""

from functools import partial
from pathlib import Path

import numpy as np

from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.beats import beats_of
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.labels import repeated
from hypnostream.training.recordings.recording import Recording
from hypnostream.training.recordings.sets.files import set_folder, sources
from hypnostream.training.recordings.sets.slpdb_words import read_words
from hypnostream.training.recordings.subjects import slpdb_person
from hypnostream.training.recordings.wfdb import BEATS, read_wfdb_annotations, read_wfdb_header

FOLDER = "slpdb_labels"


def found(data: Path) -> list[Job]:
    """A job a record."""
    folder = set_folder(data, FOLDER)
    if folder is None:
        return []
    return [
        Job(path.stem, partial(read, path), tuple(path.with_suffix(end) for end in (".hea", ".st", ".ecg")), "slpdb 1")
        for path in sorted(folder.glob("*.hea"))
    ]


def read(header_path: Path) -> Recording:
    """One record. Its labels need not begin with it: each belongs to the epoch of its own time."""
    header = read_wfdb_header(header_path)
    if header.frames is None:
        raise UserError(f"{header_path} does not say how long the record is; copy it again")
    epochs = int(header.frames / header.rate_hz // EPOCH_S)
    files = header_path, header_path.with_suffix(".st"), header_path.with_suffix(".ecg")
    labels = read_wfdb_annotations(files[1])
    which = [round(label.time_s / EPOCH_S) for label in labels]
    stages, tracks, notes = read_words([label.aux for label in labels], which, epochs)
    beats = [beat.time_s for beat in read_wfdb_annotations(files[2]) if beat.symbol in BEATS]
    unlabelled = epochs - len(set(which))
    if unlabelled:
        notes.append(f"{unlabelled} epochs have no label")
    return Recording(
        name=header_path.stem,
        subject=slpdb_person(header_path.stem),
        set_name="MIT-BIH Polysomnographic",
        licence="ODC-By 1.0",
        sources=sources(*files),
        epochs=epochs,
        scoring="R&K",
        stages=stages,
        tracks={name: repeated(values, EPOCH_S, epochs * EPOCH_S) for name, values in tracks.items()},
        points=(beats_of(np.array(beats), epochs * EPOCH_S),),
        notes=tuple(notes),
    )
