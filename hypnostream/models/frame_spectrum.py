"""A frame's spectrum without its phase: what one frame can say of the next, as a target of pretraining.

Where in its cycle a wave is when the frame begins is most of what an untrained token differs by, and no other frame can
foretell it; how strong each rhythm is lasts. Spectra as targets of masked prediction: LaBraM (arXiv:2405.18765), and of
features that are given in place of learned ones, MaskFeat (arXiv:2112.09133).
"""

import torch
from torch import Tensor

from hypnostream.models.frame_network import FRAME_SAMPLES

SPECTRUM = 128  # bins of 0.25 Hz, from 0.25 to 32 Hz: fine enough for the harmonics of a heart rate
_FLOOR = 0.1  # of amplitudes: what is fainter is noise of the amplifier, and its logarithm says nothing


def frame_spectrum(frames: Tensor) -> Tensor:
    """Log amplitudes of `frames` (..., 400), scaled by `FrameScale`, under a Hann window -> (..., 128); no gradient."""
    with torch.no_grad():
        window = torch.hann_window(FRAME_SAMPLES, device=frames.device)
        amplitude = torch.fft.rfft(frames.float() * window).abs()[..., 1 : SPECTRUM + 1]
        return torch.log(amplitude + _FLOOR)
