"""Spectra of simulated EEG and EOG: what each stage's bands hold, how that varies, and its fine shape in frequency.

The tables are medians over the epochs of 64 subjects, Sleep-EDF Expanded, PhysioNet, ODC-By (Kemp et al. 2000, IEEE
Trans Biomed Eng 47:1185): relative powers as a Welch estimate (4 s Hamming, median) sees them, after the removal of
eye movements. What the source does not tell is marked as assumed.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CHANNELS: Final = ("frontal", "posterior", "eog")  # Fpz-Cz, Pz-Oz, horizontal EOG
BANDS: Final = ("delta", "theta", "alpha", "sigma", "beta")
BAND_EDGES_HZ: Final = ((0.5, 4.0), (4.0, 8.0), (8.0, 12.0), (12.0, 16.0), (16.0, 30.0))

# Rows W, N1, N2, N3, R; columns as BANDS, of their sum. The source low-passed the EOG at 15 Hz, so its beta is assumed.
RELATIVE_POWER: Final = np.array(
    [
        [
            [0.7464, 0.0961, 0.0444, 0.0250, 0.0651],
            [0.6832, 0.1277, 0.0706, 0.0345, 0.0595],
            [0.7833, 0.1161, 0.0433, 0.0253, 0.0170],
            [0.9192, 0.0531, 0.0147, 0.0065, 0.0035],
            [0.6928, 0.1544, 0.0579, 0.0255, 0.0463],
        ],
        [
            [0.4432, 0.1286, 0.1155, 0.0583, 0.1247],
            [0.6066, 0.1855, 0.0934, 0.0335, 0.0422],
            [0.7142, 0.1693, 0.0552, 0.0260, 0.0168],
            [0.8655, 0.0941, 0.0228, 0.0088, 0.0045],
            [0.6311, 0.1917, 0.0878, 0.0298, 0.0375],
        ],
        [
            [0.9035, 0.0591, 0.0235, 0.0112, 0.0110],
            [0.8273, 0.0926, 0.0472, 0.0217, 0.0190],
            [0.8140, 0.1109, 0.0451, 0.0202, 0.0140],
            [0.9154, 0.0608, 0.0157, 0.0065, 0.0036],
            [0.8825, 0.0690, 0.0280, 0.0142, 0.0140],
        ],
    ]
)
# Median amplitude in microvolts, rows as CHANNELS, columns W, N1, N2, N3, R. Frontal is measured; of the others the
# ratios between stages are, and their N2 is assumed (9 and 20).
AMPLITUDE_UV: Final = np.array(
    [[20.9, 11.1, 14.3, 27.0, 11.0], [8.1, 6.9, 9.0, 13.3, 6.4], [45.0, 20.0, 20.0, 32.3, 21.0]]
)
# Standard deviation of the log of a band's power over delta's, within one night and stage: theta, alpha, sigma, beta.
_SPREAD_OF_RATIO: Final = np.array(
    [
        [[0.65, 1.06, 1.01, 1.06], [0.42, 0.62, 0.59, 0.84], [0.41, 0.51, 0.67, 0.81], [0.33, 0.42, 0.50, 0.50],
         [0.42, 0.55, 0.55, 0.63]],
        [[0.68, 0.93, 0.75, 0.88], [0.44, 0.74, 0.53, 0.72], [0.41, 0.50, 0.60, 0.63], [0.40, 0.48, 0.52, 0.51],
         [0.32, 0.44, 0.39, 0.37]],
        [[0.62, 0.91, 0.98, 1.04], [0.57, 0.61, 0.60, 0.62], [0.44, 0.59, 0.61, 0.66], [0.36, 0.45, 0.47, 0.52],
         [0.76, 0.90, 1.03, 1.02]],
    ]
)  # fmt: skip
# The same of the total power; and of the ratios between sleepers, what all their stages of sleep have in common.
_SPREAD_OF_POWER: Final = np.array(
    [[0.95, 0.48, 0.49, 0.30, 0.35], [0.63, 0.42, 0.40, 0.32, 0.30], [1.30, 0.66, 0.51, 0.36, 0.98]]
)
_SPREAD_OF_SLEEPERS: Final = np.array([0.30, 0.42, 0.42, 0.48])
# How the sleepers' ratios correlate between channels, and between bands that are 0, 1, 2, 3 apart.
_SLEEPER_CHANNELS: Final = np.array([[1.0, 0.72, 0.55], [0.72, 1.0, 0.50], [0.55, 0.50, 1.0]])
_SLEEPER_BANDS: Final = 0.8 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
# Correlations measured on the same data: of an epoch with the next, of one band with another, of channels.
_NEXT_EPOCH, _ACROSS_BANDS, _ACROSS_CHANNELS = 0.65, 0.8, 0.55
# Of a spread that large, a Welch estimate's own error is this much (measured on stationary noise).
_ESTIMATION_ERROR: Final = 0.17
# Parts that the relative powers leave out, over the bands' sum (the source's 34 features tell, of Fpz-Cz).
_DRIFT: Final = 0.25  # below 0.5 Hz
_GAMMA_OF_BETA: Final = np.array([0.41, 0.27, 0.27, 0.41, 0.23])

COMPONENTS: Final = ("drift", *BANDS, "gamma")
_BINS_PER_WELCH_BIN: Final = 8  # a block of 32 s has eight frequencies for each of a four-second window
_COMPONENT_EDGES_HZ: Final = ((0.12, 0.5), *BAND_EDGES_HZ, (30.0, 90.0))


@dataclass(frozen=True, slots=True)
class Sleeper:
    """What is this sleeper's and this amplifier's own: offsets of the band ratios (channels, bands - 1) in logs,
    gains (channels,), and where the alpha and spindle peaks sit."""

    ratio_offsets: NDArray[np.float64]
    gains: NDArray[np.float64]
    alpha_peak_hz: float
    spindle_peak_hz: float


def draw_sleeper(rng: np.random.Generator, spread: float) -> Sleeper:
    """A sleeper; with `spread` 0 the median one, with 1 as different as the 64 subjects were."""
    own = rng.standard_normal((len(CHANNELS), len(BANDS) - 1))
    own = np.linalg.cholesky(_SLEEPER_CHANNELS) @ own @ np.linalg.cholesky(_SLEEPER_BANDS).T
    gains = np.exp(spread * (0.3 * rng.standard_normal() + 0.1 * rng.standard_normal(len(CHANNELS))))
    alpha_hz, spindle_hz = spread * rng.standard_normal(2)
    return Sleeper(
        spread * _SPREAD_OF_SLEEPERS * own,
        gains,
        alpha_peak_hz=float(np.clip(10.0 + 0.7 * alpha_hz, 8.7, 11.3)),
        spindle_peak_hz=float(np.clip(13.3 + 0.4 * spindle_hz, 12.6, 14.6)),
    )


def component_powers(stages: NDArray[np.int8], sleeper: Sleeper, rng: np.random.Generator) -> NDArray[np.float64]:
    """Power in uV^2 of each epoch, channel and component, (epochs, 3, 7): table, sleeper, and a walk over epochs."""
    epochs, channels, bands = len(stages), len(CHANNELS), len(BANDS)
    in_channel = _share(_walk((epochs, channels), rng), _walk((epochs, 1), rng), _ACROSS_CHANNELS)
    ratio_walk = _share(_walk((epochs, channels, bands - 1), rng), in_channel[..., None], _ACROSS_BANDS)
    power_walk = _share(_walk((epochs, channels), rng), _walk((epochs, 1), rng), _ACROSS_CHANNELS)
    spread = np.sqrt(np.maximum(_SPREAD_OF_RATIO**2 - _ESTIMATION_ERROR**2, 0.0)).transpose(1, 0, 2)[stages]
    table = RELATIVE_POWER.transpose(1, 0, 2)[stages]  # (epochs, channels, bands)
    power = np.ones((epochs, channels, len(COMPONENTS)))
    power[..., 2:6] = table[..., 1:] / table[..., :1] * np.exp(spread * ratio_walk + sleeper.ratio_offsets)
    power[..., 0] = _DRIFT * power[..., 1:6].sum(axis=-1)
    power[..., 6] = _GAMMA_OF_BETA[stages][:, None] * power[..., 5]
    total = (AMPLITUDE_UV.T[stages] * sleeper.gains) ** 2 * np.exp(_SPREAD_OF_POWER.T[stages] * power_walk)
    return np.asarray(power * (total / power.sum(axis=-1))[..., None])


def component_shapes(freqs_hz: NDArray[np.float64], sleeper: Sleeper) -> NDArray[np.float64]:
    """The fine shape of each component, (7, frequencies), each with a sum of 1: how power falls within its band.

    Falling as 1/f does, with the alpha rhythm and the spindles as peaks; edges are soft, so bands meet smoothly.
    """
    f = np.maximum(freqs_hz, 0.05)
    falls = (f**-0.5, f**-1.2 * (1 - np.exp(-((f / 0.6) ** 2))), f**-1.0, f**-0.8, f**-0.8, f**-1.4, f**-1.2)
    shapes = np.stack([fall * _pass_band(f, *edges) for fall, edges in zip(falls, _COMPONENT_EDGES_HZ, strict=True)])
    for row, peak_hz, width_hz in ((3, sleeper.alpha_peak_hz, 0.9), (4, sleeper.spindle_peak_hz, 0.8)):
        peak = np.exp(-0.5 * ((f - peak_hz) / width_hz) ** 2)
        shapes[row] = 0.5 * shapes[row] / shapes[row].sum() + 0.5 * peak / peak.sum()
    return np.asarray(shapes / shapes.sum(axis=1, keepdims=True))


def component_weights(
    powers: NDArray[np.float64], freqs_hz: NDArray[np.float64], shapes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The weights with which the overlapping shapes put `powers` into the bands, same shape as `powers`.

    The tables' powers are what a Welch estimate sees, so what a shape leaks into the neighbour's band, by its soft
    edge and by the estimate's window, the neighbour gives up; a little of its own always stays.
    """
    seen, edges = _as_welch_sees(shapes), np.array(_COMPONENT_EDGES_HZ)
    bins_hz = freqs_hz[::_BINS_PER_WELCH_BIN]
    inside = (bins_hz >= edges[:, :1]) & (bins_hz < edges[:, 1:])  # (bands, bins)
    into = inside.astype(np.float64) @ seen.T  # (bands, components)
    return np.asarray(np.maximum(powers @ np.linalg.inv(into).T, 0.05 * powers))


