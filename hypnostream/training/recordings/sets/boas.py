"""Bitbrain's BOAS (`boas_hypnograms`): stages alone, of 128 nights of 100 people."""

import csv
from functools import partial
from pathlib import Path

import numpy as np

from hypnostream.errors import UserError
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.recording import UNKNOWN, Recording
from hypnostream.training.recordings.sets.files import read_arrays, set_folder, sources
from hypnostream.training.recordings.subjects import person

FOLDER = "boas_hypnograms"


def found(data: Path) -> list[Job]:
    """A job a night; all are in one file, and another says who is who."""
    folder = set_folder(data, FOLDER)
    if folder is None or not (folder / "boas_hypnograms.npz").is_file():
        return []
    nights, people = folder / "boas_hypnograms.npz", folder / "participants.tsv"
    with np.load(nights, allow_pickle=False) as file:
        names = sorted(file.files)
    return [Job(f"boas-{name}", partial(read, nights, people, name), (nights, people), "boas 1") for name in names]


def read(nights: Path, people: Path, name: str) -> Recording:
    """One hypnogram: the consensus of three scorers; the algorithm's column is not read."""
    (both,) = read_arrays(nights, name)
    consensus = both[:, 0]
    stages = np.where((consensus >= 0) & (consensus < 5), consensus, UNKNOWN).astype(np.int8)
    return Recording(
        name=f"boas-{name}",
        subject=person("boas", _person_of(people, name)),
        set_name="BOAS",
        licence="CC0 1.0",
        sources=sources(nights, people),
        epochs=len(stages),
        scoring="AASM",
        stages=stages,
    )


def _person_of(people: Path, name: str) -> str:
    """The `pid` of a participant: one person has several nights, each called a participant."""
    try:
        with people.open(encoding="utf-8", newline="") as file:
            rows = {row["participant_id"]: row["pid"] for row in csv.DictReader(file, delimiter="\t")}
        return rows[name]
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{people} does not say who {name} is: {error}; copy it again") from error
