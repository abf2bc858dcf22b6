"""What arousals and movements do to EEG, EOG and chin EMG: a burst of alpha and beta, and a muscle that tightens.

An arousal is an abrupt shift of frequency for 3 s or more, to alpha or above 16 Hz but not to spindles; in REM sleep
the chin rises with it (AASM manual 2.6, V). A block depends on its times alone, so it is the same however it is cut.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.simulator_breathing_truth import Arousal, Breathing, Movement
from hypnostream.stream.simulator_signals import EegSignals
from hypnostream.stream.simulator_spectra import Sleeper
from hypnostream.stream.stages import EPOCH_S

# Edges in Hz and root mean squares in microvolts at frontal and posterior EEG and EOG.
_RHYTHMS: Final = (((8.0, 12.0), (8.0, 10.0, 3.0)), ((17.0, 30.0), (5.0, 5.0, 2.0)))
_TONES: Final = 16
_QUIETED: Final = 0.4  # of what the brain did before
_RISE_S: Final = 0.4
_CHIN_TIMES: Final = (2.5, 5.0)
_CHIN_TIMES_MOVING: Final = (5.0, 9.0)
_CHIN: Final = 3  # column


class ArousalSignals:
    """EEG, EOG and chin EMG with a night's arousals and movements laid over them."""

    def __init__(self, calm: EegSignals, breathing: Breathing, sleeper: Sleeper, rate_hz: int, seed: int) -> None:
        self._calm = calm
        self._breathing = breathing
        self._gains = sleeper.gains
        self._rate_hz = rate_hz
        self._seed = seed

    def block(self, epoch: int) -> NDArray[np.float32]:
        """The (30 * rate_hz, 4) samples of the next epoch, in microvolts."""
        signals = self._calm.block(epoch).astype(np.float64)
        t = epoch * EPOCH_S + np.arange(len(signals)) / self._rate_hz
        for index, arousal in enumerate(self._breathing.arousals):
            if _touches(arousal, t):
                rng = np.random.default_rng((self._seed, 10, index))
                strength = _strength(arousal, t)
                signals[:, :_CHIN] *= 1 - _QUIETED * strength[:, None]
                signals[:, :_CHIN] += strength[:, None] * self._gains * _burst(t - arousal.start_s, rng)
                signals[:, _CHIN] *= 1 + (rng.uniform(*_CHIN_TIMES) - 1) * strength
        for index, movement in enumerate(self._breathing.movements):
            if _touches(movement, t):
                rng = np.random.default_rng((self._seed, 11, index))
                signals[:, _CHIN] *= 1 + (rng.uniform(*_CHIN_TIMES_MOVING) - 1) * _strength(movement, t)
        return signals.astype(np.float32)


def _touches(happening: Arousal | Movement, t: NDArray[np.float64]) -> bool:
    return bool(happening.start_s <= t[-1] and happening.start_s + happening.duration_s > t[0])


def _strength(happening: Arousal | Movement, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 outside, 1 inside, with a quick rise and fall that belong to it."""
    since_s = t - happening.start_s
    return np.asarray(np.clip(np.minimum(since_s, happening.duration_s - since_s) / _RISE_S, 0, 1))


def _burst(since_s: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 3) alpha and beta in microvolts, much alike in the three channels."""
    burst = np.zeros((len(since_s), _CHIN))
    for edges_hz, rms_uv in _RHYTHMS:
        tones_hz, phases = rng.uniform(*edges_hz, _TONES), rng.uniform(0, 2 * np.pi, _TONES)
        for channel, own in enumerate(rng.normal(0, 0.7, (_CHIN, _TONES))):
            tones = np.sin(2 * np.pi * np.outer(since_s, tones_hz) + phases + own).sum(axis=1)
            burst[:, channel] += rms_uv[channel] * np.sqrt(2 / _TONES) * tones
    return burst
