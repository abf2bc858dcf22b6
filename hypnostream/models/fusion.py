"""From the tokens of all channels to one: what stands for a channel that is not there, and how much each counts.

`absence`: the mean of those that are there, and what the absence of each, and its length, has been found to mean.
`imagination`: the imaginator's token for a missing channel, weighed by how sure it is, and the same about absence.
Any of `FILLS`: the plain ways, for comparison; they do not know how long a channel has been gone.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.fills import FILLS
from hypnostream.models.imaginator import Imaginator, Imagined
from hypnostream.models.state import State

FILLINGS = ("absence", "imagination", *FILLS)
MAX_AGE_S = 3600.0  # a channel gone for an hour is gone for good


class Fused(NamedTuple):
    """`token` (..., D) and each channel's share in it, `weights` (..., C), which sum to 1 unless nothing is there and
    nothing is imagined; `imagined` is what was thought of each channel, None where nothing is imagined."""

    token: Tensor
    weights: Tensor
    imagined: Imagined | None


class Absence(nn.Module):
    """What a channel says by not being there, and by how long it has not been there."""

    def __init__(self, channels: int, d_model: int) -> None:
        super().__init__()
        self.absent = nn.Parameter(torch.randn(channels, d_model) * 0.1)
        self.absent_age = nn.Parameter(torch.zeros(channels, d_model))

    def forward(self, mask: Tensor, age_s: Tensor) -> Tensor:
        """`mask` and `age_s` (..., C) -> (..., D)."""
        age = torch.log1p(age_s.clamp(0, MAX_AGE_S) / 30.0).unsqueeze(-1)  # (..., C, 1)
        return ((self.absent + age * self.absent_age) * (1 - mask).unsqueeze(-1)).sum(-2)


class Fusion(nn.Module):
    """See the module's head. Its state is that of what fills."""

    def __init__(self, filling: str, channels: int, d_model: int) -> None:
        super().__init__()
        if filling not in FILLINGS:
            raise ValueError(f"filling {filling!r} is not known; choose one of {', '.join(FILLINGS)}")
        knows = filling in ("absence", "imagination")
        self.absence = Absence(channels, d_model) if knows else None
        self.imaginator = Imaginator(channels, d_model) if filling == "imagination" else None
        self.fill = None if knows else FILLS[filling](channels, d_model)
        self.out = nn.Sequential(nn.LayerNorm(d_model), nn.Linear(d_model, d_model))

    def initial_state(self, batch: int) -> State:
        """The state of a night that has not begun; () where nothing is carried."""
        part = self.imaginator or self.fill
        return part.initial_state(batch) if part is not None else ()

    def forward(self, tokens: Tensor, mask: Tensor, age_s: Tensor, state: State, stepwise: bool) -> tuple[Fused, State]:
        """`tokens` (B, L, C, D), `mask` and `age_s` (B, L, C), or without L when `stepwise`."""
        part = self.imaginator or self.fill
        imagined = None
        if part is None:
            weights = mask / mask.sum(-1, keepdim=True).clamp(min=1.0)  # (..., C)
        else:
            imagined, state = (part.step if stepwise else part)(tokens, mask, age_s, None, state)
            tokens, weights = imagined.tokens, part.weights(imagined, mask)
        x = (tokens * weights.unsqueeze(-1)).sum(-2)  # (..., D)
        if self.absence is not None:
            x = x + self.absence(mask, age_s)
        return Fused(self.out(x), weights, imagined if self.imaginator is not None else None), state
