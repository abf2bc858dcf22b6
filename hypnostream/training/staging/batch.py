"""Nights side by side as tensors, and the statistics that a stager is given before it learns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.models.stager import Stager
from hypnostream.training.losses.poly1 import log_rule_weights
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.token_night import TokenNight

ClassRule = Literal["power", "log"]


@dataclass(slots=True)
class Batch:
    """Nights side by side, padded at the end: shape (B, L, C, 19), level (B, L, C, 7), mask (B, L, C), stage (B, L).

    `subject` (B,) numbers the sleepers.
    """

    shape: Tensor
    level: Tensor
    mask: Tensor
    stage: Tensor
    subject: Tensor

    @property
    def length(self) -> int:
        """Epochs of the longest night."""
        return int(self.stage.shape[1])


def collate(nights: Sequence[TokenNight], starts: Sequence[int] | None = None) -> Batch:
    """Nights, each from its start, padded with masked and unscored epochs."""
    starts = [0] * len(nights) if starts is None else starts
    length = max(len(n) - s for n, s in zip(nights, starts, strict=True))

    def padded(arrays: Sequence[NDArray[np.generic]], fill: float) -> Tensor:
        out = np.full((len(arrays), length, *arrays[0].shape[1:]), fill, arrays[0].dtype)
        for row, array in enumerate(arrays):
            out[row, : len(array)] = array
        return torch.from_numpy(out)

    cut = list(zip(nights, starts, strict=True))
    subjects = sorted({n.subject for n in nights})
    return Batch(
        padded([n.shape[s:] for n, s in cut], 0),
        padded([n.level[s:] for n, s in cut], 0),
        padded([n.mask[s:] for n, s in cut], 0),
        padded([n.stage[s:] for n, s in cut], -1).long(),
        torch.tensor([subjects.index(n.subject) for n in nights]),
    )


def set_statistics(model: Stager, nights: Sequence[TokenNight]) -> None:
    """Give the model the mean and spread of each feature over these nights, which are training nights."""

    def whole(arrays: Sequence[NDArray[np.float32]]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays))

    model.inputs.set_statistics(
        whole([n.shape for n in nights]), whole([n.level for n in nights]), whole([n.mask for n in nights])
    )


def class_weights(nights: Sequence[TokenNight] | Sequence[SignalNight], power: float, rule: ClassRule) -> Tensor:
    """A weight a stage (5,), of training nights only: by "power" its rarity to that power, with mean 1 over the scored
    epochs; by "log" CIMSleepNet's rule, `log_rule_weights`, which has no power."""
    stages = np.concatenate([n.stage for n in nights])
    if rule == "log":
        return log_rule_weights(stages)
    counts = torch.from_numpy(np.bincount(stages[stages >= 0], minlength=5).astype(np.float32)).clamp(min=1)
    weight = (counts.sum() / counts) ** power
    return weight * counts.sum() / (weight * counts).sum()
