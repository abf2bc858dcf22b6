"""Recordings on disk: a folder each, of Parquet tables and a `recording.json`. Whole, or not there at all.

The tables are `signals` (a row an epoch, each channel at its own rate), `stages` (a row an epoch), `events` (the raw
table), `seconds` (labels a second), `points` (beats) and `features` (numbers an epoch); what a recording does not
have has no file.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.recordings.recording import Block, Recording
from hypnostream.training.recordings.recording_file import (
    FILE,
    RecordingFile,
    Table,
    read_recording_file,
    sha256_of,
    write_recording_file,
)
from hypnostream.training.recordings.store_signals import SIGNALS, read_signal, read_signals, write_signals
from hypnostream.training.recordings.store_tables import (
    EVENTS_TABLE,
    FEATURES_TABLE,
    POINTS_TABLE,
    SECONDS_TABLE,
    STAGES_TABLE,
    read_event_table,
    read_features,
    read_points,
    read_stages,
    read_tracks,
    tables_of,
)

PARTIAL = ".partial-"  # how the name of a folder begins that is not whole yet
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
T = TypeVar("T")


def write_recording(out: Path, recording: Recording, reader: str = "") -> Path:
    """Write `out`/NAME, in place of an older one, and return it; a process that is killed leaves no half of it.

    One epoch after the other is read and written. `reader` is kept, to know whether to read the sources again.
    Raises UserError when the name is no plain file name, ValueError when what the recording holds does not fit.
    """
    if not _NAME.fullmatch(recording.name):
        raise UserError(f"{recording.name!r} is no name for a folder; use letters, digits, '.', '_' and '-', up to 120")
    beside = out / f"{PARTIAL}{recording.name}-{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)  # left by a process of the same number that was killed
    beside.mkdir(parents=True)
    try:
        _write(beside, recording, reader)
        target = out / recording.name
        if target.exists():
            older = out / f"{PARTIAL}{recording.name}-{os.getpid()}-older"
            target.rename(older)
            shutil.rmtree(older, ignore_errors=True)
        beside.rename(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def _write(folder: Path, recording: Recording, reader: str) -> None:
    tables: dict[str, Table] = {}
    if recording.channels:
        rows = write_signals(folder / SIGNALS, recording.channels, recording.blocks())
        if rows != recording.epochs:
            raise ValueError(f"its signals are {rows} epochs, it says {recording.epochs}")
        tables[SIGNALS] = _table(folder / SIGNALS, rows)
    for name, table in tables_of(recording).items():
        pq.write_table(table, folder / name, compression="zstd", write_page_checksum=True)
        tables[name] = _table(folder / name, table.num_rows)
    content = RecordingFile(
        name=recording.name,
        subject=recording.subject,
        set_name=recording.set_name,
        licence=recording.licence,
        sources=recording.sources,
        reader=reader,
        epochs=recording.epochs,
        start_utc=recording.start_utc,
        scoring=recording.scoring,
        channels=recording.channels,
        tracks={name: track.resolution_s for name, track in recording.tracks.items()},
        features={name: values.shape[1:] for name, values in recording.features.items()},
        notes=recording.notes,
        tables=tables,
    )
    write_recording_file(folder, content)


def _table(path: Path, rows: int) -> Table:
    return Table(rows, path.stat().st_size, sha256_of(path))


def read_recording(folder: Path) -> Recording:
    """The recording of a folder that `write_recording` made; its signals are read when `blocks` is called.

    Raises UserError, naming the file, when something is missing, damaged, or not what its hash says. The signals'
    hash is left to `validate`; damage to them is found by their pages' checksums when they are read.
    """
    content = read_recording_file(folder)
    has = content.tables

    def read(table: str, how: Callable[[], T], otherwise: T) -> T:
        if table not in has:
            return otherwise
        if sha256_of(folder / table) != has[table].sha256:
            raise UserError(f"{folder / table} is not what its hash in {FILE} says; ingest it again")
        return how()

    try:
        if content.channels and (folder / SIGNALS).stat().st_size != has[SIGNALS].bytes:
            raise UserError(f"{folder / SIGNALS} is not as long as {FILE} says; ingest it again")
        return Recording(
            name=content.name,
            subject=content.subject,
            set_name=content.set_name,
            licence=content.licence,
            sources=content.sources,
            epochs=content.epochs,
            start_utc=content.start_utc,
            scoring=content.scoring,
            channels=content.channels,
            blocks=partial(read_signals, folder / SIGNALS, content.channels) if content.channels else _no_blocks,
            stages=read(STAGES_TABLE, partial(read_stages, folder, content.epochs), None),
            events=read(EVENTS_TABLE, partial(read_event_table, folder), ()),
            tracks=read(SECONDS_TABLE, partial(read_tracks, folder, content), {}),
            points=read(POINTS_TABLE, partial(read_points, folder), ()),
            features=read(FEATURES_TABLE, partial(read_features, folder, content), {}),
            notes=content.notes,
        )
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{folder} is damaged: {reason}; ingest it again") from error


def read_channel(
    folder: Path, label: str, first_epoch: int = 0, count: int | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Samples (epochs, places) and valid seconds (epochs, 30) of one channel; nothing else of the night is read.

    `count` None is all from `first_epoch` on. Raises UserError when there is no such channel, or it is damaged.
    """
    content = read_recording_file(folder)
    wanted = content.epochs if count is None else count
    return read_signal(folder / SIGNALS, content.channels, label, first_epoch, wanted)


def recordings_in(store: Path) -> list[Path]:
    """The folders of the store's recordings, in order of their names."""
    return sorted(path.parent for path in store.glob(f"[!.]*/{FILE}"))


def _no_blocks() -> Iterator[Block]:
    return iter(())
