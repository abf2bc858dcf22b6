"""Tokens kept apart and their dimensions different, so that what is easy to predict is not all that is left.

The variance and covariance terms of VICReg (Bardes, Ponce and LeCun 2022, arXiv:2105.04906).
"""

from torch import Tensor
from torch.nn import functional as F

from hypnostream.training.running.loop import Share


def spread(tokens: Tensor, share: Share) -> Tensor:
    """Of `tokens` (N, d) of all processes: how far each dimension's deviation is below 1, and squared covariances.

    The value is this process's part; the gradient to its rows is that of the whole.
    """
    every = share.gathered(tokens)
    centred = every - every.mean(0)
    count, width = centred.shape
    covariance = centred.mT @ centred / max(count - 1, 1)  # (d, d)
    deviation = (covariance.diagonal() + 1e-4).sqrt()
    apart = F.relu(1 - deviation).mean()
    alike = (covariance.square().sum() - covariance.diagonal().square().sum()) / width
    whole = apart + alike
    return whole.detach() / share.world + (whole - whole.detach())
