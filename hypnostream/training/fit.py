"""The training loop of the stager: whole nights, state carried, gradients cut every few epochs of sleep.

Truncated back-propagation: a batch of nights is read from lights-off to lights-on in segments; the recurrent state is
carried over and detached, so the model lives through whole nights in training as it will at the bedside.
"""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.engine.session import NEVER_S
from hypnostream.models.mamba2 import MambaState
from hypnostream.models.normaliser import LevelState
from hypnostream.models.stager import Stager, StagerConfig, StagerState
from hypnostream.models.token_features import LEVEL
from hypnostream.training.augment import AugmentSettings, ages_s, other_amplifier, sensors_lost
from hypnostream.training.token_night import TokenNight


@dataclass(frozen=True, slots=True)
class FitSettings:
    """The recipe. `class_power` weighs stages by their rarity to that power; `segment` is in epochs of sleep."""

    passes: int = 24
    batch: int = 8
    segment: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    warmup_steps: int = 50
    average: float = 0.995
    class_power: float = 0.0
    seed: int = 0
    model: StagerConfig = field(default_factory=StagerConfig)
    augment: AugmentSettings = field(default_factory=AugmentSettings)


@dataclass(slots=True)
class Batch:
    """Nights side by side, padded at the end: shape (B, L, C, 19), level (B, L, C, 7), mask (B, L, C), stage (B, L)."""

    shape: Tensor
    level: Tensor
    mask: Tensor
    stage: Tensor

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
    return Batch(
        padded([n.shape[s:] for n, s in cut], 0),
        padded([n.level[s:] for n, s in cut], 0),
        padded([n.mask[s:] for n, s in cut], 0),
        padded([n.stage[s:] for n, s in cut], -1).long(),
    )


def set_statistics(model: Stager, nights: Sequence[TokenNight]) -> None:
    """Give the model the mean and spread of each shape feature over the training nights."""
    shape = np.concatenate([n.shape for n in nights]).astype(np.float64)
    mask = np.concatenate([n.mask for n in nights]).astype(np.float64)[..., None]
    count = np.maximum(mask.sum(0), 1)
    mean = (shape * mask).sum(0) / count
    std = np.sqrt((np.square(shape - mean) * mask).sum(0) / count)
    model.shape_mean.copy_(torch.from_numpy(mean))
    model.shape_std.copy_(torch.from_numpy(np.maximum(std, 1e-2)))
    level = np.concatenate([n.level for n in nights]).astype(np.float64)
    model.running_level.origin.copy_(torch.from_numpy(np.concatenate([(level * mask).sum(0) / count, mean], axis=1)))
    model.running_level.prior_spread[:, LEVEL:].copy_(model.shape_std)


def detached(state: StagerState) -> StagerState:
    """The same state, its history forgotten by the gradient."""
    layers = tuple(MambaState(layer.conv.detach(), layer.ssm.detach()) for layer in state.layers)
    return StagerState(LevelState(*(value.detach() for value in state.level)), layers)


def class_weights(nights: Sequence[TokenNight], power: float) -> Tensor:
    """A weight a stage, mean 1 over the scored epochs."""
    stages = np.concatenate([n.stage for n in nights])
    counts = torch.from_numpy(np.bincount(stages[stages >= 0], minlength=5).astype(np.float32)).clamp(min=1)
    weight = (counts.sum() / counts) ** power
    return weight * counts.sum() / (weight * counts).sum()


def fit(
    nights: Sequence[TokenNight],
    settings: FitSettings,
    statistics_of: Sequence[TokenNight] | None = None,
    progress: Callable[[int, int, float], None] = lambda *_: None,
    curve: Path | None = None,
) -> Stager:
    """Train a stager on `nights`; deterministic on CPU for a seed. Returns the running average of its weights.

    `statistics_of` are the nights whose shape statistics it is given (default: all). `progress` is told the pass, how
    many there are and the mean loss. `curve` is a CSV of the loss of each pass.
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    model = Stager(settings.model)
    set_statistics(model, statistics_of or nights)
    # The front-end's matrices and the statistics stay as they are; only what is learned is averaged.
    average = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    weights = class_weights(nights, settings.class_power)
    losses: list[float] = []
    step = 0
    for epoch in range(settings.passes):
        order = torch.randperm(len(nights), generator=generator).tolist()
        total, count = 0.0, 0
        for first in range(0, len(order), settings.batch):
            chosen = [nights[i] for i in order[first : first + settings.batch]]
            done = (epoch + first / len(order)) / settings.passes
            for group in optimiser.param_groups:
                ramp = min(1.0, (step + 1) / settings.warmup_steps)
                group["lr"] = settings.learning_rate * ramp * 0.5 * (1 + math.cos(math.pi * done))
            for loss, n in _train_batch(model, chosen, settings, weights, generator, optimiser):
                total, count, step = total + loss * n, count + n, step + 1
                decay = min(settings.average, step / (step + 10))
                for name, value in model.named_parameters():
                    average[name].lerp_(value.detach(), 1 - decay)
        losses.append(total / max(count, 1))
        progress(epoch + 1, settings.passes, losses[-1])
    model.load_state_dict(average, strict=False)
    if curve is not None:
        with curve.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["pass", "loss"])
            writer.writerows(enumerate(losses, start=1))
    return model.eval()


def _train_batch(
    model: Stager,
    nights: Sequence[TokenNight],
    settings: FitSettings,
    weights: Tensor,
    generator: torch.Generator,
    optimiser: torch.optim.Optimizer,
) -> list[tuple[float, int]]:
    """One batch of nights from beginning to end: an optimiser step a segment. Returns (loss, epochs) of each."""
    augment = settings.augment
    starts = []
    for night in nights:
        late = torch.rand(1, generator=generator).item() < augment.late_start
        latest = min(augment.late_start_epochs, len(night) - settings.segment)
        starts.append(int(torch.randint(latest + 1, (1,), generator=generator)) if late and latest > 0 else 0)
    batch = collate(nights, starts)
    mask = sensors_lost(batch.mask, augment, generator)
    shape = other_amplifier(batch.shape, model.shape_std, augment, generator)
    age = ages_s(mask, NEVER_S)
    model.train()
    state = model.initial_state(len(nights))
    results = []
    for start in range(0, batch.length, settings.segment):
        part = slice(start, start + settings.segment)
        logits, state = model(shape[:, part], batch.level[:, part], mask[:, part], age[:, part], state)
        state = detached(state)
        scored = batch.stage[:, part] >= 0
        count = int(scored.sum())
        if count == 0:
            continue
        loss = F.cross_entropy(logits[scored], batch.stage[:, part][scored], weight=weights)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        results.append((loss.item(), count))
    return results


def settings_as_dict(settings: FitSettings) -> dict[str, object]:
    """For the record that a run writes."""
    return asdict(settings)
