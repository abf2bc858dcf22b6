"""Loudness relative to the sleeper's own past: the one normalisation that a stream can have.

A level (a log power) means nothing by itself: electrodes and amplifiers differ by factors. Its distance from the
running mean of the same channel, in the same night so far, cancels any constant gain. The mean forgets with a time
constant and starts as the plain mean of what was seen; seconds without signal do not count.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class LevelState(NamedTuple):
    """Discounted sums: the running mean is `total / weight`."""

    total: Tensor  # (B, C, A)
    weight: Tensor  # (B, C)


class RunningLevel(nn.Module):
    """Subtracts the running mean, the present step included. `memory` is the time constant in steps."""

    def __init__(self, channels: int, levels: int, memory: float) -> None:
        super().__init__()
        self.channels, self.levels, self.memory = channels, levels, memory

    def initial_state(self, batch: int, like: Tensor) -> LevelState:
        """Nothing seen yet."""
        return LevelState(
            like.new_zeros(batch, self.channels, self.levels, dtype=torch.float32),
            like.new_zeros(batch, self.channels, dtype=torch.float32),
        )

    @property
    def keep(self) -> float:
        """What a step leaves of the past."""
        return float(torch.exp(torch.tensor(-1.0 / self.memory)))

    def step(self, level: Tensor, mask: Tensor, state: LevelState) -> tuple[Tensor, LevelState]:
        """`level` (B, C, A), `mask` (B, C) in 0/1 -> levels about their mean, zero where masked."""
        total = state.total * self.keep + level * mask.unsqueeze(-1)
        weight = state.weight * self.keep + mask
        mean = total / weight.clamp(min=1e-6).unsqueeze(-1)
        return (level - mean) * mask.unsqueeze(-1), LevelState(total, weight)

    def forward(self, level: Tensor, mask: Tensor, state: LevelState) -> tuple[Tensor, LevelState]:
        """A stretch: `level` (B, L, C, A), `mask` (B, L, C); the same recurrence as one product with a matrix."""
        length = level.shape[1]
        t = torch.arange(length, device=level.device)
        past = torch.exp(-(t[:, None] - t[None]).clamp(min=0) / self.memory).tril()  # (L, L)
        first = torch.exp(-(t + 1.0) / self.memory)  # (L,) what is left of the state
        masked = (level * mask.unsqueeze(-1)).flatten(2)  # (B, L, CA)
        total = (past @ masked).reshape(level.shape) + first[:, None, None] * state.total.unsqueeze(1)
        weight = past @ mask + first[:, None] * state.weight.unsqueeze(1)
        mean = total / weight.clamp(min=1e-6).unsqueeze(-1)
        return (level - mean) * mask.unsqueeze(-1), LevelState(total[:, -1], weight[:, -1])
