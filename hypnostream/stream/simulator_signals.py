"""EEG, EOG and chin EMG of a simulated night, block by block.

A block is the 30 s of an epoch and two seconds more, shaped in the frequency domain out of the epoch's own random
numbers; the two seconds fade into the next block, as stages do. So any stretch is the same however it is read.
"""

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.simulator_spectra import (
    CHANNELS,
    Sleeper,
    component_powers,
    component_shapes,
    component_weights,
)
from hypnostream.stream.simulator_transients import add_transients, envelopes
from hypnostream.stream.stages import EPOCH_S

FADE_S = 2
# Components that rise and fall together: slow waves, alpha, sigma, and the rest, which is steady.
_GROUPS = ([0, 1], [3], [4], [2, 5, 6])
# Each group takes the noise so many bins (4 Hz) further on: where groups overlap they add as independent noise does.
_SHIFT = 4 * (EPOCH_S + FADE_S)
# How much of one channel's noise the three have in common.
_COMMON = 0.4
_CHIN_UV = (14.0, 8.0, 5.5, 4.5, 2.2)
_TWITCHES_PER_MINUTE = 3.0


class EegSignals:
    """Frontal and posterior EEG, horizontal EOG and chin EMG in microvolts; blocks are asked for in order."""

    def __init__(self, stages: NDArray[np.int8], sleeper: Sleeper, rate_hz: int, seed: int) -> None:
        samples = (EPOCH_S + FADE_S) * rate_hz
        freqs_hz = np.arange(samples // 2 + 1) / (EPOCH_S + FADE_S)
        shapes = component_shapes(freqs_hz, sleeper)
        powers = component_powers(stages, sleeper, np.random.default_rng((seed, 1)))
        self._stages = stages
        self._rate_hz = rate_hz
        self._seed = seed
        self._gains = sleeper.gains.astype(np.float32)
        self._weights = component_weights(powers, freqs_hz, shapes)
        self._shapes = shapes * (samples / 2) ** 2  # so that irfft of unit noise has the power asked for
        self._chin_shape = _chin_spectrum(freqs_hz) * (samples / 2)
        ramp = np.sin(0.5 * np.pi * (np.arange(FADE_S * rate_hz) + 0.5) / (FADE_S * rate_hz))
        self._fade_in = ramp.astype(np.float32)  # with its reverse it keeps the power of independent noise
        self._tail = np.zeros((len(CHANNELS) + 1, FADE_S * rate_hz), dtype=np.float32)

    def block(self, epoch: int) -> NDArray[np.float32]:
        """The (30 * rate_hz, 4) samples of the next epoch."""
        rng = np.random.default_rng((self._seed, 2, epoch))
        stage = int(self._stages[epoch])
        block = np.concatenate([self._brain_and_eyes(epoch, stage, rng), self._chin(stage, rng)])
        fade = len(self._fade_in)
        if epoch > 0:
            block[:, :fade] *= self._fade_in
            block[:, :fade] += self._tail
        self._tail = block[:, -fade:] * self._fade_in[::-1]
        return np.ascontiguousarray(block[:, :-fade].T)

    def _brain_and_eyes(self, epoch: int, stage: int, rng: np.random.Generator) -> NDArray[np.float32]:
        bins = self._shapes.shape[1]
        noise = _complex_noise(len(CHANNELS) + 1, bins + _SHIFT * (len(_GROUPS) - 1), rng)
        noise = np.sqrt(np.float32(1 - _COMMON)) * noise[1:] + np.sqrt(np.float32(_COMMON)) * noise[0]
        samples = 2 * (bins - 1)
        shaped_by = (*envelopes(stage, samples, self._rate_hz, rng), None)
        signals = np.zeros((len(CHANNELS), samples), dtype=np.float32)
        for shift, (group, envelope) in enumerate(zip(_GROUPS, shaped_by, strict=True)):
            amplitude = np.sqrt(self._weights[epoch][:, group] @ self._shapes[group]).astype(np.float32)
            part = np.fft.irfft(amplitude * noise[:, shift * _SHIFT : shift * _SHIFT + bins], samples, axis=1)
            signals += part if envelope is None else part * envelope
        transients = np.zeros_like(signals)
        add_transients(transients, stage, self._rate_hz, rng)
        return signals + transients * self._gains[:, None]

    def _chin(self, stage: int, rng: np.random.Generator) -> NDArray[np.float32]:
        bins = len(self._chin_shape)
        samples = 2 * (bins - 1)
        tone = np.full(samples, _CHIN_UV[stage], dtype=np.float32)
        if _CHIN_UV[stage] == min(_CHIN_UV):  # REM: atonia with twitches
            for start in rng.integers(0, samples - self._rate_hz, rng.poisson(_TWITCHES_PER_MINUTE / 2)):
                tone[start : start + self._rate_hz // 2] *= 5
        noise = _complex_noise(1, bins, rng) * self._chin_shape.astype(np.float32)
        return np.asarray(np.fft.irfft(noise, samples, axis=1) * tone * np.exp(0.2 * np.float32(rng.standard_normal())))


def _chin_spectrum(freqs_hz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amplitude spectrum of surface EMG between 10 and 100 Hz, of unit power."""
    inside = (freqs_hz >= 10) & (freqs_hz <= 100)
    power = np.where(inside, np.exp(-np.maximum(freqs_hz - 40, 0) / 60), 0.0)
    return np.asarray(np.sqrt(power / power.sum()))


def _complex_noise(rows: int, bins: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """Noise whose real and imaginary parts are unit normal."""
    return rng.standard_normal((rows, bins, 2), dtype=np.float32).view(np.complex64)[..., 0]
