"""A frame encoder whose tokens begin with mean 0 and variance 1 in each dimension, by its weights alone.

Untrained it says nearly the same of every frame: small differences around a large common token. What is built on that
(normalised again, predicted, contrasted) is nearly right by the common part, and learns to say nothing else.

Started from data as in Mishkin and Matas, "All you need is a good init" (2016, arXiv:1511.06422). Nothing is added to
the model, and what a linear layer can read from its tokens stays the same.
"""

import torch
from torch import Tensor

from hypnostream.models.frame_network import FrameEncoder

_AT_ONCE = 256  # frames


@torch.no_grad()
def standardise(encoder: FrameEncoder, frames: Tensor) -> None:
    """Scale and shift the last layer so that the tokens of `frames` (N, 400) are standardised; in place.

    With fewer than two frames nothing is done. A dimension that never changes keeps its scale.
    """
    if len(frames) < 2:
        return
    weight, bias = encoder.head[-1].parameters()
    parts = [frames[first : first + _AT_ONCE] for first in range(0, len(frames), _AT_ONCE)]
    tokens = torch.cat([encoder(part) for part in parts])  # (N, d)
    mean, deviation = tokens.mean(0), tokens.std(0, correction=0)
    deviation = torch.where(deviation > 1e-6, deviation, 1.0)
    weight.div_(deviation.unsqueeze(1))
    bias.sub_(mean).div_(deviation)
