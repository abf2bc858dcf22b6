"""What a channel said before: its last token, and its running mean, channel by channel, as carried state.

Both start at zero, so what is remembered should be centred: zero is then what is expected of a channel never seen.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hypnostream.models.leaky_sum import keep_of, leaky_sum

LATEST_CHUNK = 32


class MemoryState(NamedTuple):
    """float32. `total` and `weight` are sums that forget; a channel never seen has zeros."""

    last: Tensor  # (B, C, D)
    total: Tensor  # (B, C, D)
    weight: Tensor  # (B, C)


class ChannelMemory:
    """The last token and the mean of about the last `memory` steps. Nothing here is learned.

    The mean counts one step of zero besides what was seen, so it begins at zero and is never a division by nothing.
    """

    def __init__(self, memory: float) -> None:
        if memory <= 0:
            raise ValueError(f"memory is {memory} steps; it must be above 0")
        self.memory = memory
        self.keep = keep_of(memory)

    def initial_state(self, batch: int, channels: int, width: int, like: Tensor) -> MemoryState:
        """Nothing seen; on the device of `like`."""
        token = like.new_zeros(batch, channels, width, dtype=torch.float32)
        return MemoryState(token, token.clone(), token[..., 0].clone())

    def step(self, tokens: Tensor, mask: Tensor, state: MemoryState) -> tuple[Tensor, Tensor, MemoryState]:
        """One step, this one included: (B, C, D), (B, C) in 0/1 -> last (B, C, D), mean (B, C, D), state.

        A token where the mask is 0 is not read, whatever it holds.
        """
        there = mask.unsqueeze(-1) > 0  # (B, C, 1)
        last = torch.where(there, tokens, state.last)
        total = state.total * self.keep + torch.where(there, tokens, torch.zeros_like(tokens))
        weight = state.weight * self.keep + mask
        return last, total / (weight + 1).unsqueeze(-1), MemoryState(last, total, weight)

    def __call__(self, tokens: Tensor, mask: Tensor, state: MemoryState) -> tuple[Tensor, Tensor, MemoryState]:
        """A stretch: (B, L, C, D), (B, L, C) -> last and mean (B, L, C, D) at each step, and the state after it."""
        there = mask.unsqueeze(-1) > 0  # (B, L, C, 1)
        latest = latest_step(mask)  # (B, L, C) 0: before
        known = torch.cat([state.last.unsqueeze(1), tokens], dim=1)  # (B, 1+L, C, D)
        last = known.gather(1, latest.unsqueeze(-1).expand_as(tokens))
        total = leaky_sum(torch.where(there, tokens, torch.zeros_like(tokens)), state.total, self.memory)
        weight = leaky_sum(mask.float(), state.weight, self.memory)
        return last, total / (weight + 1).unsqueeze(-1), MemoryState(last[:, -1], total[:, -1], weight[:, -1])


def latest_step(mask: Tensor) -> Tensor:
    """Up to each step, the ordinal of the last one in which a channel was there: (B, L, C) -> (B, L, C) int, 0: none.

    By matrices, as opset 17 has no running maximum.
    """
    ordinal = torch.arange(1, mask.shape[1] + 1, device=mask.device).reshape(1, -1, 1)
    outputs = list[Tensor]()
    seen = torch.where(mask > 0, ordinal, torch.zeros_like(ordinal))
    for start in range(0, mask.shape[1], LATEST_CHUNK):
        part = seen[:, start : start + LATEST_CHUNK]
        so_far = torch.ones(part.shape[1], part.shape[1], dtype=part.dtype, device=mask.device).tril()
        latest = (part.transpose(1, 2).unsqueeze(-2) * so_far).amax(-1).transpose(1, 2)  # (B, l, C)
        outputs.append(torch.maximum(latest, outputs[-1][:, -1:]) if outputs else latest)
    return torch.cat(outputs, dim=1)
