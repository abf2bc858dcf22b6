"""Whether tokens still differ: what a self-supervised run must be watched for."""

import torch
from torch import Tensor


def token_variance(tokens: Tensor) -> float:
    """The mean over dimensions of the variance over `tokens` (N, D), as a share of their mean square.

    0: all tokens are one and the same; towards 1: what a token is, it is by how it differs from the others.
    """
    tokens = tokens.double()
    return float(tokens.var(0, correction=0).mean() / tokens.square().mean().clamp(min=1e-12))


def effective_rank(tokens: Tensor) -> float:
    """Of `tokens` (N, D) around their mean: exp of the entropy of the normalised singular values, from 0 to D.

    Roy and Vetterli, "The effective rank" (EUSIPCO 2007). 0 when all tokens are the same.
    """
    tokens = tokens.double()
    values = torch.linalg.svdvals(tokens - tokens.mean(0))
    total = values.sum()
    if total <= 1e-9 * max(float(tokens.abs().max()), 1e-12) * len(tokens):
        return 0.0
    share = values / total
    return float(torch.exp(-torch.special.xlogy(share, share).sum()))
