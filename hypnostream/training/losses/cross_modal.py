"""Predicting what was hidden of each channel from what was left of all, and the whole from its parts.

Masked cross-modal prediction and fusion-to-unimodal contrast of SynthSleepNet (arXiv:2502.17481), and the restoration
of dropped channels of PhysioME (arXiv:2510.11110). Targets never get a gradient: a target that could move would shrink.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hypnostream.training.losses.contrast import nt_xent
from hypnostream.training.running.loop import Share


class Hidden(NamedTuple):
    """Which tokens (B, T, C) the model sees, and which it must say; those not recorded are in none of the three."""

    kept: Tensor
    masked: Tensor
    dropped: Tensor


def hide(mask: Tensor, ratio: float, drop: float, generator: torch.Generator) -> Hidden:
    """Hide tokens of `mask` (B, T, C), true where something was recorded.

    Of each channel's n tokens in a window exactly int(n (1 - ratio)) are kept, and one at least: 16 of 27 at 0.4. With
    probability `drop` a window loses whole channels, any number of them but all: these are `dropped`.
    """
    batch, _, channels = mask.shape
    mask = mask.bool()
    present = mask.any(1)  # (B, C)
    count = present.sum(1, keepdim=True)  # (B, 1)
    how_many = (torch.rand(batch, 1, generator=generator) * (count - 1)).floor() + 1  # 1 to count - 1
    order = torch.rand(batch, channels, generator=generator).masked_fill(~present, 2.0).argsort(1).argsort(1)
    gone = (order < how_many) & (torch.rand(batch, 1, generator=generator) < drop) & (count > 1) & present  # (B, C)
    dropped = mask & gone.unsqueeze(1)
    left = mask & ~gone.unsqueeze(1)
    stay = (left.sum(1, keepdim=True) * (1 - ratio) + 1e-6).floor().clamp(min=1)  # (B, 1, C)
    chance = torch.rand(mask.shape, generator=generator).masked_fill(~left, 2.0)
    kept = left & (chance.argsort(1).argsort(1) < stay)
    return Hidden(kept, left & ~kept, dropped)


def prediction_loss(predicted: Tensor, target: Tensor, cells: Tensor, share: Share) -> Tensor:
    """Mean square error over the `cells` (B, T, C) of `predicted` and `target` (B, T, C, I); zero without any.

    The value is this process's part of the mean over all cells of all processes.
    """
    total = share.total(float(cells.sum())) * predicted.shape[-1]
    wrong = (predicted - target.detach()).square().sum(-1)  # (B, T, C)
    return torch.where(cells, wrong, torch.zeros_like(wrong)).sum() / max(total, 1.0)


def fusion_contrast(fused: Tensor, channels: Tensor, present: Tensor, temperature: float, share: Share) -> Tensor:
    """NT-Xent of the whole `fused` (B, P) with each of its `channels` (B, C, P), mean over the channels that occur.

    Rows in which a channel is not `present` (B, C) are neither its pairs nor its negatives. All processes' rows are
    compared; the value is this process's part, the gradient to its rows that of the whole.
    """
    fused, channels, there = share.gathered(fused), share.gathered(channels), share.gathered(present.float()) > 0
    each = [
        nt_xent(fused[there[:, c]], channels[there[:, c], c], temperature, Share())
        for c in range(channels.shape[1])
        if int(there[:, c].sum()) > 1
    ]
    if not each:
        return fused.sum() * 0.0
    whole = torch.stack(each).mean()
    return whole.detach() / share.world + (whole - whole.detach())