def _as_welch_sees(shapes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The shapes blurred by a four-second Hamming window, (7, a bin every 0.25 Hz)."""
    reach = 2 * _BINS_PER_WELCH_BIN  # the main lobe ends two bins off
    window = np.hamming(256)
    blur = np.abs(np.fft.fft(window, 256 * _BINS_PER_WELCH_BIN)) ** 2
    blur = np.concatenate([blur[-reach:], blur[: reach + 1]])
    mirrored = np.concatenate([shapes[:, reach:0:-1], shapes], axis=1)  # negative frequencies blur in as well
    blurred = np.stack([np.convolve(row, blur / blur.sum(), "same")[reach:] for row in mirrored])
    return np.asarray(blurred[:, ::_BINS_PER_WELCH_BIN] * _BINS_PER_WELCH_BIN)


def _pass_band(f: NDArray[np.float64], low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """1 inside, falling as a Gaussian outside, a twenty-fifth of the edge frequency wide."""
    outside = np.maximum((low_hz - f) / (0.04 * low_hz), (f - high_hz) / (0.04 * high_hz))
    return np.asarray(np.exp(-0.5 * np.maximum(outside, 0.0) ** 2))


def _walk(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float64]:
    """Unit-variance first-order autoregressive walks along axis 0."""
    steps = rng.standard_normal(shape)
    for epoch in range(1, shape[0]):
        steps[epoch] = _NEXT_EPOCH * steps[epoch - 1] + np.sqrt(1 - _NEXT_EPOCH**2) * steps[epoch]
    return steps


def _share(own: NDArray[np.float64], common: NDArray[np.float64] | float, correlation: float) -> NDArray[np.float64]:
    """Mixes unit-variance variables so that those that get the same `common` correlate by `correlation`."""
    return np.asarray(np.sqrt(1 - correlation) * own + np.sqrt(correlation) * common)
