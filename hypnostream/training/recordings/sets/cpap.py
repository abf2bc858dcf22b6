"""CPAP sessions (`cpap_flow`): flow at 25 Hz and pressure of two people on therapy, and what the device flagged."""

import csv
from functools import partial
from pathlib import Path

import numpy as np

from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.blocks import blocks_of
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.labels import tracks_of
from hypnostream.training.recordings.recording import UNKNOWN, Channel, Event, Recording, Track
from hypnostream.training.recordings.sets.files import read_arrays, set_folder, sources
from hypnostream.training.recordings.subjects import person

FOLDER = "cpap_flow"
KINDS = {
    "Obstructive Apnea": "apnea_obstructive",
    "Central Apnea": "apnea_central",
    "Apnea": "apnea",
    "Hypopnea": "hypopnea",
    "Arousal": "arousal",
}
FLAGGED_S = 90  # a hypopnea is flagged when it is over, without its length: so long before it nothing is known


def found(data: Path) -> list[Job]:
    """A job a session; the events of all are in one file."""
    folder = set_folder(data, FOLDER)
    if folder is None:
        return []
    events = folder / "events.csv"
    return [
        Job(f"cpap-{path.stem}", partial(read, path, events), (path, events), "cpap 1")
        for path in sorted(folder.glob("*.npz"))
    ]


def read(path: Path, table: Path) -> Recording:
    """One session, cut to whole epochs of both signals."""
    flow, gain, unit, rate, pressure = read_arrays(path, "flow_i16", "flow_gain", "flow_unit", "fs", "press_1hz")
    rate_hz = int(rate)
    seconds = min(len(flow) // rate_hz, len(pressure))
    epochs = seconds // EPOCH_S
    events = _events(table, path.name)
    tracks = tracks_of(events, epochs, ("apnea_obstructive", "apnea_central", "apnea", "hypopnea", "apnea_or_hypopnea"))
    for event in events:
        if event.kind == "hypopnea" and event.duration_s == 0:
            end = int(event.onset_s) + 1
            for name in ("hypopnea", "apnea_or_hypopnea"):
                _forget(tracks[name], max(end - FLAGGED_S, 0), end)
    there = np.ones(seconds, np.bool_)
    litres = flow[: seconds * rate_hz].astype(np.float32) * np.float32(gain)
    return Recording(
        name=f"cpap-{path.stem}",
        subject=person("cpap", path.stem.partition("_")[0]),
        set_name="CPAP flow",
        licence="MIT",
        sources=sources(path, table),
        epochs=epochs,
        channels=(Channel("Flow", "flow", str(unit), float(rate_hz)), Channel("Pressure", "other", "cmH2O", 1.0)),
        blocks=partial(blocks_of, [(litres, there), (pressure[:seconds].astype(np.float32), there)], epochs),
        events=events,
        tracks=tracks,
        notes=("breathing on therapy; events are the device's, hypopneas and arousals without a length",),
    )


def _events(table: Path, session: str) -> tuple[Event, ...]:
    """What the device flagged in a session: it says when an event was over, and how long an apnea lasted."""
    out = []
    try:
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["session"] == session:
                    end_s, duration_s = float(row["end_s"]), float(row["duration_s"])
                    kind = KINDS.get(row["event"], "other")
                    out.append(Event(end_s - duration_s, duration_s, kind, row["event"], "Flow", "device"))
    except (OSError, KeyError, ValueError, csv.Error) as error:
        raise UserError(f"{table} cannot be read: {error}; copy it again") from error
    return tuple(sorted(out, key=lambda event: event.onset_s))


def _forget(track: Track, begin: int, end: int) -> None:
    """Make the zeros of a stretch UNKNOWN; what is positive stays."""
    stretch = track.values[begin:end]
    stretch[stretch == 0] = UNKNOWN
