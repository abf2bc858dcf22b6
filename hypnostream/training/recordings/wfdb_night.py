"""WFDB records with their signals (PhysioNet): NAME.hea and its .dat, with beats and labels beside them.

Beats are of the first of NAME.ecg, .qrs, .atr that is there; NAME.st are stages and breathing every 30 s, in the words
of the MIT-BIH Polysomnographic Database.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.beats import beats_of
from hypnostream.training.recordings.edf_night import channel_kinds
from hypnostream.training.recordings.epoch_grid import Stretch, on_epoch_grid
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.labels import repeated
from hypnostream.training.recordings.recording import Block, Channel, Recording
from hypnostream.training.recordings.sets.slpdb_words import read_words
from hypnostream.training.recordings.subjects import person, slpdb_person
from hypnostream.training.recordings.wfdb import (
    BEATS,
    frames_there,
    read_wfdb_annotations,
    read_wfdb_header,
    read_wfdb_signals,
)
from hypnostream.training.recordings.wfdb_header import WfdbHeader

_BEATS = (".ecg", ".qrs", ".atr")
_LONGEST_S = 7 * 86400.0
_VERSION = "wfdb 1"


def found(data: Path, claimed: Collection[Path] = ()) -> list[Job]:
    """A job a record of which no header is in `claimed`."""
    jobs = []
    for path in sorted(data.rglob("*.hea")):
        if path.resolve() not in claimed:
            others = sorted(p for p in path.parent.glob(f"{path.stem}.*") if p.suffix in (".dat", ".st", *_BEATS))
            jobs.append(Job(path.stem, partial(read, path), (path, *others), _VERSION))
    return jobs


def read(path: Path) -> Recording:
    """One record, as long as its signal files are. Raises UserError when it has none, or one cannot be read."""
    header = read_wfdb_header(path)
    frames = frames_there(header)
    if not frames:
        raise UserError(f"{path.name} has no signals beside it; bring its .dat files")
    if frames / header.rate_hz > _LONGEST_S:
        raise UserError(f"{path.name} lasts {frames / header.rate_hz / 86400:.1f} days; split it into nights")
    epochs = -(-frames // round(header.rate_hz * EPOCH_S))
    notes = []
    if header.frames and header.frames != frames:
        notes.append(f"{frames} frames are there, the header promises {header.frames}")
    stages, tracks = None, {}
    if path.with_suffix(".st").is_file():
        labels = read_wfdb_annotations(path.with_suffix(".st"), header.rate_hz)
        which = [round(label.time_s / EPOCH_S) for label in labels]
        stages, values, odd = read_words([label.aux for label in labels], which, epochs)
        tracks = {name: repeated(each, EPOCH_S, epochs * EPOCH_S) for name, each in values.items()}
        notes += odd
        if len(set(which)) != epochs:
            notes.append(f"{len(set(which))} epochs have a label, the signals {epochs}")
    beat_file = next((p for end in _BEATS if (p := path.with_suffix(end)).is_file()), None)
    beats = read_wfdb_annotations(beat_file, header.rate_hz) if beat_file else []
    times = np.array([beat.time_s for beat in beats if beat.symbol in BEATS])
    labels_of_signals = [signal.label for signal in header.signals]
    return Recording(
        name=path.stem,
        subject=slpdb_person(path.stem) if path.stem.startswith("slp") else person(path.parent.name, path.stem),
        set_name=path.parent.name,
        licence="",
        sources=(),
        epochs=epochs,
        start_utc=header.start.isoformat() if header.start else "",
        scoring="R&K" if stages is not None else "",
        channels=tuple(
            Channel(signal.label, kind, signal.unit, header.rate_hz * signal.frame_samples)
            for signal, kind in zip(header.signals, channel_kinds(labels_of_signals), strict=True)
        ),
        blocks=partial(_blocks, header, epochs),
        stages=stages,
        tracks=tracks,
        points=(beats_of(times, epochs * EPOCH_S),) if beat_file else (),
        notes=tuple(notes),
    )


def _blocks(header: WfdbHeader, epochs: int) -> Iterator[Block]:
    streams = [(header.rate_hz * signal.frame_samples, 1) for signal in header.signals]
    yield from on_epoch_grid(streams, _stretches(header), epochs)


def _stretches(header: WfdbHeader) -> Iterator[Stretch]:
    together = max(round(header.rate_hz * EPOCH_S), 1)
    for first in range(0, frames_there(header), together):
        for stream, samples in enumerate(read_wfdb_signals(header, first, together)):
            rate_hz = header.rate_hz * header.signals[stream].frame_samples
            number = first * header.signals[stream].frame_samples + np.arange(len(samples))
            yield Stretch(stream, samples[:, None], number / rate_hz)
