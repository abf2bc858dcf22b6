"""What an ECG encoder's tokens know of the heart's rate: a linear probe, fitted on other people.

Stages are no fair question for ECG here: hearts differ more between people than between one person's stages, and even
the true rate of an epoch and its spread tell little of a stranger's stage. The rate is in each frame, and needs nobody
to score it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.models.frame_network import FrameEncoder
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.nights.scaled_frames import ScaledFrames
from hypnostream.training.nights.signal_night import RATE_HZ
from hypnostream.training.pretraining.frame_probe import chosen_epochs, epoch_tokens

_SLOWEST, _FASTEST = 40, 180  # beats a minute
_PENALTY = 30.0  # beside sums over some hundred epochs and more


@dataclass(frozen=True, slots=True)
class HeartRateProbe:
    """Of the logarithm of the rate, over `epochs` of `subjects` people: explained variance, and the correlation within
    a night, mean over nights."""

    rate_r2: float
    rate_correlation_within: float
    epochs: int
    subjects: int


def beats_per_minute(ecg: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of epochs (N, samples) of ECG at 100 Hz -> (N,): the period after which what is steep is steep again."""
    steep = np.square(np.diff(ecg.astype(np.float64), axis=1))
    sums = np.cumsum(steep, axis=1)
    steep = sums[:, 10:] - sums[:, :-10]  # over 0.1 s: a beat varies by more than a sample
    steep = steep - steep.mean(1, keepdims=True)
    spectrum = np.fft.rfft(steep, 2 * steep.shape[1], axis=1)
    again = np.fft.irfft(np.square(np.abs(spectrum)), axis=1)  # falls with the lag, so that one period goes before two
    shortest, longest = round(60 * RATE_HZ / _FASTEST), round(60 * RATE_HZ / _SLOWEST)
    period: NDArray[np.float64] = shortest + again[:, shortest : longest + 1].argmax(1).astype(np.float64)
    return 60 * RATE_HZ / period


def heart_rate_probe(
    encoder: FrameEncoder, fitted: Sequence[ScaledFrames], tested: Sequence[ScaledFrames], most: int = 200
) -> HeartRateProbe:
    """Ridge regression on some people's epochs, `most` of each night, tested on others'; epochs with gaps count too,
    by what was recorded of them."""
    x, y, _ = _side(encoder, fitted, most)
    tested_x, tested_y, night = _side(encoder, tested, most)
    mean, deviation = x.mean(0), np.maximum(x.std(0), 1e-6)
    x, tested_x = (x - mean) / deviation, (tested_x - mean) / deviation
    weight = np.linalg.solve(x.T @ x + _PENALTY * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    said = tested_x @ weight + y.mean()
    wrong = np.square(said - tested_y).mean() / max(float(tested_y.var()), 1e-12)
    within = [_correlation(said[night == each], tested_y[night == each]) for each in np.unique(night)]
    people = {source.night.subject for source in tested}
    return HeartRateProbe(1 - float(wrong), float(np.mean(within)), len(tested_y), len(people))


def _side(
    encoder: FrameEncoder, sources: Sequence[ScaledFrames], most: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Tokens (N, d), logarithms of the rate (N,), and which night they are of (N,)."""
    tokens, _ = epoch_tokens(encoder, sources, most)
    rates, night = list[NDArray[np.float64]](), list[NDArray[np.int64]]()
    for index, source in enumerate(sources):
        epochs = chosen_epochs(source, most)
        seconds = epochs[:, None] * EPOCH_S + np.arange(EPOCH_S)  # (n, 30)
        rates.append(np.log(beats_per_minute(source.night.signal[seconds, source.place].reshape(len(epochs), -1))))
        night.append(np.full(len(epochs), index))
    return tokens.double().numpy(), np.concatenate(rates), np.concatenate(night)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Pearson's; zero where one does not vary."""
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0
