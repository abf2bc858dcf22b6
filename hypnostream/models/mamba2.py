"""Mamba-2 in plain torch: one parameter set, three forms that agree (step, chunk with carried state, whole sequence).

After Dao and Gu, "Transformers are SSMs" (2024), arXiv:2405.21060; parameter names and shapes are those of mamba-ssm's
`Mamba2`, so that weights trained with its kernels load here. Left out: several groups of B and C, bounds on dt.

Glossary, shapes at line ends:
    B  batch, one row a bed       L  length, in steps          D  d_model
    E  d_inner = expand * D       H  heads = E / P             P  headdim
    N  d_state                    K  d_conv                    C  conv channels = E + 2 N
    u  input    z  gate    x  value    dt  step size    A  decay (< 0)    h  the recurrent state (B, H, P, N)
"""

import math
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.models import mamba_kernels


class MambaState(NamedTuple):
    """What one layer carries from step to step; both in float32, whatever the weights are."""

    conv: Tensor  # (B, C, K-1) the last inputs of the convolution
    ssm: Tensor  # (B, H, P, N)


class GatedRMSNorm(nn.Module):
    """RMSNorm of `y * silu(z)`."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, y: Tensor, z: Tensor) -> Tensor:
        """`y` and `z` (..., E) -> (..., E)."""
        y = y * F.silu(z)
        return y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Mamba2(nn.Module):
    """One Mamba-2 mixer, uni-directional. `forward` reads a stretch of any length, `step` one element.

    `kernels` says what a stretch is scanned by: "torch", "mamba-ssm" (a GPU), or "auto": the second where it can run.
    Where `any_length` is set, `forward` is exported for short stretches of any length, as one chunk each.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 16,
        d_conv: int = 4,
        expand: int = 2,
        headdim: int = 32,
        chunk: int = 64,
        kernels: str = "auto",
    ) -> None:
        super().__init__()
        if kernels not in mamba_kernels.KERNELS:
            raise ValueError(f"kernels {kernels!r} are not known; choose one of {', '.join(mamba_kernels.KERNELS)}")
        self.kernels = kernels
        self.any_length = False
        self.d_model, self.d_state, self.d_conv, self.headdim, self.chunk = d_model, d_state, d_conv, headdim, chunk
        self.d_inner = expand * d_model
        if self.d_inner % headdim:
            raise ValueError(f"headdim {headdim} does not divide d_inner {self.d_inner}; choose one that does")
        self.heads = self.d_inner // headdim
        self.conv_width = self.d_inner + 2 * d_state

        self.in_proj = nn.Linear(d_model, 2 * self.d_inner + 2 * d_state + self.heads, bias=False)
        self.conv1d = nn.Conv1d(self.conv_width, self.conv_width, d_conv, groups=self.conv_width)
        # dt starts log-uniform in [1e-3, 1e-1] after its softplus, as in the paper; A uniform in [1, 16].
        dt = torch.exp(torch.rand(self.heads) * (math.log(0.1) - math.log(0.001)) + math.log(0.001)).clamp(min=1e-4)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))  # (H,)
        self.A_log = nn.Parameter(torch.log(torch.empty(self.heads).uniform_(1, 16)))  # (H,)
        self.D = nn.Parameter(torch.ones(self.heads))  # (H,)
        self.norm = GatedRMSNorm(self.d_inner)
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=False)

    def initial_state(self, batch: int) -> MambaState:
        """The state before the first step: zeros."""
        like = self.A_log
        conv = like.new_zeros(batch, self.conv_width, self.d_conv - 1, dtype=torch.float32)
        ssm = like.new_zeros(batch, self.heads, self.headdim, self.d_state, dtype=torch.float32)
        return MambaState(conv, ssm)

    def step(self, u: Tensor, state: MambaState) -> tuple[Tensor, MambaState]:
        """One element: `u` (B, D) -> (B, D) and the next state. Standard operators only, so that it exports."""
        z, xBC, dt = torch.split(self.in_proj(u), [self.d_inner, self.conv_width, self.heads], dim=-1)
        window = torch.cat([state.conv, xBC.unsqueeze(-1)], dim=-1)  # (B, C, K)
        xBC = F.silu((window * self.conv1d.weight.squeeze(1)).sum(-1) + cast(Tensor, self.conv1d.bias))  # (B, C)
        x, B, C = torch.split(xBC, [self.d_inner, self.d_state, self.d_state], dim=-1)
        x = x.reshape(-1, self.heads, self.headdim, 1)  # (B, H, P, 1)
        dt = F.softplus(dt + self.dt_bias).reshape(-1, self.heads, 1, 1)
        # One reshape each, not an unsqueeze a dimension: at one bed a step costs what its number of operators does.
        B, C = B.reshape(-1, 1, 1, self.d_state), C.reshape(-1, 1, self.d_state, 1)
        decay = torch.exp(dt * -torch.exp(self.A_log).reshape(-1, 1, 1))  # (B, H, 1, 1)
        h = state.ssm * decay + dt * x * B  # (B, H, P, N)
        y = h @ C + self.D.reshape(-1, 1, 1) * x  # (B, H, P, 1)
        y = self.norm(y.reshape(-1, self.d_inner), z)
        return self.out_proj(y), MambaState(window[..., 1:], h)

    def forward(self, u: Tensor, state: MambaState | None = None) -> tuple[Tensor, MambaState]:
        """A stretch: `u` (B, L, D) -> (B, L, D) and the state after it, from `state` or from the beginning."""
        state = self.initial_state(u.shape[0]) if state is None else state
        # A number, not something to be computed, where a stretch is exported, unless it is for stretches of any length.
        length = u.shape[1] if self.any_length else int(u.shape[1])
        z, xBC, dt = torch.split(self.in_proj(u), [self.d_inner, self.conv_width, self.heads], dim=-1)
        window = torch.cat([state.conv, xBC.transpose(1, 2)], dim=-1)  # (B, C, K-1+L)
        next_conv = window[..., length:]
        xBC = F.silu(self.conv1d(window)).transpose(1, 2)  # (B, L, C)
        x, B, C = torch.split(xBC, [self.d_inner, self.d_state, self.d_state], dim=-1)
        x = x.reshape(-1, length, self.heads, self.headdim)  # (B, L, H, P)
        # Whole vectors of 16: onnxruntime takes the odd ones at an array's end by other instructions, whose last bit
        # differs, and what is said must not depend on how many steps were taken together.
        dt = F.softplus(F.pad(dt + self.dt_bias, (0, -self.heads % 16)))[..., : self.heads]  # (B, L, H)
        A = -torch.exp(self.A_log)
        if self.any_length:
            y, h = _chunks(x * dt.unsqueeze(-1), dt * A, B, C, state.ssm, 1, length)
        else:
            run = mamba_kernels.scan if mamba_kernels.used(self.kernels, u) else scan
            y, h = run(x, dt, A, B, C, state.ssm, self.chunk)
        y = (y + self.D.unsqueeze(-1) * x).reshape(-1, length, self.d_inner)  # (B, L, E)
        return self.out_proj(self.norm(y, z)), MambaState(next_conv, h)


