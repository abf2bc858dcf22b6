"""Power at some bins of frames, as products with constant matrices: no FFT operator, the same in every runtime.

Frames come as two halves, so that those which overlap by half need not be laid out. Even bins see the sum of the
halves, odd ones their difference: the first step of a fast transform (Gentleman & Sande 1966), and half the products.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class PowerSpectrum(nn.Module):
    """Squared magnitude of the Fourier transform of `window` times a frame, at `bins`, the even ones first.

    `bins` afterwards says in which order they come.
    """

    window: Tensor
    even: Tensor
    odd: Tensor

    def __init__(self, window: NDArray[np.float64], bins: NDArray[np.int64]) -> None:
        super().__init__()
        half = len(window) // 2
        self.bins = np.concatenate([bins[bins % 2 == 0], bins[bins % 2 == 1]])
        self.register_buffer("window", torch.from_numpy(window.reshape(2, half)))
        for name, these in (("even", bins[bins % 2 == 0]), ("odd", bins[bins % 2 == 1])):
            angle = 2 * np.pi * np.outer(np.arange(half), these) / len(window)
            self.register_buffer(name, torch.from_numpy(np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """The halves of frames (..., samples / 2) each -> (..., bins)."""
        a, b = first * self.window[0], second * self.window[1]
        return torch.cat([_squared(a + b, self.even), _squared(a - b, self.odd)], dim=-1)


def _squared(folded: Tensor, fourier: Tensor) -> Tensor:
    real, imaginary = (folded @ fourier).square().chunk(2, dim=-1)
    return real + imaginary
