"""Everything relative to the sleeper's own past: the one normalisation that a stream can have.

A level (a log power) means nothing by itself: electrodes and amplifiers differ by factors. Its distance from the
running mean of the same channel, in the same night so far, cancels any constant gain; in units of the running spread
it also says how far this sleeper goes. Both forget with a time constant and start from what was seen; epochs without
signal do not count. At first the spread is mostly the one that training saw.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.leaky_sum import keep_of, leaky_steps, leaky_sum


class LevelState(NamedTuple):
    """Discounted sums: the running mean is `total / weight`, the mean square `square / weight`."""

    total: Tensor  # (B, C, A)
    square: Tensor  # (B, C, A)
    weight: Tensor  # (B, C)


class RunningLevel(nn.Module):
    """Values about their running mean, the present step included, plain and in units of the running spread.

    `memory` is the time constant in steps; `prior_spread` (C, A) counts as `prior_weight` steps of evidence.
    `origin` (C, A) is subtracted first: it changes no result, but keeps float32 sums of squares exact.
    Where `exported_steps` is set, `forward` is exported for stretches of so many steps at most, by the additions of
    single steps: a spread is a small difference of large sums, and sums in another order would be another spread.
    """

    origin: Tensor
    prior_spread: Tensor

    def __init__(self, channels: int, values: int, memory: float, prior_weight: float = 40.0) -> None:
        super().__init__()
        self.exported_steps = 0
        self.channels, self.values, self.memory, self.prior_weight = channels, values, memory, prior_weight
        self.register_buffer("origin", torch.zeros(channels, values))
        self.register_buffer("prior_spread", torch.ones(channels, values))

    def initial_state(self, batch: int, like: Tensor) -> LevelState:
        """Nothing seen yet."""
        sums = like.new_zeros(batch, self.channels, self.values, dtype=torch.float32)
        return LevelState(sums, sums.clone(), like.new_zeros(batch, self.channels, dtype=torch.float32))

    @property
    def keep(self) -> float:
        """What a step leaves of the past."""
        return keep_of(self.memory)

    def step(self, value: Tensor, mask: Tensor, state: LevelState) -> tuple[Tensor, LevelState]:
        """`value` (B, C, A), `mask` (B, C) in 0/1 -> (B, C, 2 A): centred, then standardised; zero where masked."""
        value = value - self.origin
        kept = value * mask.unsqueeze(-1)
        after = LevelState(
            state.total * self.keep + kept, state.square * self.keep + kept * kept, state.weight * self.keep + mask
        )
        return self._relative(value, mask, after), after

    def forward(self, value: Tensor, mask: Tensor, state: LevelState) -> tuple[Tensor, LevelState]:
        """A stretch: `value` (B, L, C, A), `mask` (B, L, C); the same recurrence as one product with a matrix."""
        value = value - self.origin

        kept = value * mask.unsqueeze(-1)
        each = torch.cat([kept, kept * kept, mask.unsqueeze(-1)], dim=-1)  # (B, L, C, 2 A + 1)
        before = torch.cat([state.total, state.square, state.weight.unsqueeze(-1)], dim=-1)
        if self.exported_steps:
            running = leaky_steps(each, before, self.memory, self.exported_steps)
        else:
            running = leaky_sum(each, before, self.memory)
        total, square, weight = torch.split(running, [self.values, self.values, 1], dim=-1)
        sums = LevelState(total, square, weight[..., 0])
        after = LevelState(sums.total[:, -1], sums.square[:, -1], sums.weight[:, -1])
        return self._relative(value, mask, sums), after

    def _relative(self, value: Tensor, mask: Tensor, sums: LevelState) -> Tensor:
        weight = sums.weight.clamp(min=1e-6).unsqueeze(-1)
        mean = sums.total / weight
        centred = value - mean
        spread = (sums.square - mean * sums.total).clamp(min=0)  # the weighted sum of squared distances
        prior = self.prior_weight * self.prior_spread.square()
        deviation = torch.sqrt((spread + prior) / (weight + self.prior_weight))
        return torch.cat([centred, centred / deviation], dim=-1) * mask.unsqueeze(-1)
