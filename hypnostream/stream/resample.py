"""Resampling onto the grid: each whole second is one matrix product, so its bits do not depend on the chunks.

The kernel is a windowed sinc, h(t) = 2 f_c sinc(2 f_c t) w(t) with a Kaiser window w (Kaiser 1974; Oppenheim &
Schafer, Discrete-Time Signal Processing, 7.5.3 for length and beta). It is symmetric around each output sample, so
its delay is nil; what it costs is the look-ahead of half its length.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Positions are rounded to this part of an input sample: 4 µs at 256 Hz, and small enough to be called aligned.
PHASE_STEPS = 500
# A second is cut into this many equal pieces at most, so that one small matrix serves for all of them.
_MOST_PIECES = 5


@dataclass(frozen=True, slots=True)
class ResampleSettings:
    """The anti-alias filter: flat to 0.5 - `transition` of the lower rate, `attenuation_db` down at half of it.

    Its half length follows (0.22 s when the lower rate is 100 Hz) but is `longest_half_s` at most, so that slow
    channels keep within the grid's lateness; their transition is wider then.
    """

    transition: float = 0.1
    attenuation_db: float = 70.0
    longest_half_s: float = 1.0


def place(offset: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split positions in samples into the sample at or before each and the rest, in steps of 1 / PHASE_STEPS."""
    steps = np.rint(offset * PHASE_STEPS).astype(np.int64)
    return steps // PHASE_STEPS, steps % PHASE_STEPS


class Resampler:
    """Turns (channels, samples) at `rate_in_hz` into seconds of `rate_out_hz` samples each. It has no state."""

    def __init__(self, rate_in_hz: float, rate_out_hz: int, settings: ResampleSettings | None = None) -> None:
        self.rate_in_hz = rate_in_hz
        self.rate_out_hz = rate_out_hz
        self.settings = settings or ResampleSettings()
        self.half_s, _ = _design(rate_in_hz, rate_out_hz, self.settings)
        self.half = math.ceil(self.half_s * rate_in_hz)
        whole = rate_in_hz == int(rate_in_hz)
        common = math.gcd(int(rate_in_hz), rate_out_hz) if whole else 1
        self._pieces = max(d for d in range(1, _MOST_PIECES + 1) if common % d == 0)
        self._piece_in = math.ceil(rate_in_hz / self._pieces)
        self._taps = self._piece_in + 2 * self.half + 2

    def is_identity(self, phase: int) -> bool:
        """True when the samples already lie on the grid: nothing to compute, no look-ahead."""
        return phase == 0 and self.rate_in_hz == self.rate_out_hz

    def needed(self, phase: int) -> int:
        """How many samples, counted from the one at or before a second's start, must be there for that second."""
        return self.rate_out_hz if self.is_identity(phase) else math.ceil(self.rate_in_hz) + self.half + 2

    def resample(self, signal: NDArray[np.float32], bases: NDArray[np.int64], phase: int) -> NDArray[np.float32]:
        """(channels, seconds, rate_out) from `signal` (channels, samples) of which sample `bases[k]` starts second k.

        `signal` reaches `half` samples beyond the seconds on both sides; `phase` is that of all of them.
        """
        if self.is_identity(phase):
            return signal.take(bases[:, None] + np.arange(self.rate_out_hz), axis=1)
        channels, pieces = len(signal), self._pieces
        starts = bases[:, None] - self.half + np.arange(pieces) * self._piece_in
        windows = np.empty((len(bases), channels, pieces, self._taps), np.float32)
        for channel in range(channels):
            windows[:, channel] = _windows(signal[channel], self._taps)[starts]
        # One product of the same shape for each second: the same sums in the same order whatever n is.
        product = np.matmul(windows.reshape(len(bases), channels * pieces, self._taps), self._weights(phase))
        seconds: NDArray[np.float32] = product.reshape(len(bases), channels, self.rate_out_hz).swapaxes(0, 1)
        return seconds

    def resample_each(
        self, signals: Sequence[NDArray[np.float32]], bases: NDArray[np.int64], phases: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """One second of each of several signals (channels, samples), each with its own base and phase: (channels,
        signals, rate_out), the same bits as by themselves."""
        channels, pieces = len(signals[0]), self._pieces
        seconds = np.empty((len(signals), channels, self.rate_out_hz), np.float32)
        window = np.empty((channels, pieces, self._taps), np.float32)
        for place, (signal, base, phase) in enumerate(zip(signals, bases.tolist(), phases.tolist(), strict=True)):
            if self.is_identity(phase):
                seconds[place] = signal[:, base : base + self.rate_out_hz]
                continue
            for piece in range(pieces):
                start = base - self.half + piece * self._piece_in
                window[:, piece] = signal[:, start : start + self._taps]
            out = seconds[place].reshape(channels * pieces, self.rate_out_hz // pieces)
            np.matmul(window.reshape(channels * pieces, self._taps), self._weights(phase), out=out)
        return seconds.swapaxes(0, 1)

    def _weights(self, phase: int) -> NDArray[np.float32]:
        return _matrix(self.rate_in_hz, self.rate_out_hz, self._pieces, self.half, phase, self.settings)


def _windows(signal: NDArray[np.float32], taps: int) -> NDArray[np.float32]:
    """(samples - taps + 1, taps): all windows of `signal`, as views; numpy's own way costs more than the sums."""
    signal = np.ascontiguousarray(signal)
    return np.ndarray((len(signal) - taps + 1, taps), signal.dtype, signal, strides=signal.strides * 2)


def _design(rate_in_hz: float, rate_out_hz: int, settings: ResampleSettings) -> tuple[float, float]:
    """Half length in seconds and cutoff in Hz, by Kaiser's formula for the length of a transition."""
    nyquist_hz = min(rate_in_hz, rate_out_hz) / 2
    length_times_width = (settings.attenuation_db - 7.95) / (2.285 * 2 * math.pi)
    width_hz = settings.transition * 2 * nyquist_hz
    half_s = min(length_times_width / width_hz / 2, settings.longest_half_s)
    width_hz = length_times_width / (2 * half_s)
    return half_s, max(nyquist_hz - width_hz / 2, nyquist_hz / 2)


@lru_cache(maxsize=64)
def _matrix(
    rate_in_hz: float, rate_out_hz: int, pieces: int, half: int, phase: int, settings: ResampleSettings
) -> NDArray[np.float32]:
    """(taps, rate_out / pieces): the weight of each input sample in each output sample; columns sum to 1."""
    half_s, cutoff_hz = _design(rate_in_hz, rate_out_hz, settings)
    outputs = phase / PHASE_STEPS + np.arange(rate_out_hz // pieces) * (rate_in_hz / rate_out_hz)
    taps = np.arange(math.ceil(rate_in_hz / pieces) + 2 * half + 2)
    distance_s = (taps[:, None] - half - outputs) / rate_in_hz
    inside = np.clip(1 - (distance_s / half_s) ** 2, 0, None)
    beta = 0.1102 * (settings.attenuation_db - 8.7)
    weights = np.where(inside > 0, np.sinc(2 * cutoff_hz * distance_s) * np.i0(beta * np.sqrt(inside)), 0.0)
    return np.asarray(weights / weights.sum(axis=0), np.float32)
