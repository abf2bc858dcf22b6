"""One bed from raw samples: what a second costs on its whole way through ring, conditioner, grid and session."""

import time

import numpy as np

from hypnostream.bridges.bench import WARM_UP_EPOCHS, StepTimes
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.session import Session
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S

RATE_HZ = 256
LABELS = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG chin", "ECG", "EMG tibialis")


def time_raw_seconds(epochs: int) -> StepTimes:
    """Push `epochs` epochs of noise, a second at a time, and time each second that gave a stage."""
    bundle = load_bundle()
    info = StreamInfo("raw", float(RATE_HZ), tuple(ChannelInfo(label, "uV", -500.0, 500.0) for label in LABELS))
    montage = resolve([info], bundle.channels)
    bed = Bed([info], montage, Session(bundle, OnnxBackend(bundle)))
    rng = np.random.default_rng(0)
    final_s: list[float] = []
    provisional_s: list[float] = []
    for second in range((epochs + WARM_UP_EPOCHS) * EPOCH_S):
        noise = 20 * rng.standard_normal((RATE_HZ, len(LABELS))).astype(np.float32)
        chunk = Chunk("raw", noise, second + np.arange(RATE_HZ) / RATE_HZ)
        started = time.perf_counter()
        bed.push([chunk])
        results = bed.advance(second + 1.0)
        took_s = time.perf_counter() - started
        if second >= WARM_UP_EPOCHS * EPOCH_S and len(results) == 1:
            (final_s if results[0].final else provisional_s).append(took_s)
    return StepTimes(np.array(final_s), np.array(provisional_s))
