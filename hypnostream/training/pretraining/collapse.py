"""Whether tokens still differ: what a self-supervised run must be watched for."""

from collections.abc import Mapping

import torch
from torch import Tensor

_LEAST_VARIANCE, _LEAST_RANK = 0.02, 2.0  # below either, tokens are one and the same for what is built on them


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


def collapse_of(tokens: Tensor) -> dict[str, float]:
    """Both, of `tokens` (N, D). Neither alone would do: rank is blind to scale, variance to tokens along one line."""
    return {"effective_rank": effective_rank(tokens), "variance": token_variance(tokens)}


def collapsed(found: Mapping[str, float]) -> bool:
    """Whether tokens with this `collapse_of` still say anything to speak of."""
    return found["effective_rank"] < _LEAST_RANK or found["variance"] < _LEAST_VARIANCE


def collapse_line(found: Mapping[str, Mapping[str, float]]) -> str:
    """`found` by "untrained" and "trained", in words."""
    each = (
        f"{name}: effective rank {of['effective_rank']:.1f}, variance {of['variance']:.3f}"
        for name, of in found.items()
    )
    warning = "; they collapsed: train another way" if collapsed(found["trained"]) else ""
    return f"tokens of people held out, {', '.join(each)}{warning}"
