"""Simulated nights as recordings: every sensor at once, and the truth of each second. Nobody is in them."""

import hashlib
from collections.abc import Iterator
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.edf_night import channel_kinds
from hypnostream.training.recordings.labels import tracks_of
from hypnostream.training.recordings.recording import Block, Channel, Event, Recording, Source
from hypnostream.training.recordings.store import write_recording
from hypnostream.training.running.progress import Progress

SET_NAME = "simulated"
LEAST = 3.0  # percent of saturation, or seconds of arousal: with less of both a hypopnea is none by rule
_KINDS = {
    "obstructive apnea": "apnea_obstructive",
    "central apnea": "apnea_central",
    "mixed apnea": "apnea_mixed",
    "hypopnea": "hypopnea",
}


def simulated_recording(settings: NightSettings, seed: int) -> Recording:
    """The night of one simulated sleeper, `seed`, scored throughout. With physiology (`settings.breathing`) only those
    hypopneas are scored that cost oxygen or sleep.
    """
    night = simulate_night(settings, seed)
    epochs = len(night.stages)
    events = tuple(
        Event(event.start_s, event.duration_s, _KINDS[event.kind], event.kind, by="simulated")
        for event in night.events
        if event.kind != "hypopnea" or settings.breathing is None or max(event.fall or 0, event.arousal_s or 0) >= LEAST
    )
    name = f"simulated-{seed}"
    channels = [(channel, stream.rate_hz) for stream in night.streams for channel in stream.channels]
    kinds = channel_kinds([channel.label for channel, _ in channels])
    return Recording(
        name=name,
        subject=f"simulated:{seed}",
        set_name=SET_NAME,
        licence="none: nobody's",
        sources=(Source(name, hashlib.sha256(repr((settings, seed)).encode()).hexdigest()),),
        epochs=epochs,
        channels=tuple(
            Channel(channel.label, kind, channel.unit, rate_hz)
            for (channel, rate_hz), kind in zip(channels, kinds, strict=True)
        ),
        blocks=partial(_blocks, settings, seed),
        stages=night.stages,
        events=events,
        tracks=tracks_of(events, epochs, ("apnea", "hypopnea", "apnea_or_hypopnea")),
        scoring="AASM",
    )


def simulate(out: Path, settings: NightSettings, nights: int, first_seed: int, progress: Progress) -> list[Path]:
    """Write the nights of `nights` sleepers into the store `out`, one after the other; their folders."""
    written = []
    for place, seed in enumerate(range(first_seed, first_seed + nights), 1):
        written.append(write_recording(out, simulated_recording(settings, seed), reader="simulated 1"))
        progress(place, nights, written[-1].name)
    return written


def _blocks(settings: NightSettings, seed: int) -> Iterator[Block]:
    source = SimulatedSource(simulate_night(settings, seed), chunk_s=float(EPOCH_S))
    there = np.ones(EPOCH_S, np.bool_)
    for _ in range(ceil((source.duration_s or 0) / EPOCH_S)):
        chunks = {chunk.stream_id: chunk.samples for chunk in source.read(0.0)}
        columns = [chunks[stream.stream_id][:, i] for stream in source.streams for i in range(len(stream.channels))]
        yield Block(tuple(column.astype(np.float32) for column in columns), (there,) * len(columns))
