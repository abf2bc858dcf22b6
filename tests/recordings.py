"""Short simulated nights as the tests of several rooms need them: in memory, cut into chunks, and as EDF files."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_faults import Fault
from hypnostream.stream.source import Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S

RATE_HZ = 128
STAGES = (0, 0, 1, 2, 2, 3, 3, 2, 4, 4)  # the hypnogram that all of these nights repeat


Recording = tuple[tuple[StreamInfo, ...], tuple[Chunk, ...]]


@lru_cache(maxsize=8)
def night(epochs: int, faults: tuple[Fault, ...] = (), seed: int = 5) -> Recording:
    """The streams of a simulated night and all that they send, one chunk a stream."""
    stages = [STAGES[epoch % len(STAGES)] for epoch in range(epochs)]
    settings = NightSettings(stages=stages, faults=faults, rate_hz=RATE_HZ)
    source = SimulatedSource(simulate_night(settings, seed), chunk_s=float(epochs * EPOCH_S))
    return source.streams, tuple(source.read(0.0))


def between(chunk: Chunk, from_s: float, until_s: float) -> list[Chunk]:
    """The part of a chunk in [from_s, until_s); [] when nothing is in it."""
    rows = slice(*np.searchsorted(chunk.timestamps, [from_s, until_s]))
    if rows.start == rows.stop:
        return []
    return [Chunk(chunk.stream_id, chunk.samples[rows], chunk.timestamps[rows])]


def simulated_signals(epochs: int, seed: int = 5) -> list[EdfSignal]:
    """Mixed rates: EEG at 128 Hz, EOG at 64, airflow at 32, SpO2 at 1; clean throughout."""
    streams, chunks = night(epochs, seed=seed)
    signals: list[EdfSignal] = []
    for info, chunk in zip(streams, chunks, strict=True):
        for column, channel in enumerate(info.channels):
            samples, rate_hz = np.nan_to_num(chunk.samples[:, column].astype(np.float64)), info.rate_hz
            if channel.label.startswith("EOG"):
                samples, rate_hz = samples.reshape(-1, 2).mean(axis=1), rate_hz / 2
            limits = channel.minimum, channel.maximum
            signals.append(EdfSignal(channel.label, samples, rate_hz, channel.unit, *limits))
    return signals


def write_night(
    path: Path, epochs: int, gaps_s: Sequence[tuple[int, int]] = (), labels: Sequence[str] = (), seed: int = 5
) -> Path:
    """An EDF of a simulated night in 1 s records; EDF+D without the records in `gaps_s`; of `labels` only, if any."""
    kept = np.ones(epochs * EPOCH_S, bool)
    for start, stop in gaps_s:
        kept[start:stop] = False
    signals = [
        EdfSignal(signal.label, _records(signal, kept), signal.rate_hz, signal.unit, signal.minimum, signal.maximum)
        for signal in simulated_signals(epochs, seed)
        if not labels or signal.label in labels
    ]
    write_edf(path, signals, record_onsets_s=np.flatnonzero(kept).astype(np.float64) if gaps_s else None)
    return path


def _records(signal: EdfSignal, kept: NDArray[np.bool_]) -> NDArray[np.floating]:
    return signal.samples.reshape(len(kept), -1)[kept].reshape(-1)
