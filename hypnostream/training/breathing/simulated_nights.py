"""Simulated nights as recordings: all sensors of breathing at once, and the truth of each second. Nobody is in it."""

from collections.abc import Iterator
from functools import partial
from math import ceil

import numpy as np

from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.labels import tracks_of
from hypnostream.training.recordings.recording import Block, Channel, Event, Recording, Source

SET_NAME = "simulated"
RATE_HZ = 200  # of EEG and ECG: as conditioning wants the ECG
LEAST = 3.0  # percent of saturation, or seconds of arousal: with less of both a hypopnea is none by rule
_KINDS = {
    "obstructive apnea": "apnea_obstructive",
    "central apnea": "apnea_central",
    "mixed apnea": "apnea_mixed",
    "hypopnea": "hypopnea",
}


def simulated_recording(seed: int, hours: float, events_per_hour: float) -> Recording:
    """A night of a simulated sleeper with physiology: EEG, ECG, nasal pressure, thermistor, belts, oximeter."""
    settings = NightSettings(
        duration_s=hours * 3600, events_per_hour=events_per_hour, breathing=BreathingSettings(), rate_hz=RATE_HZ
    )
    night = simulate_night(settings, seed)
    epochs = len(night.stages)
    events = tuple(
        Event(event.start_s, event.duration_s, _KINDS[event.kind], event.kind, by="simulated")
        for event in night.events
        if event.kind != "hypopnea" or max(event.fall or 0, event.arousal_s or 0) >= LEAST
    )
    kinds = {"eeg": "eeg", "ecg": "ecg", "resp": "flow", "spo2": "spo2"}
    name = f"simulated-{seed}"
    return Recording(
        name=name,
        subject=f"simulated:{seed}",
        set_name=SET_NAME,
        licence="none: nobody's",
        sources=(Source(name, f"{seed:08x}{round(hours * 100):08x}{round(events_per_hour * 100):08x}".ljust(64, "0")),),
        epochs=epochs,
        channels=tuple(
            Channel(channel.label, kinds[stream.stream_id], channel.unit, stream.rate_hz)
            for stream in night.streams
            for channel in stream.channels
        ),
        blocks=partial(_blocks, settings, seed),
        stages=night.stages,
        events=events,
        tracks=tracks_of(events, epochs, ("apnea", "hypopnea", "apnea_or_hypopnea")),
    )


def _blocks(settings: NightSettings, seed: int) -> Iterator[Block]:
    source = SimulatedSource(simulate_night(settings, seed), chunk_s=float(EPOCH_S))
    there = np.ones(EPOCH_S, np.bool_)
    for _ in range(ceil((source.duration_s or 0) / EPOCH_S)):
        chunks = {chunk.stream_id: chunk.samples for chunk in source.read(0.0)}
        columns = [chunks[stream.stream_id][:, i] for stream in source.streams for i in range(len(stream.channels))]
        yield Block(tuple(column.astype(np.float32) for column in columns), (there,) * len(columns))
