"""What is put in place of a missing token by those who imagine nothing: the baselines of the imaginator.

Each has the imaginator's interface, so that one can stand where the other stood. All of them weigh every channel alike,
as a model does that is not told what was filled in; their variance is the same for all.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hypnostream.models.channel_memory import ChannelMemory, MemoryState
from hypnostream.models.imaginator import Imagined

NO_STATE: tuple[Tensor, ...] = ()


class _Constant(nn.Module):
    """A fill that is the same at every step; subclasses have `value` (C, D)."""

    value: Tensor

    def __init__(self, channels: int, d_model: int) -> None:
        super().__init__()
        self.channels, self.d_model = channels, d_model

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """Nothing is carried."""
        return NO_STATE

    def forward(
        self, tokens: Tensor, mask: Tensor, age_s: Tensor, context: Tensor | None = None, state: Any = None
    ) -> tuple[Imagined, tuple[Tensor, ...]]:
        """As `Imaginator.forward`."""
        return _filled(tokens, mask, self.value.expand_as(tokens)), NO_STATE

    def step(
        self, tokens: Tensor, mask: Tensor, age_s: Tensor, context: Tensor | None, state: tuple[Tensor, ...]
    ) -> tuple[Imagined, tuple[Tensor, ...]]:
        """As `Imaginator.step`."""
        return _filled(tokens, mask, self.value.expand_as(tokens)), NO_STATE

    def weights(self, imagined: Imagined, mask: Tensor) -> Tensor:
        """All channels alike: (..., C)."""
        return _alike(mask)


class ZeroFill(_Constant):
    """Zeros."""

    def __init__(self, channels: int, d_model: int) -> None:
        super().__init__(channels, d_model)
        self.register_buffer("value", torch.zeros(channels, d_model))


class MeanToken(_Constant):
    """Each channel's mean over the training nights, which `set_mean` is told."""

    def __init__(self, channels: int, d_model: int) -> None:
        super().__init__(channels, d_model)
        self.register_buffer("value", torch.zeros(channels, d_model))

    @torch.no_grad()
    def set_mean(self, tokens: Tensor, mask: Tensor) -> None:
        """Of training tokens (..., C, D) where `mask` (..., C) is 1; a channel that never is keeps what it had."""
        there = mask.unsqueeze(-1) > 0
        total = torch.where(there, tokens, torch.zeros_like(tokens)).flatten(0, -3).sum(0)  # (C, D)
        count = mask.flatten(0, -2).sum(0).unsqueeze(-1)  # (C, 1)
        self.value.copy_(torch.where(count > 0, total / count.clamp(min=1.0), self.value))


class MaskToken(_Constant):
    """A learned token a channel, as in masked autoencoders."""

    def __init__(self, channels: int, d_model: int) -> None:
        super().__init__(channels, d_model)
        self.value = nn.Parameter(torch.randn(channels, d_model) * 0.02)


class _Remembered(nn.Module):
    """A fill out of what a channel said before in this night; zeros until it has said something."""

    def __init__(self, channels: int, d_model: int, memory: float = 240.0) -> None:
        super().__init__()
        self.channels, self.d_model = channels, d_model
        self.memory = ChannelMemory(memory)
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def initial_state(self, batch: int) -> MemoryState:
        """Nothing seen."""
        return self.memory.initial_state(batch, self.channels, self.d_model, self.get_buffer("device_of"))

    def forward(
        self,
        tokens: Tensor,
        mask: Tensor,
        age_s: Tensor,
        context: Tensor | None = None,
        state: MemoryState | None = None,
    ) -> tuple[Imagined, MemoryState]:
        """As `Imaginator.forward`."""
        state = self.initial_state(tokens.shape[0]) if state is None else state
        last, mean, state = self.memory(tokens, mask, state)
        return _filled(tokens, mask, self._chosen(last, mean)), state

    def step(
        self, tokens: Tensor, mask: Tensor, age_s: Tensor, context: Tensor | None, state: MemoryState
    ) -> tuple[Imagined, MemoryState]:
        """As `Imaginator.step`."""
        last, mean, state = self.memory.step(tokens, mask, state)
        return _filled(tokens, mask, self._chosen(last, mean)), state

    def weights(self, imagined: Imagined, mask: Tensor) -> Tensor:
        """All channels alike: (..., C)."""
        return _alike(mask)

    def _chosen(self, last: Tensor, mean: Tensor) -> Tensor:
        raise NotImplementedError


class LastValue(_Remembered):
    """A channel's last token, held."""

    def _chosen(self, last: Tensor, mean: Tensor) -> Tensor:
        return last


class RunningMeanToken(_Remembered):
    """A channel's mean over about the last `memory` steps of this night."""

    def _chosen(self, last: Tensor, mean: Tensor) -> Tensor:
        return mean


FILLS = {"zero": ZeroFill, "last": LastValue, "mean": MeanToken, "running_mean": RunningMeanToken, "mask": MaskToken}


def _filled(tokens: Tensor, mask: Tensor, fill: Tensor) -> Imagined:
    return Imagined(torch.where(mask.unsqueeze(-1) > 0, tokens, fill), fill, torch.zeros_like(mask))


def _alike(mask: Tensor) -> Tensor:
    return torch.full_like(mask, 1 / mask.shape[-1])
