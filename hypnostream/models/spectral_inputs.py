"""A channel's token of spectral features: its shape as it is, and everything relative to the sleeper's own past.

The fixed front-end's part of a model, before anything is learned: (shape, level) of `token_features` in, channel
tokens out, with the running level as its state.
"""

import torch
from torch import Tensor, nn

from hypnostream.models.normaliser import LevelState, RunningLevel
from hypnostream.models.token_features import LEVEL, SHAPE

INPUTS = SHAPE + 2 * (LEVEL + SHAPE)  # the width of a token
LIMIT = 6.0


class SpectralInputs(nn.Module):
    """Nothing in it learns; `set_statistics` tells it what the training nights look like. Follows `Recurrent`, but
    for its inputs."""

    shape_mean: Tensor
    shape_std: Tensor

    def __init__(self, channels: int, memory: float = 240.0) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("shape_mean", torch.zeros(channels, SHAPE))
        self.register_buffer("shape_std", torch.ones(channels, SHAPE))
        self.running_level = RunningLevel(channels, LEVEL + SHAPE, memory)

    def initial_state(self, batch: int) -> LevelState:
        """Nothing seen yet."""
        return self.running_level.initial_state(batch, self.shape_mean)

    def set_statistics(self, shape: Tensor, level: Tensor, mask: Tensor) -> None:
        """Mean and spread over epochs of the training nights alone: (N, C, 19), (N, C, 7), (N, C)."""
        weight = mask.double().unsqueeze(-1)
        count = weight.sum(0).clamp(min=1)
        mean = (shape * weight).sum(0) / count
        self.shape_mean.copy_(mean)
        self.shape_std.copy_(torch.sqrt(((shape - mean).square() * weight).sum(0) / count).clamp(min=1e-2))
        self.running_level.origin.copy_(torch.cat([(level * weight).sum(0) / count, mean], dim=1))
        self.running_level.prior_spread[:, LEVEL:].copy_(self.shape_std)

    def forward(
        self, shape: Tensor, level: Tensor, mask: Tensor, state: LevelState | None = None
    ) -> tuple[Tensor, LevelState]:
        """A stretch: (B, L, C, 19), (B, L, C, 7), (B, L, C) -> tokens (B, L, C, 71), and the state."""
        state = self.initial_state(mask.shape[0]) if state is None else state
        relative, state = self.running_level(torch.cat([level, shape], dim=-1), mask, state)
        return self._tokens(shape, relative, mask), state

    def step(self, shape: Tensor, level: Tensor, mask: Tensor, state: LevelState) -> tuple[Tensor, LevelState]:
        """One epoch: (B, C, 19), (B, C, 7), (B, C) -> tokens (B, C, 71) and the next state."""
        relative, state = self.running_level.step(torch.cat([level, shape], dim=-1), mask, state)
        return self._tokens(shape, relative, mask), state

    def _tokens(self, shape: Tensor, relative: Tensor, mask: Tensor) -> Tensor:
        centred, standardised = torch.split(relative, LEVEL + SHAPE, dim=-1)
        parts = [(shape - self.shape_mean) / self.shape_std, centred / self.running_level.prior_spread, standardised]
        return torch.cat(parts, dim=-1).clamp(-LIMIT, LIMIT) * mask.unsqueeze(-1)
