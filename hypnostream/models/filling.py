"""What stands for a channel that is not there, and how far it is to be trusted.

`absence`: nothing does; the model knows what the absence of each channel, and its length, has been found to mean.
`imagination`: the imaginator's token, trusted the less the less sure it is, and the same about absence.
Any of `FILLS`: the plain ways, for comparison; they do not know what was filled in, nor how long it has been gone.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.fills import FILLS
from hypnostream.models.imaginator import MAX_AGE_S, Imaginator, Imagined
from hypnostream.models.state import State

FILLINGS = ("absence", "imagination", *FILLS)


class Filled(NamedTuple):
    """`tokens` (..., C, D) with what was filled in; `trust` (..., C) from 0 to 1; `known` (..., D) what is known by
    absence; `imagined` is what was thought of each channel, None where nothing is imagined."""

    tokens: Tensor
    trust: Tensor
    known: Tensor
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


class Filling(nn.Module):
    """See the module's head. Its state is that of what fills; () where nothing is carried.

    `memory` is how long the imaginator's running mean of a channel is, in steps; `d_latent` the width of what its
    channels share.
    """

    def __init__(self, kind: str, channels: int, d_model: int, memory: float = 240.0, d_latent: int = 64) -> None:
        super().__init__()
        if kind not in FILLINGS:
            raise ValueError(f"filling {kind!r} is not known; choose one of {', '.join(FILLINGS)}")
        self.absence = Absence(channels, d_model) if kind in ("absence", "imagination") else None
        self.imaginator = Imaginator(channels, d_model, d_latent, memory) if kind == "imagination" else None
        self.fill = FILLS[kind](channels, d_model) if kind in FILLS else None

    def initial_state(self, batch: int) -> State:
        """The state of a night that has not begun."""
        part = self.imaginator or self.fill
        return part.initial_state(batch) if part is not None else ()

    def forward(
        self, tokens: Tensor, mask: Tensor, age_s: Tensor, state: State, stepwise: bool
    ) -> tuple[Filled, State]:
        """`tokens` (B, L, C, D), `mask` and `age_s` (B, L, C), or without L when `stepwise`."""
        part, trust, imagined = self.imaginator or self.fill, mask, None
        if part is not None:
            imagined, state = (part.step if stepwise else part)(tokens, mask, age_s, None, state)
            tokens, trust = imagined.tokens, torch.ones_like(mask)
            if self.imaginator is not None:
                trust = torch.exp(self.imaginator.bias(imagined, mask))
        known = self.absence(mask, age_s) if self.absence is not None else torch.zeros_like(tokens[..., 0, :])
        return Filled(tokens, trust, known, imagined if self.imaginator is not None else None), state
