"""Mamba-1 in plain torch: the selective state space with a decay for each channel and each state dimension.

After Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), arXiv:2312.00752; parameter
names and shapes are those of mamba-ssm's `Mamba`, so that its weights load here. Its published kernels take no initial
state, so a stretch of a night that goes on can only be read by code like this.

Glossary, shapes at line ends:
    B  batch, one row a bed       L  length, in steps     D  d_model      E  d_inner = expand * D
    N  d_state                    K  d_conv               R  rank of dt
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Mamba1State(NamedTuple):
    """What one layer carries from step to step; both in float32, whatever the weights are."""

    conv: Tensor  # (B, E, K-1) the last inputs of the convolution
    ssm: Tensor  # (B, E, N)


class Mamba1(nn.Module):
    """One Mamba-1 mixer, uni-directional. `forward` reads a stretch of any length, `step` one element."""

    def __init__(self, d_model: int, d_state: int = 16, d_conv: int = 4, expand: int = 2, chunk: int = 16) -> None:
        super().__init__()
        self.d_model, self.d_state, self.d_conv, self.chunk = d_model, d_state, d_conv, chunk
        self.d_inner, self.dt_rank = expand * d_model, math.ceil(d_model / 16)

        self.in_proj = nn.Linear(d_model, 2 * self.d_inner, bias=False)
        self.conv1d = nn.Conv1d(self.d_inner, self.d_inner, d_conv, groups=self.d_inner)
        self.x_proj = nn.Linear(self.d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, self.d_inner)
        # dt starts log-uniform in [1e-3, 1e-1] after its softplus, as in the paper; A at -1 to -N ("S4D-real").
        dt = torch.exp(torch.rand(self.d_inner) * (math.log(0.1) - math.log(0.001)) + math.log(0.001)).clamp(min=1e-4)
        with torch.no_grad():
            nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(self.d_inner, 1))  # (E, N)
        self.D = nn.Parameter(torch.ones(self.d_inner))  # (E,)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    def initial_state(self, batch: int) -> Mamba1State:
        """The state before the first step: zeros."""
        like = self.A_log
        conv = like.new_zeros(batch, self.d_inner, self.d_conv - 1, dtype=torch.float32)
        return Mamba1State(conv, like.new_zeros(batch, self.d_inner, self.d_state, dtype=torch.float32))

    def step(self, u: Tensor, state: Mamba1State) -> tuple[Tensor, Mamba1State]:
        """One element: `u` (B, D) -> (B, D) and the next state. Standard operators only, so that it exports."""
        x, z = torch.split(self.in_proj(u), self.d_inner, dim=-1)
        window = torch.cat([state.conv, x.float().unsqueeze(-1)], dim=-1)  # (B, E, K)
        x = F.silu((window * self.conv1d.weight.squeeze(1)).sum(-1) + cast(Tensor, self.conv1d.bias))  # (B, E)
        dt, B, C = self._selected(x)
        decay = torch.exp(-dt.unsqueeze(-1) * torch.exp(self.A_log))  # (B, E, N)
        h = state.ssm * decay + (dt * x).unsqueeze(-1) * B.unsqueeze(-2)
        y = (h * C.unsqueeze(-2)).sum(-1) + self.D * x  # (B, E)
        return self.out_proj(y * F.silu(z)), Mamba1State(window[..., 1:], h)

    def forward(self, u: Tensor, state: Mamba1State | None = None) -> tuple[Tensor, Mamba1State]:
        """A stretch: `u` (B, L, D) -> (B, L, D) and the state after it, from `state` or from the beginning."""
        state = self.initial_state(u.shape[0]) if state is None else state
        x, z = torch.split(self.in_proj(u), self.d_inner, dim=-1)
        window = torch.cat([state.conv, x.float().transpose(1, 2)], dim=-1)  # (B, E, K-1+L)
        next_conv = window[..., window.shape[-1] - (self.d_conv - 1) :]
        x = F.silu(self.conv1d(window)).transpose(1, 2).float()  # (B, L, E)
        dt, B, C = self._selected(x)
        y, h = scan(dt * x, dt, -torch.exp(self.A_log), B, C, state.ssm, self.chunk)
        return self.out_proj((y + self.D * x) * F.silu(z)), Mamba1State(next_conv, h)

    def _selected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the input chooses: `x` (..., E) -> dt (..., E), B and C (..., N), float32."""
        dt, B, C = torch.split(self.x_proj(x), [self.dt_rank, self.d_state, self.d_state], dim=-1)
        return F.softplus(self.dt_proj(dt).float()), B.float(), C.float()


def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """The recurrence `h = exp(dt A) h + x B^T, y = h C` over L steps, `chunk` at a time, so few that they fit a cache.

    `x` and `dt` (B, L, E), `A` (E, N), `B` and `C` (B, L, N), `h` (B, E, N) -> y (B, L, E), h.
    """
    x, dt, B, C = (value.transpose(0, 1) for value in (x, dt, B, C))  # (L, B, ...): a step lies in one piece
    recurrence: Callable[[Tensor, Tensor, Tensor], Tensor] = _Recurrence.apply
    outputs = []
    for start in range(0, x.shape[0], chunk):
        part = slice(start, start + chunk)
        decay = torch.exp(dt[part].unsqueeze(-1) * A)  # (l, B, E, N)
        states = recurrence(decay, x[part].unsqueeze(-1) * B[part].unsqueeze(-2), h)
        outputs.append((states @ C[part].unsqueeze(-1)).squeeze(-1))  # (l, B, E)
        h = states[-1]
    return torch.cat(outputs).transpose(0, 1), h


class _Recurrence(torch.autograd.Function):
    """`h_t = decay_t * h_(t-1) + write_t` for every t, one fused product and sum a step, both ways.

    A scan in log2(L) sweeps does log2(L) times the work and keeps each sweep for the gradient; a processor is fastest
    with the plain loop, once autograd need not look into it.
    """

    @staticmethod
    def forward(ctx: Any, decay: Tensor, write: Tensor, first: Tensor) -> Tensor:
        """`decay` and `write` (L, B, E, N), `first` (B, E, N) -> every h (L, B, E, N)."""
        states, h = torch.empty_like(write), first
        for t in range(len(write)):
            h = torch.addcmul(write[t], decay[t], h, out=states[t])
        ctx.save_for_backward(decay, states, first)
        return states

    @staticmethod
    def backward(ctx: Any, *from_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same recurrence from the end to the beginning."""
        decay, states, first = ctx.saved_tensors
        gradient = from_states[0].contiguous().clone()  # (L, B, E, N) of each h
        for t in range(len(gradient) - 1, 0, -1):
            gradient[t - 1].addcmul_(decay[t], gradient[t])
        before = torch.cat([first.unsqueeze(0), states[:-1]])
        return gradient * before, gradient, decay[0] * gradient[0]
