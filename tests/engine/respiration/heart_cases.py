"""An ECG of known beats, at 200 Hz in µV, as the conditioner would give it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.filters import butterworth_sections
from hypnostream.stream.sosfilt import sosfilt_in_place

RATE_HZ = 200
Times = Sequence[float] | NDArray[np.float64]
# P, Q, R, S and T: centre and width in seconds from the R peak, height in µV; and an ectopic beat, wide and without P.
_BEAT = ((-0.17, 0.025, 120), (-0.03, 0.010, -120), (0.0, 0.011, 1100), (0.03, 0.011, -250), (0.28, 0.050, 280))
_ECTOPIC = ((0.0, 0.035, 1500), (0.2, 0.070, -700))


def ecg(beats_s: Times, seconds: int, noise_uv: float = 10.0, ectopic_s: Times = ()) -> NDArray[np.float64]:
    """(seconds * 200,) µV, before any filter."""
    signal = noise_uv * np.random.default_rng(0).standard_normal(seconds * RATE_HZ)
    t = np.arange(len(signal)) / RATE_HZ
    for times, waves in ((beats_s, _BEAT), (ectopic_s, _ECTOPIC)):
        for time in times:
            near = slice(max(int((time - 0.5) * RATE_HZ), 0), max(int((time + 0.7) * RATE_HZ), 0))
            for at, width, height in waves:
                signal[near] += height * np.exp(-0.5 * ((t[near] - time - at) / width) ** 2)
    return signal


def conditioned(signal: NDArray[np.float64]) -> NDArray[np.float32]:
    """Whole seconds (seconds, 200) with the highpass that RESPIRATION_CHANNELS asks for."""
    sections = butterworth_sections(RATE_HZ, 0.5, None)
    filtered = np.ascontiguousarray(signal[None])
    sosfilt_in_place(sections, filtered, np.zeros((1, len(sections), 2)))
    return filtered.reshape(-1, RATE_HZ).astype(np.float32)


def heart(seconds: float, interval_s: float = 0.92, wander: float = 0.05, seed: int = 0) -> NDArray[np.float64]:
    """Beats of a heart with some variability."""
    count = int(2 * seconds / interval_s)
    times = np.cumsum(interval_s * (1 + wander * np.random.default_rng(seed).uniform(-1, 1, count)))
    return times[times < seconds - 1]


def matched(
    reference_s: NDArray[np.float64], found_s: NDArray[np.float64], within_s: float = 0.1
) -> tuple[float, float, NDArray[np.float64]]:
    """Sensitivity, positive predictivity, and how late each matched beat is; each beat matches once."""
    late: list[float] = []
    i = j = 0
    while i < len(reference_s) and j < len(found_s):
        difference = float(found_s[j] - reference_s[i])
        if abs(difference) <= within_s:
            late.append(difference)
        i, j = i + (difference >= -within_s), j + (difference <= within_s)
    return len(late) / max(len(reference_s), 1), len(late) / max(len(found_s), 1), np.array(late)