def scan(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, h: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """The recurrence `h = exp(dt A) h + dt x B^T, y = h C` over L steps, `chunk` steps at a time.

    Inside a chunk it is a masked product of matrices (the paper's section 6), between chunks the state is carried.
    `x` (B, L, H, P), `dt` (B, L, H), `A` (H,), `B` and `C` (B, L, N), `h` (B, H, P, N) -> y (B, L, H, P), h.
    """
    x, log_decay = x * dt.unsqueeze(-1), dt * A
    length = int(x.shape[1])
    whole = length - length % chunk
    outputs = []
    for start, stop, count, size in ((0, whole, whole // chunk, chunk), (whole, length, 1, length - whole)):
        if start < stop:
            cut = slice(start, stop)
            part = (
                (x, log_decay, B, C) if stop - start == length else (x[:, cut], log_decay[:, cut], B[:, cut], C[:, cut])
            )
            y, h = _chunks(*part, h, count, size)
            outputs.append(y)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=1)), h


def _chunks(
    x: Tensor, log_decay: Tensor, B: Tensor, C: Tensor, h: Tensor, count: int, size: int
) -> tuple[Tensor, Tensor]:
    """Whole chunks, n = `count` of l = `size` steps, L = n l: `x` (B, L, H, P), `log_decay` (B, L, H), `B` and `C`
    (B, L, N), `h` (B, H, P, N) -> y (B, L, H, P), h.

    All but the state that is carried is of each chunk for itself, and comes out the same however many they are.
    """
    heads, width, d_state = int(x.shape[2]), int(x.shape[3]), int(B.shape[-1])
    causal = torch.ones(size, size, dtype=torch.bool, device=x.device).tril()
    values = x.reshape(-1, count, size, heads, width).transpose(2, 3)  # (B, n, H, l, P)
    B, C = (each.reshape(-1, count, 1, size, d_state) for each in (B, C))  # the same for all heads
    # A running sum as a product: an exported chunk is then of operators that every runtime has.
    total = causal.to(log_decay.dtype) @ log_decay.reshape(-1, count, size, heads)
    total = total.transpose(2, 3).unsqueeze(-1)  # (B, n, H, l, 1) since the chunk began
    between = total - total.transpose(-1, -2)  # (B, n, H, l, l) from step s (column) to step t (row)
    weight = torch.exp(between.masked_fill(~causal, -torch.inf))  # (B, n, H, l, l)
    scores = (C @ B.transpose(-1, -2)) * weight  # (B, n, H, l, l)
    end = total[:, :, :, -1:]  # (B, n, H, 1, 1)
    written = (values * torch.exp(end - total)).transpose(-1, -2) @ B  # (B, n, H, P, N)
    h, before = h.unsqueeze(1), []  # (B, 1, H, P, N)
    for decay, new in zip(torch.split(torch.exp(end), 1, 1), torch.split(written, 1, 1), strict=True):
        before.append(h)
        h = h * decay + new
    carried = C @ torch.cat(before, 1).transpose(-1, -2) * torch.exp(total)  # (B, n, H, l, P)
    y = (scores @ values + carried).transpose(2, 3).reshape(-1, count * size, heads, width)
    return y, h.reshape(-1, heads, width, d_state)
