"""The power at some bins is that of an FFT, whichever bins."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hypnostream.models.power_spectrum import PowerSpectrum


@pytest.mark.parametrize("bins", [np.arange(101), np.arange(2, 60), np.array([7, 4]), np.array([6])])
def test_the_power_is_that_of_an_fft(bins: NDArray[np.int64]) -> None:
    rng = np.random.default_rng(0)
    window, frames = rng.uniform(0, 1, 200), rng.standard_normal((3, 5, 200))
    spectrum = PowerSpectrum(window, bins)
    first, second = torch.from_numpy(frames).chunk(2, dim=-1)
    expected = np.abs(np.fft.fft(window * frames)[..., spectrum.bins]) ** 2
    np.testing.assert_allclose(spectrum(first, second).numpy(), expected, rtol=1e-9, atol=1e-9)
    assert sorted(spectrum.bins) == sorted(bins)
