"""A gated recurrent unit as a mixer: the classical baseline of temporal context, laid out batch first.

After Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder" (2014), arXiv:1406.1078, in torch's form
(the reset gate after the product). Torch's default layout is time first; a batch-first sequence given to it would run
its recurrence from one sleeper to the next.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GRUState(NamedTuple):
    """What the layer carries from step to step; float32."""

    hidden: Tensor  # (B, D) the last output


class GRU(nn.Module):
    """One layer as wide as its input."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.gru = nn.GRU(d_model, d_model, batch_first=True)

    def initial_state(self, batch: int) -> GRUState:
        """The state before the first step: zeros."""
        return GRUState(self.gru.all_weights[0][0].new_zeros(batch, self.d_model, dtype=torch.float32))

    def step(self, u: Tensor, state: GRUState) -> tuple[Tensor, GRUState]:
        """One element: `u` (B, D) -> (B, D) and the next state."""
        weight_in, weight_kept, bias_in, bias_kept = self.gru.all_weights[0]
        read = F.linear(u, weight_in, bias_in)  # (B, 3 D): reset, update, new
        kept = F.linear(state.hidden, weight_kept, bias_kept)
        D = self.d_model
        reset = torch.sigmoid(read[:, :D] + kept[:, :D])
        update = torch.sigmoid(read[:, D : 2 * D] + kept[:, D : 2 * D])
        new = torch.tanh(read[:, 2 * D :] + reset * kept[:, 2 * D :])
        h = (1 - update) * new + update * state.hidden
        return h, GRUState(h.float())

    def forward(self, u: Tensor, state: GRUState | None = None) -> tuple[Tensor, GRUState]:
        """A stretch: `u` (B, L, D) -> (B, L, D) and the state after it, from `state` or from the beginning."""
        state = self.initial_state(u.shape[0]) if state is None else state
        y, h = self.gru(u, state.hidden.to(u.dtype).unsqueeze(0))  # torch wants its layers first: (1, B, D)
        return y, GRUState(h.squeeze(0).float())
