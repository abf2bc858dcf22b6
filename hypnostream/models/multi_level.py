"""Temporal context at two clocks: among the seconds of a night, and among its epochs; both carried all night.

The two levels of CIMSleepNet's transformer (Shen et al., NeurIPS 2024), causal: there the first begins anew with each
epoch. Each level is a mixer with a residual around it; between them the seconds of an epoch become one token, by a mean
weighted with a learned gate. Its sums are state, so an unfinished epoch has a token too.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.context import make_mixer
from hypnostream.models.state import State

FLOOR = 1e-6  # of the gates' sum: no second yet


class MultiLevelState(NamedTuple):
    """Both mixers' states, and the gated sums over the seconds of the epoch that is not finished; float32."""

    seconds: State
    total: Tensor  # (B, D)
    weight: Tensor  # (B, 1)
    epochs: State


class MultiLevel(nn.Module):
    """Seconds of epochs to epochs: `forward` reads a stretch, `step` an epoch, `tick` and `close` second by second.

    `kind` is one of `context.KINDS`, for both clocks, or `seconds_kind` for the first; `past_s` and `past_epochs` are
    how far attention looks back.
    """

    def __init__(
        self,
        d_model: int,
        kind: str = "mcta",
        *,
        seconds_kind: str | None = None,
        past_s: int = 30,
        past_epochs: int = 25,
        d_state: int = 16,
        headdim: int = 64,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.seconds = make_mixer(
            seconds_kind or kind, d_model, d_state=d_state, headdim=headdim, heads=heads, past=past_s
        )
        self.epochs = make_mixer(kind, d_model, d_state=d_state, headdim=headdim, heads=heads, past=past_epochs)
        self.seconds_norm, self.epochs_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.gate = nn.Linear(d_model, 1)
        self.dropout = nn.Dropout(dropout)

    def initial_state(self, batch: int) -> MultiLevelState:
        """The state of a night that has not begun."""
        total = self.gate.weight.new_zeros(batch, self.d_model, dtype=torch.float32)
        return MultiLevelState(
            self.seconds.initial_state(batch), total, total[:, :1].clone(), self.epochs.initial_state(batch)
        )

    def forward(self, u: Tensor, state: MultiLevelState | None = None) -> tuple[Tensor, MultiLevelState]:
        """A stretch of whole epochs: `u` (B, L, S, D), S seconds each -> (B, L, D) and the state after it."""
        state = self.initial_state(u.shape[0]) if state is None else state
        x = u.flatten(1, 2)  # (B, L S, D)
        y, seconds = self.seconds(self.seconds_norm(x), state.seconds)
        x = (x + self.dropout(y)).reshape(u.shape)
        gate = torch.sigmoid(self.gate(x))  # (B, L, S, 1)
        total, weight = (gate * x).float().sum(2), gate.float().sum(2)  # (B, L, D), (B, L, 1)
        # Seconds that `tick` has read of the first epoch count in it.
        total = torch.cat([total[:, :1] + state.total.unsqueeze(1), total[:, 1:]], dim=1)
        weight = torch.cat([weight[:, :1] + state.weight.unsqueeze(1), weight[:, 1:]], dim=1)
        token = total / weight.clamp(min=FLOOR)
        y, epochs = self.epochs(self.epochs_norm(token), state.epochs)
        nothing = torch.zeros_like(state.total)
        return token + self.dropout(y), MultiLevelState(seconds, nothing, nothing[:, :1].clone(), epochs)

    def step(self, u: Tensor, state: MultiLevelState) -> tuple[Tensor, MultiLevelState]:
        """One epoch: `u` (B, S, D) -> (B, D) and the next state."""
        y, state = self(u.unsqueeze(1), state)
        return y.squeeze(1), state

    def tick(self, u: Tensor, state: MultiLevelState) -> tuple[Tensor, MultiLevelState]:
        """One second: `u` (B, D) -> (B, D), what the epoch says so far, and the next state.

        The epoch level is asked, not moved: `close` moves it.
        """
        y, seconds = self.seconds.step(self.seconds_norm(u), state.seconds)
        x = u + self.dropout(y)
        gate = torch.sigmoid(self.gate(x))  # (B, 1)
        state = MultiLevelState(seconds, state.total + gate * x, state.weight + gate, state.epochs)
        return self.close(state)[0], state

    def close(self, state: MultiLevelState) -> tuple[Tensor, MultiLevelState]:
        """The end of an epoch: its (B, D) and the state with which the next begins."""
        token = state.total / state.weight.clamp(min=FLOOR)
        y, epochs = self.epochs.step(self.epochs_norm(token), state.epochs)
        nothing = torch.zeros_like(state.total)
        return token + self.dropout(y), MultiLevelState(state.seconds, nothing, nothing[:, :1].clone(), epochs)
