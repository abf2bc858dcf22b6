"""Conditioned seconds of simulated nights, sensors taken away at will, and what a session says of them."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.revisions import latest
from hypnostream.engine.respiration.session import RespirationSession
from hypnostream.stream.channels import MISSING
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.montage import resolve
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.simulator import Night, SimulatedSource

NAMES = tuple(spec.name for spec in RESPIRATION_CHANNELS)
KIND_OF = {
    "obstructive apnea": "obstructive_apnea",
    "central apnea": "central_apnea",
    "mixed apnea": "mixed_apnea",
    "hypopnea": "hypopnea",
}


def conditioned(night: Night) -> Seconds:
    """All seconds of the channels of breathing, but the ECG, as a bed conditions them."""
    source = SimulatedSource(night, 600.0)
    montage = resolve(source.streams, RESPIRATION_CHANNELS)
    conditioners = {}
    for info in source.streams:
        own = [d for d in montage.derivations if d.stream_id == info.stream_id and d.spec.name != "ecg"]
        if own:
            indices = [NAMES.index(d.spec.name) for d in own]
            conditioners[info.stream_id] = StreamConditioner(info, own, indices, 0.0)
    count = int(night.duration_s)
    samples = [np.zeros((count, spec.rate_hz), np.float32) for spec in RESPIRATION_CHANNELS]
    quality = np.full((len(NAMES), count), MISSING, np.uint8)
    blocks: list[Seconds] = []
    while not source.exhausted:
        for chunk in source.read(0.0):
            if chunk.stream_id in conditioners:
                blocks += conditioners[chunk.stream_id].push(chunk)
    blocks += [block for conditioner in conditioners.values() for block in conditioner.flush(count)]
    for block in blocks:
        at = slice(block.start, block.start + block.count)
        for row, channel in enumerate(block.channels):
            samples[channel][at] = block.samples[row]
            quality[channel, at] = block.quality[row]
    return Seconds(0, tuple(range(len(NAMES))), tuple(samples), quality)


def without(seconds: Seconds, lost: Collection[str], start: int = 0, stop: int | None = None) -> Seconds:
    """The same with sensors missing, throughout or in a time."""
    samples = [each.copy() for each in seconds.samples]
    quality: NDArray[np.uint8] = seconds.quality.copy()
    for name in lost:
        samples[NAMES.index(name)][start:stop] = 0.0
        quality[NAMES.index(name), start:stop] = MISSING
    return Seconds(seconds.start, seconds.channels, tuple(samples), quality)


def said(seconds: Seconds, step: int = 3600) -> list[Event]:
    """Every revision that a session says of them."""
    session = RespirationSession(RESPIRATION_CHANNELS)
    events = [
        event
        for first in range(0, seconds.count, step)
        for event in session.advance(seconds.part(first, min(first + step, seconds.count)))
    ]
    return events + session.finish()


def holding(events: list[Event], *kinds: str) -> list[Event]:
    """What holds in the end of such kinds: the latest revisions, without those withdrawn."""
    return [event for event in latest(events) if event.status != "withdrawn" and event.kind in kinds]
