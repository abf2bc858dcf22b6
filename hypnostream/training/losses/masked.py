"""Prediction of what was hidden."""

from torch import Tensor
from torch.nn import functional as F

from hypnostream.training.loop import Share


def target_of(tokens: Tensor) -> Tensor:
    """What is predicted of tokens (..., d): themselves, without gradient, each of mean 0 and variance 1.

    Without a gradient the target cannot come to meet the guess, and normalised it cannot shrink to nothing.
    """
    return F.layer_norm(tokens.detach(), tokens.shape[-1:], eps=1e-8)


def masked_mse(predicted: Tensor, target: Tensor, hidden: Tensor, share: Share) -> Tensor:
    """Mean squared error of `predicted` against `target` (B, L, d) where `hidden` (B, L), over all processes' rows.

    What was shown does not count. The target must be without gradient (`target_of`).
    """
    if target.requires_grad:
        raise ValueError("the target of a masked prediction has a gradient; detach it")
    wrong = (predicted - target).square().mean(-1)  # (B, L)
    return (wrong * hidden).sum() / max(share.total(float(hidden.sum())), 1.0)
