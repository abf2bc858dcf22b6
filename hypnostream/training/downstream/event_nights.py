"""Stored recordings to nights for the tasks downstream: beats, saturation and EEG as tokens, whatever there is."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.models.respiration_tokens import heart_tokens, oxygen_tokens
from hypnostream.models.token_features import LEVEL, SHAPE
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.downstream.event_labels import labels_of
from hypnostream.training.downstream.event_night import SLOTS, EventNight, seen_only, write_event_night
from hypnostream.training.nights.scored_breathing import Progress, make_nights
from hypnostream.training.nights.token_night import TokenNight, read_token_night
from hypnostream.training.nights.tokens import tokens_of_signals
from hypnostream.training.recordings.recording import Recording

EEG, HEART, OXYGEN = range(len(SLOTS))


def event_night(recording: Recording) -> EventNight | None:
    """A recording as the detector sees it; None when it has none of the sensors, or nobody scored breathing.

    An epoch without any sensor has no label. SpO2 counts when it is in percent.
    """
    labels, by_rule = labels_of(recording)
    if not any((values >= 0).any() for values in labels.values()):
        return None
    count = recording.epochs
    shape, level = np.zeros((count, 3, SHAPE), np.float32), np.zeros((count, 3, LEVEL), np.float32)
    mask = np.zeros((count, 3), np.float32)
    beats = next((points for points in recording.points if points.kind == "beat"), None)
    percent = _percent(recording)
    for slot, found in (
        (HEART, None if beats is None else heart_tokens(beats.time_s, beats.value, count)),
        (OXYGEN, None if percent is None else oxygen_tokens(percent, count)),
    ):
        if found is not None:
            shape[:, slot], level[:, slot], mask[:, slot] = found.shape, found.level, found.there
    eeg = tokens_of_signals(recording) if any(channel.kind == "eeg" for channel in recording.channels) else None
    if eeg is not None:
        there = eeg[2][:, 0].numpy()
        mask[:, EEG] = there
        shape[:, EEG], level[:, EEG] = (part[:, 0].numpy() * there[:, None] for part in eeg[:2])
    seen = mask.any(axis=1)
    if not seen.any():
        return None
    tokens = TokenNight(
        recording.name,
        recording.subject,
        recording.set_name,
        recording.licence,
        recording.source_sha256,
        shape,
        level,
        mask,
        np.where(seen, -1 if recording.stages is None else recording.stages, -1).astype(np.int8),
    )
    return EventNight(tokens, seen_only(labels, mask), seen_only(by_rule, mask))


def make_event_nights(store: Path, out: Path, progress: Progress = lambda *_: None) -> list[str]:
    """Write the night of each stored recording that is one, where it is not there yet; returns their names.

    One that is there was made of sources of the same hashes. Raises UserError when there is no recording, or one
    cannot be read.
    """
    return make_nights(
        store,
        lambda name: out / f"{name}.parquet",
        lambda path: read_token_night(path).source_sha256,
        event_night,
        lambda night: write_event_night(out, night),
        progress,
    )


def _percent(recording: Recording) -> NDArray[np.float64] | None:
    """The saturation once a second, NaN where there is none; None without such a channel."""
    for index, channel in enumerate(recording.channels):
        if channel.kind == "spo2" and channel.unit == "%":
            parts = []
            for block in recording.blocks():
                each = block.samples[index].astype(np.float64)
                places = (np.arange(EPOCH_S) + 0.99) * channel.rate_hz  # the last sample that a second has
                values = each[np.minimum(places.astype(np.int64), len(each) - 1)]
                parts.append(np.where(block.valid[index], values, np.nan))
            return np.concatenate(parts) if parts else None
    return None
