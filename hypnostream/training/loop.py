"""The one training loop: what a step is comes from a task, everything around it is here.

A task says its rounds and yields losses; after each the loop makes an optimiser's step. All chance comes from
`chance(seed, pass, round)`, never from a global generator, so a run that was stopped goes on exactly as it would have.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """`average` is the decay of the running mean of the weights, which is what a run returns (0: the last weights)."""

    passes: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 50
    clip: float = 1.0
    average: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a round this process has, when several work together: rows `rank`, `rank + world`, ..."""

    rank: int = 0
    world: int = 1

    def rows(self, count: int) -> range:
        """This process's rows of `count`."""
        return range(self.rank, count, self.world)

    def total(self, value: float) -> float:
        """The sum of `value` over all processes: by it a loss that sums over rows becomes the mean over all."""
        return value

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of the whole, with gradient to one's own: contrast needs all."""
        return rows


class Task(Protocol):
    """What is trained, on what."""

    @property
    def module(self) -> nn.Module:
        """Whose parameters learn (those that require a gradient)."""

    def rounds(self, pass_index: int) -> int:
        """How many rounds a pass has."""

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """One round: each yield is a step. "loss" is what is descended; the others are told in the curves.

        Each is this process's part: the parts add up to the value of the whole batch.
        """

    def stepped(self) -> None:
        """Called after each optimiser's step: where an EMA teacher moves."""


def chance(seed: int, *where: int) -> torch.Generator:
    """A generator for one place in a run, the same whenever one gets there."""
    mixed = seed
    for number in where:
        mixed = (mixed * 1_000_003 + number + 1) % (2**63 - 1)
    return torch.Generator().manual_seed(mixed)


def rate(settings: LoopSettings, step: int, done: float) -> float:
    """The learning rate: warmed up, then along a cosine to nothing; `done` is from 0 to 1."""
    ramp = min(1.0, (step + 1) / max(settings.warmup_steps, 1))
    return settings.learning_rate * ramp * 0.5 * (1 + math.cos(math.pi * done))


def train(
    task: Task, settings: LoopSettings, progress: Callable[[int, int, dict[str, float]], None] = lambda *_: None
) -> list[dict[str, float]]:
    """Train; returns the mean of each loss in each pass. The task's module ends with the averaged weights."""
    learned = [p for p in task.module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        learned, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=settings.betas
    )
    averaged = [p.detach().clone() for p in learned]
    share, step, curves = Share(), 0, list[dict[str, float]]()
    for pass_index in range(settings.passes):
        rounds, sums, count = task.rounds(pass_index), dict[str, float](), 0
        for round_index in range(rounds):
            task.module.train()
            for losses in task.losses(pass_index, round_index, share):
                done = (pass_index + round_index / rounds) / settings.passes
                for group in optimiser.param_groups:
                    group["lr"] = rate(settings, step, done)
                optimiser.zero_grad()
                losses["loss"].backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(learned, settings.clip)
                optimiser.step()
                task.stepped()
                step, count = step + 1, count + 1
                decay = min(settings.average, step / (step + 10)) if settings.average else 0.0
                for mean, weight in zip(averaged, learned, strict=True):
                    mean.lerp_(weight.detach(), 1 - decay)
                for name, value in losses.items():
                    sums[name] = sums.get(name, 0.0) + float(value.detach())
        curves.append({name: total / max(count, 1) for name, total in sums.items()})
        progress(pass_index + 1, settings.passes, curves[-1])
    with torch.no_grad():
        for weight, mean in zip(learned, averaged, strict=True):
            weight.copy_(mean)
    task.module.eval()
    return curves
