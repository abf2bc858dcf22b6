"""Prediction of what was hidden."""

from torch import Tensor

from hypnostream.training.running.loop import Share


def target_of(tokens: Tensor, share: Share) -> Tensor:
    """What is predicted of tokens (B, L, d): themselves, without gradient, each dimension standardised over the batch.

    Without a gradient the target cannot come to meet the guess, and standardised it cannot shrink to nothing. Nor can
    it hide in what all tokens have in common: normalised one by one, tokens with a large common mean are easy to guess.
    """
    tokens = tokens.detach()
    every = share.gathered(tokens).flatten(0, -2)  # (N, d)
    deviation = every.std(0, correction=0).clamp(min=1e-6)
    return (tokens - every.mean(0)) / deviation


def masked_mse(predicted: Tensor, target: Tensor, hidden: Tensor, share: Share) -> Tensor:
    """Mean squared error of `predicted` against `target` (B, L, d) where `hidden` (B, L), over all processes' rows.

    What was shown does not count. The target must be without gradient (`target_of`).
    """
    if target.requires_grad:
        raise ValueError("the target of a masked prediction has a gradient; detach it")
    wrong = (predicted - target).square().mean(-1)  # (B, L)
    return (wrong * hidden).sum() / max(share.total(float(hidden.sum())), 1.0)
