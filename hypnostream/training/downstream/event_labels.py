"""What a recording's scorers said of breathing, as a label an epoch for each task."""

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.downstream.event_night import RULE, TASKS
from hypnostream.training.recordings.labels import EPOCH_RULES, TRACK_KINDS, epoch_labels
from hypnostream.training.recordings.recording import UNKNOWN, Recording, Track

MINUTE_S = 60
_TRACKS = {"event": "apnea_or_hypopnea", "apnea": "apnea", "hypopnea": "hypopnea"}
_BY_MINUTE = ("apnea_or_hypopnea_60s", "apnea_or_hypopnea")  # where a set that was scored by the minute says so

Labels = dict[str, NDArray[np.int8]]


def labels_of(recording: Recording) -> tuple[Labels, dict[tuple[str, str], NDArray[np.int8]]]:
    """(labels of all TASKS, labels by rule and task): see `EventNight`.

    A track that was scored every 30 s is taken as it is, one by the minute answers "event_minute" alone; events with
    exact times become labels by each rule, and those of RULE are the ones that are learned.
    """
    nobody = np.full(recording.epochs, UNKNOWN, np.int8)
    labels: Labels = dict.fromkeys(TASKS, nobody)
    by_rule = {}
    for task, name in _TRACKS.items():
        track = recording.tracks.get(name)
        if track is None:
            continue
        if track.resolution_s == 1:
            known = track.values != UNKNOWN
            for rule in EPOCH_RULES:
                by_rule[rule, task] = epoch_labels(recording.events, TRACK_KINDS[name], recording.epochs, rule, known)
            labels[task] = by_rule[RULE, task]
        elif track.resolution_s == EPOCH_S:
            labels[task] = track.values[::EPOCH_S].astype(np.int8)
    for name in _BY_MINUTE:
        track = recording.tracks.get(name)
        if track is not None and track.resolution_s == MINUTE_S:
            labels["event_minute"] = by_minute(track, recording.epochs)
            break
    return labels, by_rule


def by_minute(track: Track, epochs: int) -> NDArray[np.int8]:
    """A minute's label where the minute ends: at epochs 1, 3, ...; nobody is asked at the others."""
    out = np.full(epochs, UNKNOWN, np.int8)
    out[1::2] = track.values[EPOCH_S::MINUTE_S][: epochs // 2]
    return out
