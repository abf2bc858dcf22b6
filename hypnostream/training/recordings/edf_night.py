"""An EDF file and what it was scored in, as a recording: NSRR's, Sleep-EDF's and any laboratory's nights are this."""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.references import read_reference
from hypnostream.bridges.stage_names import named_stage
from hypnostream.errors import UserError
from hypnostream.stream.labels import read_labels
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.epoch_grid import Stretch, on_epoch_grid
from hypnostream.training.recordings.labels import RESPIRATORY, TRACK_KINDS, tracks_of
from hypnostream.training.recordings.recording import UNKNOWN, Block, Channel, Event, Recording, Track
from hypnostream.training.recordings.scored_events import events_of, read_events

LONGEST_S = 7 * 86400.0
_KINDS = ("eeg", "eog", "emg", "ecg", "flow", "effort", "spo2")


def read_edf_night(
    path: Path,
    *,
    stages: Path | None = None,
    events: Path | None = None,
    subject: str,
    set_name: str,
    licence: str,
    scoring: str = "",
) -> Recording:
    """The night in an EDF, EDF+C or EDF+D file, named after it; gaps are seconds that are not valid.

    `stages` is the file of its hypnogram (NSRR XML, EDF+ or CSV), `events` that of its events, which may be the same.
    Without them, what the EDF itself is annotated with counts. Events that have a file are painted as tracks too: it
    says that somebody looked for them. Raises UserError when one of the files cannot be read.
    """
    source = EdfSource(path)
    source.close()
    if source.duration_s > LONGEST_S:
        raise UserError(f"{path.name} lasts {source.duration_s / 86400:.1f} days; split it into nights")
    epochs = math.ceil(source.duration_s / EPOCH_S - 1e-6)
    notes = [*source.warnings]
    scored: NDArray[np.int8] | None = None
    if stages is None and any(named_stage(each.text) is not None for each in source.annotations):
        stages = path
    if stages is not None:
        reference = read_reference(stages, epochs, recording_start_utc=source.start_utc)
        scored = reference.stages
        notes += reference.notes
    found: tuple[Event, ...] = tuple(events_of(source.annotations))
    if events is not None:
        found, odd = read_events(events, source.start_utc)
        notes += odd
    notes += _length_notes(found, source.duration_s)
    return Recording(
        name=path.stem,
        subject=subject,
        set_name=set_name,
        licence=licence,
        sources=(),
        epochs=epochs,
        start_utc=source.start_utc.isoformat() if source.start_utc else "",
        scoring=scoring if scored is not None else "",
        channels=channels_of(source),
        blocks=partial(_blocks, path, epochs),
        stages=scored,
        events=found,
        tracks=event_tracks(found, epochs, scored) if events is not None else {},
        notes=tuple(notes),
    )


def channels_of(source: EdfSource) -> tuple[Channel, ...]:
    """The channels in the order of their blocks: by rate as the file first has it, then as the file has them."""
    infos = [(stream.rate_hz, info) for stream in source.streams for info in stream.channels]
    kinds = channel_kinds([info.label for _, info in infos])
    return tuple(
        Channel(info.label, kind, info.unit, rate_hz) for (rate_hz, info), kind in zip(infos, kinds, strict=True)
    )


def channel_kinds(labels: list[str]) -> list[str]:
    """What each label of one recording is a signal of: a ChannelSpec's kind, or "other"."""
    return [reading.kind if reading.kind in _KINDS else "other" for reading in read_labels(labels)]


def event_tracks(events: tuple[Event, ...], epochs: int, stages: NDArray[np.int8] | None) -> dict[str, Track]:
    """Who scored events looked for breathing; for desaturations and arousals only where one is there.

    Where there are stages, an epoch without one was looked at by nobody.
    """
    kinds = {event.kind for event in events}
    names = [name for name in TRACK_KINDS if name in RESPIRATORY or name in kinds]
    known = None if stages is None else np.repeat(stages != UNKNOWN, EPOCH_S)
    return tracks_of(events, epochs, names, known)


def _length_notes(events: tuple[Event, ...], duration_s: float) -> list[str]:
    """Where the scoring does not have the recording's length. NSRR says what length it was scored at."""
    notes = []
    for event in events:
        if event.label.startswith("Recording Start Time") and abs(event.duration_s - duration_s) >= 1:
            notes.append(f"the scoring is of {event.duration_s:g} s, the recording has {duration_s:g} s")
    late = sum(event.onset_s >= duration_s for event in events)
    if late:
        notes.append(f"{late} of {len(events)} events begin after the recording's end, {duration_s:g} s")
    return notes


def _blocks(path: Path, epochs: int) -> Iterator[Block]:
    source = EdfSource(path, chunk_s=float(EPOCH_S))
    try:
        streams = [(stream.rate_hz, len(stream.channels)) for stream in source.streams]
        yield from on_epoch_grid(streams, _stretches(source), epochs)
    finally:
        source.close()


def _stretches(source: EdfSource) -> Iterator[Stretch]:
    place = {stream.stream_id: index for index, stream in enumerate(source.streams)}
    while not source.exhausted:
        for chunk in source.read(0.0):
            yield Stretch(place[chunk.stream_id], chunk.samples, chunk.timestamps)
