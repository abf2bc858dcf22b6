"""Raw frames in units of the channel's own level so far: what the learned front-end is given, live and in training.

Amplifiers and electrodes differ by factors, and a stream cannot know the night's median. The level is the square of
the mean of sqrt(mean |x|) with exponential forgetting: it follows gain exactly, and neither an artefact nor a pause in
breathing weighs in it as it would in a mean of squares or of logarithms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

_STRETCH = 512  # steps that one matrix serves
_SMALLEST = 1e-6


class ScaleState(NamedTuple):
    """Discounted sums: the level is (total / weight) squared."""

    total: Tensor  # (B, C)
    weight: Tensor  # (B, C)


class FrameScale(nn.Module):
    """`prior` is each channel's usual mean |x| in its unit; it counts as `prior_s` seconds and is forgotten like them.

    `memory_s` is the time constant: long, so that a stretch of deep sleep still stands out at its end. Seconds without
    a valid frame change nothing: the level waits for them. `dtype` is what a stretch is added up in.
    """

    prior: Tensor

    def __init__(
        self,
        prior: Sequence[float],
        memory_s: float = 3600.0,
        prior_s: float = 60.0,
        limit: float = 20.0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        self.memory_s, self.prior_s, self.limit, self.dtype = memory_s, prior_s, limit, dtype
        self.register_buffer("prior", torch.tensor(prior, dtype=torch.float32))
        self.keep = float(torch.exp(torch.tensor(-1.0 / memory_s, dtype=torch.float64, device="cpu")))

    def initial_state(self, batch: int) -> ScaleState:
        """Nothing seen but the prior."""
        total = (self.prior.sqrt() * self.prior_s).expand(batch, -1).clone()
        return ScaleState(total, torch.full_like(total, self.prior_s))

    def step(self, frames: Tensor, valid: Tensor, state: ScaleState) -> tuple[Tensor, ScaleState]:
        """A second: `frames` (B, C, 400), `valid` (B, C) in 0/1 -> scaled, zero where invalid (B, C, 400)."""
        size = frames.abs().mean(-1).sqrt()  # (B, C)
        keep = 1 - valid * (1 - self.keep)
        after = ScaleState(state.total * keep + size * valid, state.weight * keep + valid)
        return self._scaled(frames, valid, after), after

    def forward(self, frames: Tensor, valid: Tensor, state: ScaleState | None = None) -> tuple[Tensor, ScaleState]:
        """A stretch: `frames` (B, L, C, 400), `valid` (B, L, C) -> (B, L, C, 400) and the state after it."""
        sums, state = self._run(frames.abs().mean(-1), valid, state)
        return self._scaled(frames, valid, sums), state

    def levels(self, mean_abs: Tensor, valid: Tensor) -> Tensor:
        """What frames are divided by: their mean |x| (B, L, C), `valid` (B, L, C) -> (B, L, C), from the beginning."""
        return _level(self._run(mean_abs, valid, None)[0])

    def _run(self, mean_abs: Tensor, valid: Tensor, state: ScaleState | None) -> tuple[ScaleState, ScaleState]:
        """The sums at each step, and the state after the last."""
        state = self.initial_state(len(mean_abs)) if state is None else state
        totals, weights = [], []
        for first in range(0, mean_abs.shape[1], _STRETCH):
            part = slice(first, first + _STRETCH)
            there = valid[:, part].transpose(1, 2).to(torch.float64)  # (B, C, L)
            size = mean_abs[:, part].transpose(1, 2).to(self.dtype).sqrt() * there
            seen = there.cumsum(-1)  # valid seconds up to each
            ages = (seen.unsqueeze(-1) - seen.unsqueeze(-2)).clamp(min=0)  # (B, C, L, L)
            past = torch.exp(-ages / self.memory_s).tril()
            first_keeps = torch.exp(-seen / self.memory_s)
            total = (past @ size.unsqueeze(-1)).squeeze(-1) + first_keeps * state.total.unsqueeze(-1)
            weight = (past @ there.unsqueeze(-1)).squeeze(-1) + first_keeps * state.weight.unsqueeze(-1)
            state = ScaleState(total[..., -1].float(), weight[..., -1].float())
            totals.append(total.float().transpose(1, 2))
            weights.append(weight.float().transpose(1, 2))
        return ScaleState(torch.cat(totals, 1), torch.cat(weights, 1)), state  # (B, L, C) each

    def _scaled(self, frames: Tensor, valid: Tensor, sums: ScaleState) -> Tensor:
        scaled = frames / _level(sums).unsqueeze(-1)
        return scaled.clamp(-self.limit, self.limit) * valid.unsqueeze(-1)


def _level(sums: ScaleState) -> Tensor:
    return (sums.total / sums.weight).square().clamp(min=_SMALLEST)
