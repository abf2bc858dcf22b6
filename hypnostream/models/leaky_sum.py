"""A sum that forgets, `s = keep s + x`, over a stretch: as products of matrices, or step by step, bit for bit."""

import math

import torch
from torch import Tensor

CHUNK = 256  # steps whose sums are made as one product of matrices


def keep_of(memory: float) -> float:
    """What a step leaves of the past, exp(-1 / memory), as the float32 that a step multiplies by."""
    return float(torch.exp(torch.tensor(-1.0 / memory, device="cpu")))


def leaky_sum(x: Tensor, before: Tensor, memory: float) -> Tensor:
    """`s = keep_of(memory) s + x` over L steps from `before`: (B, L, C, ...), (B, C, ...) -> (B, L, C, ...)."""
    log_keep = math.log(keep_of(memory))
    outputs = []
    for start in range(0, x.shape[1], CHUNK):
        part = x[:, start : start + CHUNK]
        # In float64: over a night, a rounding of `keep` would grow to where stretch and steps differ.
        t = torch.arange(part.shape[1], device=x.device).double()
        past = torch.exp((t[:, None] - t[None]).clamp(min=0) * log_keep).tril().to(x.dtype)  # (l, l)
        first = torch.exp((t + 1.0) * log_keep).to(x.dtype).reshape(-1, *(1,) * (x.ndim - 2))  # what is left of before
        total = (past @ part.flatten(2)).reshape(part.shape)
        outputs.append(total + first * before.unsqueeze(1))
        before = outputs[-1][:, -1]
    return torch.cat(outputs, dim=1)


def leaky_steps(x: Tensor, before: Tensor, memory: float, most: int) -> Tensor:
    """As `leaky_sum`, by the very additions of single steps, over `most` steps at most; any number where exported."""
    keep, total = keep_of(memory), before.unsqueeze(1)
    filled = torch.cat([x, torch.zeros_like(x[:, :1]).expand(-1, most, *x.shape[2:])], dim=1)
    outputs = []
    for part in torch.split(filled[:, :most], 1, dim=1):
        total = total * keep + part
        outputs.append(total)
    return torch.cat(outputs, dim=1)[:, : x.shape[1]]
