"""Temporal context in two branches that question each other: CIMSleepNet's MCTA as a causal stream.

After Shen et al., "Robust Sleep Staging over Incomplete Multimodal Physiological Signals via Contrastive Imagination"
(NeurIPS 2024). There, convolutions over a fixed 25 epochs and a bidirectional GRU are the branches, within an epoch and
between epochs. Here the recurrent branch is Mamba-2 (all of the past, compressed) and the other is attention to a
bounded past (the last elements as they were); each then asks the other's past, and keeps what it said itself.
Nothing looks ahead, a sequence has any length, and two clocks share one module: seconds in an epoch, epochs in a night.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.mamba2 import Mamba2, MambaState
from hypnostream.models.past_attention import PastAttention, PastState


class CrossBranchState(NamedTuple):
    """What the branches and the questions between them carry; float32."""

    recurrent: MambaState
    recent: PastState
    asked_recurrent: PastState
    asked_recent: PastState


class CrossBranch(nn.Module):
    """A recurrent and a recent branch, cross-attention between them to the past only. A mixer like the others."""

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        headdim: int = 64,
        heads: int = 4,
        past: int = 25,
    ) -> None:
        super().__init__()
        self.recurrent = Mamba2(d_model, d_state, d_conv, expand, headdim)
        self.recent = PastAttention(d_model, heads, past)
        self.ask_recurrent = PastAttention(d_model, heads, past)
        self.ask_recent = PastAttention(d_model, heads, past)
        self.norms = nn.ModuleList([nn.LayerNorm(d_model), nn.LayerNorm(d_model)])
        self.out_proj = nn.Linear(2 * d_model, d_model, bias=False)

    def initial_state(self, batch: int) -> CrossBranchState:
        """The state before the first step."""
        return CrossBranchState(
            self.recurrent.initial_state(batch),
            self.recent.initial_state(batch),
            self.ask_recurrent.initial_state(batch),
            self.ask_recent.initial_state(batch),
        )

    def step(self, u: Tensor, state: CrossBranchState) -> tuple[Tensor, CrossBranchState]:
        """One element: `u` (B, D) -> (B, D) and the next state."""
        recurrent, recurrent_state = self.recurrent.step(u, state.recurrent)
        recent, recent_state = self.recent.step(u, state.recent)
        r, a = self.norms[0](recurrent), self.norms[1](recent)
        from_recurrent, asked_recurrent = self.ask_recurrent.step(a, state.asked_recurrent, source=r)
        from_recent, asked_recent = self.ask_recent.step(r, state.asked_recent, source=a)
        y = self.out_proj(torch.cat([recurrent + from_recent, recent + from_recurrent], dim=-1))
        return y, CrossBranchState(recurrent_state, recent_state, asked_recurrent, asked_recent)

    def forward(self, u: Tensor, state: CrossBranchState | None = None) -> tuple[Tensor, CrossBranchState]:
        """A stretch: `u` (B, L, D) -> (B, L, D) and the state after it, from `state` or from the beginning."""
        state = self.initial_state(u.shape[0]) if state is None else state
        recurrent, recurrent_state = self.recurrent(u, state.recurrent)
        recent, recent_state = self.recent(u, state.recent)
        r, a = self.norms[0](recurrent), self.norms[1](recent)
        from_recurrent, asked_recurrent = self.ask_recurrent(a, state.asked_recurrent, source=r)
        from_recent, asked_recent = self.ask_recent(r, state.asked_recent, source=a)
        y = self.out_proj(torch.cat([recurrent + from_recent, recent + from_recurrent], dim=-1))
        return y, CrossBranchState(recurrent_state, recent_state, asked_recurrent, asked_recent)
