"""The small tables of a stored recording: stages, events, labels a second, points and features, as Parquet."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S, STAGES
from hypnostream.training.recordings.recording import EVENT_KINDS, UNKNOWN, Event, Points, Recording, Track
from hypnostream.training.recordings.recording_file import RecordingFile

STAGES_TABLE = "stages.parquet"
EVENTS_TABLE = "events.parquet"
SECONDS_TABLE = "seconds.parquet"
POINTS_TABLE = "points.parquet"
FEATURES_TABLE = "features.parquet"
_EVENT_COLUMNS: dict[str, pa.DataType] = {
    "onset_s": pa.float64(),
    "duration_s": pa.float64(),
    "kind": pa.string(),
    "label": pa.string(),
    "channel": pa.string(),
    "by": pa.string(),
    "value": pa.float64(),
}
_EVENTS = pa.schema(_EVENT_COLUMNS)


def tables_of(recording: Recording) -> dict[str, pa.Table]:
    """The tables that the recording has something for, by file name. Raises ValueError when lengths do not fit."""
    out: dict[str, pa.Table] = {}
    epochs = recording.epochs
    if recording.stages is not None:
        _check_length("stages", recording.stages, epochs)
        out[STAGES_TABLE] = pa.table({"epoch": np.arange(epochs, dtype=np.int32), "stage": _int8(recording.stages)})
    if recording.events:
        rows = recording.events
        out[EVENTS_TABLE] = pa.table(
            {name: [getattr(row, name) for row in rows] for name in _EVENTS.names}, schema=_EVENTS
        )
    if recording.tracks:
        for name, track in recording.tracks.items():
            _check_length(f"track {name}", track.values, epochs * EPOCH_S)
        out[SECONDS_TABLE] = pa.table({name: _int8(track.values) for name, track in recording.tracks.items()})
    if recording.points:
        out[POINTS_TABLE] = pa.table(
            {
                "kind": np.repeat([each.kind for each in recording.points], [len(p.time_s) for p in recording.points]),
                "time_s": np.concatenate([each.time_s for each in recording.points]).astype(np.float64),
                "value": np.concatenate([each.value for each in recording.points]).astype(np.float64),
            }
        )
    if recording.features:
        for name, values in recording.features.items():
            _check_length(f"feature {name}", values, epochs)
        out[FEATURES_TABLE] = pa.table({name: _lists(values) for name, values in recording.features.items()})
    return out


def read_stages(folder: Path, epochs: int) -> NDArray[np.int8]:
    """(N,) indices of STAGES or UNKNOWN."""
    stages = _column(_read(folder / STAGES_TABLE), "stage", np.int8)
    _check_codes(folder / STAGES_TABLE, stages, len(STAGES) - 1)
    _check_rows(folder / STAGES_TABLE, stages, epochs)
    return stages


def read_event_table(folder: Path) -> tuple[Event, ...]:
    """All events, as they were written."""
    path = folder / EVENTS_TABLE
    table = _read(path)
    if not table.schema.equals(_EVENTS):
        raise _wrong(path, f"its columns are {', '.join(table.column_names)}")
    events = tuple(Event(**row) for row in table.to_pylist())
    for number, event in enumerate(events):
        if event.kind not in EVENT_KINDS or not np.isfinite([event.onset_s, event.duration_s]).all():
            raise _wrong(path, f"row {number} is no event: {event}")
    return events


def read_tracks(folder: Path, content: RecordingFile) -> dict[str, Track]:
    """The labels a second, with their resolution."""
    path = folder / SECONDS_TABLE
    table = _read(path)
    out = {}
    for name, resolution_s in content.tracks.items():
        values = _column(table, name, np.int8)
        _check_codes(path, values, 1)
        _check_rows(path, values, content.epochs * EPOCH_S)
        out[name] = Track(values, resolution_s)
    return out


def read_points(folder: Path) -> tuple[Points, ...]:
    """The points of each kind, in order of time."""
    path = folder / POINTS_TABLE
    table = _read(path)
    kinds = table.column("kind").to_numpy()
    time_s, value = _column(table, "time_s", np.float64), _column(table, "value", np.float64)
    out = tuple(Points(kind, time_s[kinds == kind], value[kinds == kind]) for kind in dict.fromkeys(kinds.tolist()))
    for points in out:
        if not (np.isfinite(points.time_s).all() and np.all(np.diff(points.time_s) >= 0)):
            raise _wrong(path, f"the times of {points.kind!r} are not in order")
    return out


def read_features(folder: Path, content: RecordingFile) -> dict[str, NDArray[np.float32]]:
    """(N, ...) float32 each."""
    path = folder / FEATURES_TABLE
    table = _read(path)
    out = {}
    for name, shape in content.features.items():
        flat = np.asarray(pc.list_flatten(table.column(name)).to_numpy(), np.float32)
        if len(flat) != content.epochs * int(np.prod(shape)):
            raise _wrong(path, f"{name} has {len(flat)} numbers, {content.epochs} epochs of {shape} need others")
        out[name] = flat.reshape(content.epochs, *shape)
    return out


def _lists(values: NDArray[np.float32]) -> "pa.Array[Any]":
    width = int(np.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), width)


def _int8(values: NDArray[np.integer[Any]]) -> NDArray[np.int8]:
    return values.astype(np.int8)


def _column(table: pa.Table, name: str, kind: type[np.generic]) -> NDArray[Any]:
    return table.column(name).to_numpy().astype(kind)


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read()


def _check_length(what: str, values: NDArray[Any], wanted: int) -> None:
    if len(values) != wanted:
        raise ValueError(f"{what} has {len(values)} values, the recording's epochs make it {wanted}")


def _check_rows(path: Path, values: NDArray[Any], wanted: int) -> None:
    if len(values) != wanted:
        raise _wrong(path, f"it has {len(values)} rows, the recording's epochs make it {wanted}")


def _check_codes(path: Path, values: NDArray[np.int8], largest: int) -> None:
    if values.size and not (values.min() >= UNKNOWN and values.max() <= largest):
        raise _wrong(path, f"a value is outside of {UNKNOWN} to {largest}")


def _wrong(path: Path, why: str) -> UserError:
    return UserError(f"{path} is not as the store writes it: {why}; ingest it again")
