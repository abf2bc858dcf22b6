"""The arm that cheats: Mamba-2 in both directions, which measures what causality costs. It cannot be streamed."""

from typing import NoReturn

from torch import Tensor, nn

from hypnostream.models.mamba2 import Mamba2, MambaState


class Bidirectional(nn.Module):
    """The sum of a reading forward and one backward; the backward one begins at the end of each stretch.

    Its state is that of the forward reading alone, and a stretch in pieces is not what the whole is.
    """

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, headdim: int = 64) -> None:
        super().__init__()
        self.ahead = Mamba2(d_model, d_state, d_conv, expand, headdim)
        self.back = Mamba2(d_model, d_state, d_conv, expand, headdim)

    def initial_state(self, batch: int) -> MambaState:
        """The state before the first step."""
        return self.ahead.initial_state(batch)

    def forward(self, u: Tensor, state: MambaState | None = None) -> tuple[Tensor, MambaState]:
        """A stretch: `u` (B, L, D) -> (B, L, D) and the forward reading's state after it."""
        y, state = self.ahead(u, state)
        return y + self.back(u.flip(1))[0].flip(1), state

    def step(self, u: Tensor, state: MambaState) -> NoReturn:
        """There is none: raises NotImplementedError."""
        raise NotImplementedError("bidirectional context reads the future, so it has no step; choose another kind")
