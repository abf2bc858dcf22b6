"""The spectral front-end: what a 30 s stretch of one channel sounds like, in numbers that a stream can have.

Two groups of features, both from 30 s at 100 Hz, both part of the exported graph (products with constant matrices,
no FFT operator, so that onnxruntime and TensorRT compute the same):

- `Wavelet34`: 24 statistics of a Daubechies-4 wavelet and 10 of a short-time Fourier transform. They are the 34
  features per epoch that public Sleep-EDF feature sets hold, in volts.
- `BandPowers`: Welch power in the five classical bands.

Every second of the input carries a validity; windows that touch an invalid second do not count. Nothing is filled in.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypnostream.models.power_spectrum import PowerSpectrum
from hypnostream.models.ranking import largest

RATE_HZ = 100
SECONDS = 30
SAMPLES = RATE_HZ * SECONDS
EPSILON = 1e-12

# Daubechies-4 decomposition low-pass filter (Daubechies, "Ten Lectures on Wavelets", table 6.1, N = 4).
DB4_LOW = (
    -0.010597401785069032,
    0.0328830116668852,
    0.030841381835560764,
    -0.18703481171909309,
    -0.027983769416859854,
    0.6308807679298589,
    0.7148465705529157,
    0.2303778133088965,
)
LEVELS = 5
WELCH_WINDOW_S, WELCH_HOP_S = 4, 2
BANDS_HZ = ((0.5, 4.0), (4.0, 8.0), (8.0, 12.0), (12.0, 16.0), (16.0, 30.0))  # delta theta alpha sigma beta
STFT_BANDS_HZ = ((0.5, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))


class BandPowers(nn.Module):
    """Welch band powers (4 s Hamming, 50 % overlap, median over the valid windows, constant detrend).

    After Welch (1967). Per channel: ln of the power in each of `BANDS_HZ`, in the input's unit squared.
    """

    bands: Tensor
    median_weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        n = WELCH_WINDOW_S * RATE_HZ
        freqs = np.arange(n // 2 + 1) * RATE_HZ / n
        bins = np.flatnonzero((freqs >= BANDS_HZ[0][0]) & (freqs <= BANDS_HZ[-1][1]))
        window = np.hamming(n + 1)[:-1]
        scale = 2.0 / (RATE_HZ * np.square(window).sum())  # one-sided density
        # A frame's mean is at bins 0 and 1 of a Hamming window and at no other: without those it need not be taken off.
        self.spectrum = PowerSpectrum(window * math.sqrt(scale), bins)
        kept = freqs[self.spectrum.bins]
        bands = np.stack([(kept >= low) & (kept < high) for low, high in BANDS_HZ], axis=1) * (RATE_HZ / n)
        self.register_buffer("bands", torch.from_numpy(bands))  # (F, 5)
        self.count = (SECONDS - WELCH_WINDOW_S) // WELCH_HOP_S + 1  # 14 windows
        # Row n: the weights that take n values, sorted downward, to their median.
        self.ranks = self.count // 2 + 1  # a median of n lies among the n // 2 + 1 largest
        table = np.zeros((self.count + 1, self.ranks))
        for k in range(1, self.count + 1):
            for middle in ((k - 1) // 2, k // 2):
                table[k, middle] += 0.5
            odd = 2 * np.arange(1, (k - 1) // 2 + 1)  # the median of k periodograms is biased by this (Allen 2012)
            table[k] /= 1 + np.sum(1 / (odd + 1) - 1 / odd)
        self.register_buffer("median_weights", torch.from_numpy(table))  # (15, 8)

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """`x` (B, C, 3000), `valid` (B, C, 30) in 0/1 -> ln powers (B, C, 5) and whether a window was valid (B, C)."""
        # Two hops make a window.
        hops = x.reshape(*x.shape[:-1], SECONDS // WELCH_HOP_S, WELCH_HOP_S * RATE_HZ)  # (B, C, 15, 200)
        power = self.spectrum(hops[:, :, :-1], hops[:, :, 1:])  # (B, C, 14, F)
        pairs = valid.reshape(*valid.shape[:-1], SECONDS // WELCH_HOP_S, WELCH_HOP_S).prod(-1)  # (B, C, 15)
        good = pairs[:, :, :-1] * pairs[:, :, 1:]  # (B, C, 14)
        power = power * good.unsqueeze(-1) - (1 - good.unsqueeze(-1))  # invalid windows sort last, at -1
        ranked = torch.stack(largest(power.unbind(2), self.ranks), dim=2)  # (B, C, 8, F)
        weights = self.median_weights[good.sum(-1).round().long()]  # (B, C, 8)
        median = (weights.unsqueeze(-2) @ ranked).squeeze(-2)  # (B, C, F)
        any_good = (good.sum(-1) > 0).to(x.dtype)
        return torch.log(median @ self.bands + 1e-20), any_good


class Wavelet34(nn.Module):
    """The 34 features an epoch of public Sleep-EDF feature sets, from volts at 100 Hz.

    0-23: for A5, D5, D4, D3, D2, D1 of a Daubechies-4 wavelet with symmetric padding: energy, ln energy, entropy,
    variance. 24-30: relative power in `STFT_BANDS_HZ`, spectral entropy, 95 % edge in Hz, of the mean squared
    short-time Fourier transform (2 s Hann, 1 s hop, zero-padded ends). 31-33: delta/beta, theta/alpha,
    (delta+theta)/(alpha+beta). With invalid seconds, sums run over what is valid and are scaled to the whole.
    """

    low: Tensor
    high: Tensor
    bands: Tensor
    below: Tensor
    of_second: Tensor
    of_set: Tensor
    to_each: Tensor
    length: Tensor

    def __init__(self) -> None:
        super().__init__()
        low = np.array(DB4_LOW)
        high = low[::-1].copy()
        high[::2] *= -1  # quadrature mirror
        # Correlation with the reversed filter is convolution with the filter.
        self.register_buffer(
            "filters", torch.from_numpy(np.stack([low[::-1], high[::-1]])[:, None].copy())
        )  # (2, 1, 8)
        n = 2 * RATE_HZ
        window = np.hanning(n + 1)[:-1]
        self.power = PowerSpectrum(window / window.sum(), np.arange(n // 2 + 1))
        freqs = self.power.bins * RATE_HZ / n
        bands = np.stack([(freqs >= low_hz) & (freqs <= high_hz) for low_hz, high_hz in STFT_BANDS_HZ], axis=1)
        self.register_buffer("bands", torch.from_numpy(bands.astype(np.float64)))  # (101, 5)
        self.register_buffer("below", torch.from_numpy((freqs[:, None] <= freqs).astype(np.float64)))  # a running sum
        self.step_hz = RATE_HZ / n
        # The coefficients of all sets lie end to end, so that a sum over each set is one product with a matrix.
        seconds = _coefficient_seconds()
        sets = [seconds[-1], *reversed(seconds)]  # A5, D5, D4, D3, D2, D1
        lengths = torch.tensor([len(each) for each in sets])
        of_set = torch.eye(len(sets), dtype=torch.float64).repeat_interleave(lengths, dim=0)
        self.register_buffer("of_second", torch.eye(SECONDS, dtype=torch.float64)[:, np.concatenate(sets)])  # (30, n)
        self.register_buffer("of_set", of_set)  # (n, 6)
        self.register_buffer("to_each", of_set.T.contiguous())  # (6, n)
        self.register_buffer("length", lengths.double())  # (6,)

    def forward(self, volts: Tensor, valid: Tensor) -> Tensor:
        """`volts` (B, C, 3000), `valid` (B, C, 30) -> (B, C, 34)."""
        return torch.cat([self.wavelet(volts, valid), self.fourier_features(volts, valid)], dim=-1)

    def below_25_hz(self, volts: Tensor, valid: Tensor) -> Tensor:
        """The first 29, with zeros for those of D1, in less time: (B, C, 29)."""
        wavelet = self.wavelet(volts, valid, finest=False)
        P = self.spectrum(volts, valid)
        relative = P @ self.bands / P.sum(-1, keepdim=True).clamp(min=1e-30)
        return torch.cat([nn.functional.pad(wavelet, (0, 4)), relative], dim=-1)

    def wavelet(self, volts: Tensor, valid: Tensor, finest: bool = True) -> Tensor:
        """The first 24 features; without the `finest` set, D1, the first 20."""
        batch, channels, _ = volts.shape
        approximation = volts.reshape(batch * channels, 1, SAMPLES)
        details: list[Tensor] = []
        filters: Tensor = self.get_buffer("filters")
        for _ in range(LEVELS):
            # Half-sample symmetric: ...x1 x0 | x0 x1..., 7 either side, but one: a stride of 2 keeps odd outputs.
            left, right = approximation[..., :6].flip(-1), approximation[..., -7:].flip(-1)
            padded = torch.cat([left, approximation, right], dim=-1)
            both = nn.functional.conv1d(padded, filters, stride=2)  # (BC, 2, n)
            approximation, detail = torch.split(both, [1, 1], dim=1)
            details.append(detail)
        details = details if finest else details[1:]
        c = torch.cat([approximation, *reversed(details)], dim=-1).reshape(batch, channels, -1)  # (B, C, n)
        n, sets = c.shape[-1], len(details) + 1
        of_set, to_each = self.of_set[:n, :sets], self.to_each[:sets, :n]
        keep = valid @ self.of_second[:, :n]  # (B, C, n)
        square = c.square() * keep
        # Two sums or more in one product: a row by itself would be summed in another order than rows of a batch.
        count, valid_energy, total = (torch.stack([keep, square, c * keep], dim=-2) @ of_set).unbind(-2)  # (B, C, sets)
        count = count.clamp(min=1.0)
        rescale = self.length[:sets] / count
        p = square / ((valid_energy + EPSILON) @ to_each)  # (B, C, n)
        squared_distance = (c - (total / count) @ to_each).square() * keep
        log_share, spread = (torch.stack([p * torch.log(p + EPSILON), squared_distance], dim=-2) @ of_set).unbind(-2)
        entropy, variance = -log_share, spread / count
        energy = valid_energy * rescale
        features = [energy, torch.log(energy + EPSILON), entropy + torch.log(rescale), variance]
        return torch.stack(features, dim=-1).flatten(-2)  # (B, C, 4 sets)

    def spectrum(self, volts: Tensor, valid: Tensor) -> Tensor:
        """The mean squared short-time Fourier transform over the valid frames (B, C, 101)."""
        seconds = volts.reshape(*volts.shape[:-1], SECONDS, RATE_HZ)  # (B, C, 30, 100)
        before, after = nn.functional.pad(seconds, (0, 0, 1, 0)), nn.functional.pad(seconds, (0, 0, 0, 1))
        power = self.power(before, after)  # (B, C, 31, 101)
        good = torch.cat([valid[..., :1], valid], dim=-1) * torch.cat([valid, valid[..., -1:]], dim=-1)  # (B, C, 31)
        mean: Tensor = (good.unsqueeze(-2) @ power).squeeze(-2) / good.sum(-1).clamp(min=1.0).unsqueeze(-1)
        return mean

    def fourier_features(self, volts: Tensor, valid: Tensor) -> Tensor:
        """The last 10 features."""
        P = self.spectrum(volts, valid)
        total = P.sum(-1, keepdim=True)
        share = P / (total + EPSILON)
        absolute = P @ self.bands  # (B, C, 5)
        relative = absolute / total.clamp(min=1e-30)
        entropy = -(share * torch.log(share + EPSILON)).sum(-1)
        edge_hz = (P @ self.below < 0.95 * total).to(P.dtype).sum(-1) * self.step_hz
        delta, theta, alpha, beta, _ = absolute.unbind(-1)
        ratios = [delta / (beta + EPSILON), theta / (alpha + EPSILON), (delta + theta) / (alpha + beta + EPSILON)]
        return torch.cat([relative, torch.stack([entropy, edge_hz, *ratios], dim=-1)], dim=-1)


def _coefficient_seconds() -> list[NDArray[np.int64]]:
    """For each level, the second that each wavelet coefficient belongs to (its centre of weight, clipped)."""
    out, n = [], SAMPLES
    for level in range(1, LEVELS + 1):
        n = (n + 7) // 2
        centre = (np.arange(n) * 2 + 1 - 3.5) * 2 ** (level - 1)
        out.append(np.clip(centre // RATE_HZ, 0, SECONDS - 1).astype(np.int64))
    return out
