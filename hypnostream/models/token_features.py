"""From spectral features to what a token is made of: shape (scale-free) and level (relative to the sleeper's past).

Absolute energies, and everything above 30 Hz, carry the amplifier: a model that sees them learns one laboratory. So a
token sees only ratios inside its own spectrum ("shape") and log powers that `RunningLevel` will centre ("level").
These functions are shared by the live graph and by training, which starts from stored features.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.models.spectral import BandPowers, Wavelet34

# Columns of the 34: for A5, D5, D4, D3, D2 (D1 is 25-50 Hz: amplifier) ln energy and entropy.
LN_ENERGY = (1, 5, 9, 13, 17)
ENTROPY = (2, 6, 10, 14, 18)
STFT_RELATIVE = (24, 25, 26, 27)  # delta, theta, alpha, beta; gamma is left out
FLOOR = 1e-20

BAND_SHAPE, WAVELET_SHAPE = 5, 14
BAND_LEVEL, WAVELET_LEVEL = 5, 2
SHAPE = BAND_SHAPE + WAVELET_SHAPE
LEVEL = BAND_LEVEL + WAVELET_LEVEL


def band_shape(ln_power: Tensor, bands: int = 5) -> Tensor:
    """ln powers (..., 5) -> ln relative powers of the first `bands` among themselves, zeros behind: (..., 5)."""
    kept = ln_power[..., :bands]
    relative = kept - torch.log(torch.exp(kept - kept.mean(-1, keepdim=True)).sum(-1, keepdim=True))
    relative = relative - kept.mean(-1, keepdim=True)
    return F.pad(relative, (0, BAND_SHAPE - bands))


def wavelet_shape(features: Tensor) -> Tensor:
    """The 34, or the first 29 (..., 29) -> 5 relative wavelet energies, 5 entropies, 4 relative powers: (..., 14)."""
    energy = features[..., LN_ENERGY]
    band = features[..., STFT_RELATIVE].clamp(min=FLOOR)
    relative = torch.log(band / band.sum(-1, keepdim=True))
    return torch.cat([energy - _body(features), features[..., ENTROPY], relative], dim=-1)


def wavelet_level(features: Tensor) -> Tensor:
    """The 34, or the first 29 (..., 29) -> ln energy of the body (1.5 to 25 Hz) and of D2 (12.5 to 25 Hz): (..., 2)."""
    return torch.cat([_body(features), features[..., 17:18]], dim=-1)


def _body(features: Tensor) -> Tensor:
    """ln of the energy in D5 to D2 together (..., 1)."""
    return torch.log(features[..., (4, 8, 12, 16)].sum(-1, keepdim=True).clamp(min=FLOOR))


class SpectralTokens(nn.Module):
    """Signals to shapes and levels, channel by channel; part of the exported graph.

    `wavelet` says for which channels the 34 are computed, `bands` how many of the five bands a channel has (an EOG's
    beta is what its recorder's filter left).
    """

    def __init__(self, wavelet: tuple[bool, ...], bands: tuple[int, ...], min_valid_s: int) -> None:
        super().__init__()
        self.wavelet, self.bands, self.min_valid_s = wavelet, bands, min_valid_s
        self.band_powers, self.wavelet34 = BandPowers(), Wavelet34()

    def forward(self, signal_uv: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`signal_uv` (B, C, 3000), `valid` (B, C, 30) -> shape (B, C, 19), level (B, C, 7), mask (B, C)."""
        ln_power, any_window = self.band_powers(signal_uv, valid)
        mask = any_window * (valid.sum(-1) >= self.min_valid_s).to(any_window.dtype)
        shapes, levels = [], []
        for channel, (has_wavelet, bands) in enumerate(zip(self.wavelet, self.bands, strict=True)):
            power = ln_power[:, channel]
            shape, level = band_shape(power, bands), F.pad(power[..., :bands], (0, BAND_LEVEL - bands))
            if has_wavelet:
                one = slice(channel, channel + 1)
                features = self.wavelet34.below_25_hz(signal_uv[:, one] * 1e-6, valid[:, one])[:, 0]
                shape = torch.cat([wavelet_shape(features), shape], dim=-1)
                level = torch.cat([wavelet_level(features), level], dim=-1)
            else:
                shape, level = F.pad(shape, (WAVELET_SHAPE, 0)), F.pad(level, (WAVELET_LEVEL, 0))
            shapes.append(shape)
            levels.append(level)
        return torch.stack(shapes, 1), torch.stack(levels, 1), mask
