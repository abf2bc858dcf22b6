"""Attention to the present and to a bounded past: what was seen last, and which of it matters now.

Scaled dot products in several heads after Vaswani et al., "Attention Is All You Need" (2017), arXiv:1706.03762, with a
learned bias for each distance into the past, after Shaw et al. (2018), arXiv:1803.02155, in the scalar form of Raffel
et al. (2020), arXiv:1910.10683. The keys and values of the last `past` elements are the state, so that a night of any
length costs the same a step.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PastState(NamedTuple):
    """The last elements, the newest at the end; float32."""

    keys: Tensor  # (B, past, D)
    values: Tensor  # (B, past, D)
    there: Tensor  # (B, past) 1 where an element was seen, 0 before the beginning


class PastAttention(nn.Module):
    """Each element looks at itself and at the `past` elements before it.

    It reads its keys and values from `source` where one is given, element by element beside `u`: cross-attention.
    """

    def __init__(self, d_model: int, heads: int = 4, past: int = 25, chunk: int = 64) -> None:
        super().__init__()
        if d_model % heads:
            raise ValueError(f"heads {heads} do not divide d_model {d_model}; choose a number that does")
        if past < 1:
            raise ValueError(f"past {past} leaves attention nothing to look back at; choose 1 or more")
        self.d_model, self.heads, self.past, self.chunk = d_model, heads, past, chunk
        self.query_proj = nn.Linear(d_model, d_model, bias=False)
        self.source_proj = nn.Linear(d_model, 2 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)
        self.distance_bias = nn.Parameter(torch.zeros(heads, past + 1))  # column 0 is the present

    def initial_state(self, batch: int) -> PastState:
        """The state before the first step: nothing there."""
        zeros = self.distance_bias.new_zeros(batch, self.past, self.d_model, dtype=torch.float32)
        return PastState(zeros, zeros.clone(), zeros[..., 0].clone())

    def step(self, u: Tensor, state: PastState, source: Tensor | None = None) -> tuple[Tensor, PastState]:
        """One element: `u` (B, D) -> (B, D) and the next state."""
        seen = self._extended((u if source is None else source).unsqueeze(1), state)  # (B, past + 1, ...)
        bias = self.distance_bias.flip(-1).unsqueeze(1)  # (H, 1, past + 1) the oldest first
        y = self._attended(u.unsqueeze(1), seen, bias)[:, 0]
        return y, PastState(seen.keys[:, 1:], seen.values[:, 1:], seen.there[:, 1:])

    def forward(
        self, u: Tensor, state: PastState | None = None, source: Tensor | None = None
    ) -> tuple[Tensor, PastState]:
        """A stretch: `u` (B, L, D) -> (B, L, D) and the state after it, from `state` or from the beginning."""
        state = self.initial_state(u.shape[0]) if state is None else state
        seen = self._extended(u if source is None else source, state)  # (B, past + L, ...)
        outputs = []
        for start in range(0, u.shape[1], self.chunk):  # a chunk needs no key from before its own past
            queries = u[:, start : start + self.chunk]
            count = queries.shape[1]
            part = PastState(*(value[:, start : start + self.past + count] for value in seen))
            t = torch.arange(count, device=u.device)
            back = t[:, None] + self.past - torch.arange(self.past + count, device=u.device)  # (l, past + l)
            visible = (back >= 0) & (back <= self.past)
            bias = self.distance_bias[:, back.clamp(0, self.past)].masked_fill(~visible, -torch.inf)
            outputs.append(self._attended(queries, part, bias))
        return torch.cat(outputs, dim=1), PastState(*(value[:, value.shape[1] - self.past :] for value in seen))

    def _extended(self, source: Tensor, state: PastState) -> PastState:
        """The past with a stretch behind it: `source` (B, L, D) -> (B, past + L, ...)."""
        keys, values = torch.split(self.source_proj(source).float(), self.d_model, dim=-1)
        new = PastState(keys, values, torch.ones_like(keys[..., 0]))
        return PastState(*(torch.cat([old, more], dim=1) for old, more in zip(state, new, strict=True)))

    def _attended(self, u: Tensor, seen: PastState, bias: Tensor) -> Tensor:
        """`u` (B, L, D) over `seen` (B, T, ...), `bias` (H, L, T), -inf where it must not look -> (B, L, D)."""
        q, k, v = (self._by_head(x) for x in (self.query_proj(u), seen.keys, seen.values))
        scores = q @ k.transpose(-1, -2) * (self.d_model // self.heads) ** -0.5 + bias  # (B, H, L, T)
        nothing = (seen.there < 0.5).unsqueeze(1).unsqueeze(1)  # (B, 1, 1, T)
        weights = F.softmax(scores.masked_fill(nothing, -torch.inf), dim=-1)
        y: Tensor = self.out_proj((weights @ v).transpose(1, 2).flatten(2))
        return y

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, D / H)."""
        return x.reshape(x.shape[0], -1, self.heads, self.d_model // self.heads).transpose(1, 2)
