"""How wrong the imaginator is about tokens that were taken away and are known, and what that does to the answer.

CIMSleepNet takes a random other epoch as what a missing one should have been; here the truth is always the same step
of the same channel, so only channels that were taken away on purpose teach.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from hypnostream.models.imaginator import Imagined
from hypnostream.training.running.loop import Share


def imagination_loss(
    imagined: Imagined,
    truth: Tensor,
    dropped: Tensor,
    share: Share,
    delta: float = 1.0,
    nll: float = 0.1,
    kl: float = 0.0,
) -> dict[str, Tensor]:
    """ "huber", "nll" and "kl", each a mean over the elements of the dropped tokens, and "loss", their weighted sum.

    `truth` (..., C, D) is the token that a teacher makes of the undamaged channel; no gradient goes to it. `dropped`
    (..., C) is 1 where a channel was there and was hidden. `nll`, Gaussian, teaches the variance alone and `huber` the
    mean alone, so that no error is explained away by a variance. `kl` is from the unit Gaussian. Values are this
    process's parts. Raises ValueError when the shapes differ: a broadcast truth would be another step's.
    """
    if truth.shape != imagined.mean.shape or dropped.shape != truth.shape[:-1]:
        raise ValueError(
            f"shapes differ: imagined {tuple(imagined.mean.shape)}, truth {tuple(truth.shape)}, "
            f"dropped {tuple(dropped.shape)}; give the same steps and channels of each"
        )
    which = dropped > 0
    total = max(share.total(float(which.sum())), 1.0)
    # What is not asked for may hold anything, NaN too, and must not reach the gradient.
    truth = torch.where(which.unsqueeze(-1), truth.detach(), torch.zeros_like(truth))
    mean, log_variance = imagined.mean, imagined.log_variance

    def mean_of(each: Tensor) -> Tensor:
        return torch.where(which, each, torch.zeros_like(each)).sum() / total

    huber = mean_of(F.huber_loss(mean, truth, reduction="none", delta=delta).mean(-1))
    error = (truth - mean.detach()).square().mean(-1)  # (..., C)
    likelihood = mean_of(0.5 * (log_variance + error * torch.exp(-log_variance)))
    divergence = mean_of(0.5 * (mean.square().mean(-1) + torch.exp(log_variance) - 1 - log_variance))
    return {
        "loss": huber + nll * likelihood + kl * divergence,
        "huber": huber,
        "nll": likelihood,
        "kl": divergence,
    }


def posterior_consistency(full: Tensor, masked: Tensor, which: Tensor, share: Share) -> Tensor:
    """KL(posterior with all sensors || posterior with some), mean over `which` (...,) in 0/1: a scalar.

    `full` and `masked` are logits (..., K); the first is a teacher and gets no gradient. Zero without any.
    """
    expected = F.log_softmax(full.detach(), dim=-1)
    each = (expected.exp() * (expected - F.log_softmax(masked, dim=-1))).sum(-1)  # (...,)
    total = max(share.total(float((which > 0).sum())), 1.0)
    return torch.where(which > 0, each, torch.zeros_like(each)).sum() / total
