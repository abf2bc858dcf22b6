"""UCDDB (`ucddb_c3a2`): one raw EEG of 20 people, the stage of each epoch, and breathing events with exact times."""

import csv
import gzip
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.blocks import blocks_of
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.labels import RESPIRATORY, tracks_of
from hypnostream.training.recordings.recording import UNKNOWN, Channel, Event, Recording
from hypnostream.training.recordings.sets.files import read_arrays, set_folder, sources
from hypnostream.training.recordings.subjects import person

FOLDER = "ucddb_c3a2"
SET = "UCDDB"
EVENTS = "epochs_stage_respevents.csv.gz"
# R&K as UCDDB codes it: 0 W, 1 REM, 2 S1, 3 S2, 4 S3, 5 S4, 6 artefact, 7 indeterminate, 8 unscored.
STAGES = np.array([0, 4, 1, 2, 3, 3, UNKNOWN, UNKNOWN, UNKNOWN], np.int8)
UV_PER_UNIT = 100.0
KINDS = {"O": "apnea_obstructive", "C": "apnea_central", "M": "apnea_mixed"}
_MOST_ROWS = 1_000_000


def found(data: Path) -> list[Job]:
    """A job a night; the events of all are in one file."""
    folder = set_folder(data, FOLDER)
    if folder is None:
        return []
    events = (folder / EVENTS,) if (folder / EVENTS).is_file() else ()
    nights = sorted(folder.glob("ucddb*.npz"))
    return [Job(path.stem, partial(read, path), (path, *events), "ucddb 1") for path in nights]


def read(path: Path) -> Recording:
    """One night. Epochs whose EEG is not there are invalid; their stages and events are known all the same."""
    raw, index, codes, scale, rate = read_arrays(path, "eeg_i16", "epoch_index", "stage", "scale", "fs")
    epochs, rate_hz = len(codes), int(rate)
    if raw.shape != (len(index), EPOCH_S * rate_hz) or (np.diff(index) <= 0).any() or index[-1] >= epochs:
        raise UserError(f"{path}: its EEG does not fit its {epochs} epochs; copy it again")
    samples = np.zeros((epochs, EPOCH_S * rate_hz), np.float32)
    samples[index] = raw.astype(np.float32) * np.float32(float(scale) * UV_PER_UNIT)
    valid = np.zeros((epochs, EPOCH_S), np.bool_)
    valid[index] = True
    stages = STAGES[np.clip(codes, 0, 8)]
    notes = [f"the EEG's unit is not known; {UV_PER_UNIT:g} uV a unit are assumed"]
    table = path.parent / EVENTS
    events: tuple[Event, ...] = ()
    if table.is_file():
        rows = _rows(table, path.stem)
        events = distinct_events(rows, table)
        stages = _agreed(stages, codes, rows, notes)
        notes += [f"{e.label} at {e.onset_s:g} s is behind the last epoch" for e in events if e.onset_s >= epochs * 30]
    else:
        notes.append(f"{EVENTS} is not there: no events, and the stages could not be checked")
    known = np.repeat(stages != UNKNOWN, EPOCH_S)
    return Recording(
        name=path.stem,
        subject=person("ucddb", path.stem),
        set_name=SET,
        licence="ODC-By 1.0",
        sources=sources(path, *([table] if table.is_file() else [])),
        epochs=epochs,
        scoring="R&K",
        channels=(Channel("C3-A2", "eeg", "uV", float(rate_hz)),),
        blocks=partial(blocks_of, [(samples.reshape(-1), valid.reshape(-1))], epochs),
        stages=stages,
        events=events,
        tracks=tracks_of(events, epochs, RESPIRATORY, known) if table.is_file() else {},
        notes=tuple(notes),
    )


def distinct_events(rows: Sequence[dict[str, str]], table: Path) -> tuple[Event, ...]:
    """The events of a night in order; the table lists each in every epoch that it touches."""
    seen: dict[tuple[str, float, float], Event] = {}
    for row in rows:
        columns = [row[name].split(";") for name in ("event_types", "event_start_sec", "event_duration_sec")]
        if not row["event_types"].strip():
            continue
        try:
            for label, onset, duration in zip(*columns, strict=True):
                what, how = label.strip().split("-")
                kind = {"HYP": "hypopnea", "APNEA": KINDS[how]}[what]
                event = Event(float(onset), float(duration), kind, label.strip())
                seen[event.label, event.onset_s, event.duration_s] = event
        except (ValueError, KeyError) as error:
            raise UserError(f"{table.name}: events {row['event_types']!r} cannot be read; copy it again") from error
    return tuple(sorted(seen.values(), key=lambda event: (event.onset_s, event.label)))


def _rows(table: Path, record: str) -> list[dict[str, str]]:
    """The rows of one night."""
    try:
        with gzip.open(table, "rt", encoding="utf-8", newline="") as file:
            rows = []
            for number, row in enumerate(csv.DictReader(file)):
                if number > _MOST_ROWS:
                    raise UserError(f"{table} has more than {_MOST_ROWS} rows; split it")
                if row["record_id"] == record:
                    rows.append(row)
            return rows
    except (OSError, EOFError, KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}; copy it again") from error


def _agreed(
    stages: NDArray[np.int8], codes: NDArray[np.integer], rows: Sequence[dict[str, str]], notes: list[str]
) -> NDArray[np.int8]:
    """The stages on which the night's own file and the table agree; where they do not, nobody said."""
    said = [int(float(row["sleep_stage"])) if row["sleep_stage"] else -1 for row in rows]
    if len(said) != len(codes):
        notes.append(f"{len(codes)} epochs are staged, the table lists {len(said)}")
    shared = min(len(said), len(codes))
    differ = np.zeros(len(codes), np.bool_)
    differ[:shared] = codes[:shared] != np.array(said[:shared], int)
    if differ.any():
        notes.append(f"{int(differ.sum())} stages are others in {EVENTS}; left unscored")
    return np.where(differ, UNKNOWN, stages).astype(np.int8)
