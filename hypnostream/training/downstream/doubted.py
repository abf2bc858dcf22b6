"""Nights whose labels do not fit their signals: nobody learns from them, and a table says what they would change.

To leave nights out for what their labels say flatters the figures, so the figures with them stand beside. Each such
person is tested in one fold, as all others are; a detector that was trained without them need not be trained again.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypnostream.training.downstream.event_night import EventNight, read_event_nights, write_event_night
from hypnostream.training.downstream.event_nights import event_night
from hypnostream.training.recordings.recording import DOUBTED, Recording
from hypnostream.training.recordings.recording_file import read_recording_file
from hypnostream.training.recordings.store import read_recording, recordings_in


def make_doubted_nights(store: Path, out: Path) -> list[str]:
    """Write the nights of a store that have doubted labels, with these; returns their names."""
    names = []
    for folder in recordings_in(store):
        if any(name.startswith(DOUBTED) for name in read_recording_file(folder).tracks):
            night = event_night(as_labelled(read_recording(folder)))
            if night is not None:
                write_event_night(out, night)
                names.append(night.name)
    return names


def as_labelled(recording: Recording) -> Recording:
    """The recording with its doubted labels as if they were not."""
    tracks = {name.removeprefix(DOUBTED): track for name, track in recording.tracks.items() if name.startswith(DOUBTED)}
    return replace(recording, tracks=recording.tracks | tracks)


def doubted_nights(folder: Path) -> list[EventNight]:
    """Those of a folder; none without it."""
    return read_event_nights(folder) if folder.is_dir() else []


def with_doubted(test: Sequence[EventNight], doubted: Sequence[EventNight], fold: int, folds: int) -> list[EventNight]:
    """The tested nights of sets that have doubted ones, with those that this fold tests, as sets of their own."""
    people = sorted({night.subject for night in doubted})
    mine = [night for night in doubted if people.index(night.subject) % folds == fold]
    sets = {night.set_name for night in doubted}
    return [_renamed(night) for night in (*test, *mine) if night.set_name in sets]


def _renamed(night: EventNight) -> EventNight:
    tokens = replace(night.tokens, set_name=f"{night.set_name} with labels that do not fit")
    return EventNight(tokens, night.labels, night.by_rule)
