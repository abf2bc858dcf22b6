"""The waveforms that stand out of a simulated night's background: K-complexes, eye movements, blinks, spindles.

Rates, lengths and sizes are textbook ones (AASM manual 2.6; Rechtschaffen and Kales 1968), not measured on data here.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Transient:
    """One kind of waveform: how often in W, N1, N2, N3, R, how large, and how much of it each channel sees."""

    per_minute: tuple[float, float, float, float, float]
    median_uv: float
    gains: tuple[float, float, float]  # frontal, posterior, eog
    length_s: float
    either_way: bool  # eyes move left and right; K-complexes are always negative first


K_COMPLEX: Final = Transient((0, 0, 1.2, 0, 0), 80.0, (1.0, 0.45, 0.35), 1.6, either_way=False)
SACCADE: Final = Transient((4, 0.3, 0, 0, 7), 55.0, (0.15, 0.04, 1.0), 3.0, either_way=True)
SLOW_EYE_MOVEMENT: Final = Transient((0.3, 2.5, 0, 0, 0), 45.0, (0.08, 0.02, 1.0), 5.0, either_way=True)
BLINK: Final = Transient((6, 0.5, 0, 0, 0.3), 60.0, (1.0, 0.1, 0.4), 0.8, either_way=False)
TRANSIENTS: Final = (K_COMPLEX, SACCADE, SLOW_EYE_MOVEMENT, BLINK)

_SPINDLES_PER_MINUTE: Final = (0.0, 0.0, 5.0, 2.0, 0.0)
_SPINDLE_GAIN: Final = 2.5  # over the sigma activity between spindles
_WAXING: Final = (0.55, 0.35, 0.25, 0.25, 0.25)  # depth of the alpha rhythm's waxing and waning, by stage
_GROUPING: Final = (0.1, 0.1, 0.3, 0.25, 0.1)  # depth of the grouping of slow waves


def waveform(kind: Transient, rate_hz: int) -> NDArray[np.float64]:
    """The transient's shape with a largest deflection of about 1."""
    t = np.arange(round(kind.length_s * rate_hz)) / rate_hz
    if kind is K_COMPLEX:
        return -_bump(t, 0.4, 0.1) + 0.6 * _bump(t, 0.85, 0.2)
    if kind is SACCADE:  # a step that the amplifier's high-pass lets go
        return np.asarray((1 - np.exp(-t / 0.02)) * np.exp(-t / 0.7) * np.cos(np.pi * t / (2 * kind.length_s)))
    if kind is SLOW_EYE_MOVEMENT:
        return np.asarray(np.sin(2 * np.pi * 0.35 * t) * np.sin(np.pi * t / kind.length_s) ** 2)
    return _bump(t, 0.2, 0.06) - 0.2 * _bump(t, 0.45, 0.1)


def add_transients(signals: NDArray[np.float32], stage: int, rate_hz: int, rng: np.random.Generator) -> None:
    """Adds a block's transients to `signals` (3, n) in place, in microvolts before the sleeper's gain."""
    block_s = signals.shape[1] / rate_hz
    for kind in TRANSIENTS:
        count = int(rng.poisson(kind.per_minute[stage] * block_s / 60))
        if not count:
            continue
        shape = waveform(kind, rate_hz)
        last = signals.shape[1] - len(shape)
        # Rapid eye movements come in clusters; the cube of a uniform draw around one moment makes one.
        moment = rng.uniform(0, last)
        starts = (moment + (rng.uniform(-1, 1, count) ** 3) * last).astype(int) % last
        sizes = kind.median_uv * np.exp(0.35 * rng.standard_normal(count))
        if kind.either_way:
            sizes *= rng.choice((-1.0, 1.0), count)
        for start, size in zip(starts, sizes, strict=True):
            signals[:, start : start + len(shape)] += np.outer(kind.gains, size * shape).astype(np.float32)


def envelopes(
    stage: int, samples: int, rate_hz: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """How slow waves, alpha and sigma rise and fall within a block, each (samples,) with unit power.

    Unit power is of a four-second window between the mean and the median one: the tables' Welch estimate takes the
    median at each frequency, and so sees half of what bursts stand out by.
    """
    t = np.arange(samples) / rate_hz
    phases = rng.uniform(0, 2 * np.pi, 2)
    slow = 1 + _GROUPING[stage] * np.sin(2 * np.pi * 0.12 * t + phases[0])
    alpha = 1 + _WAXING[stage] * np.sin(2 * np.pi * 0.25 * t + phases[1])
    sigma = np.ones(samples)
    for _ in range(rng.poisson(_SPINDLES_PER_MINUTE[stage] * t[-1] / 60)):
        length = int(rng.uniform(0.6, 1.5) * rate_hz)
        start = int(rng.integers(0, samples - length))
        sigma[start : start + length] += _SPINDLE_GAIN * np.hanning(length)
    return _unit_power(slow, rate_hz), _unit_power(alpha, rate_hz), _unit_power(sigma, rate_hz)


def _unit_power(envelope: NDArray[np.float64], rate_hz: int) -> NDArray[np.float32]:
    power = (envelope**2).reshape(-1, 2 * rate_hz).mean(axis=1)
    power = (power[1:] + power[:-1]) / 2
    return np.asarray(envelope / np.sqrt((np.median(power) + power.mean()) / 2), dtype=np.float32)


def _bump(t: NDArray[np.float64], centre_s: float, width_s: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * ((t - centre_s) / width_s) ** 2))
