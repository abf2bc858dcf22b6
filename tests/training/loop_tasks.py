"""Small tasks that a training loop is tried with, each with what goes wrong in its own way."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.training.losses.contrast import nt_xent
from hypnostream.training.running.loop import LoopSettings, Share, chance


class WithTeacher(nn.Module):
    """A net with dropout, tied weights, a weight that nothing uses, one that does not learn, and an EMA teacher."""

    teacher: Tensor

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 8)
        self.tied = self.second
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(8, 3)
        self.unused = nn.Parameter(torch.ones(2))
        self.fixed = nn.Parameter(torch.ones(3), requires_grad=False)
        self.register_buffer("teacher", torch.zeros(3, 8))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(torch.tanh(self.tied(torch.tanh(self.first(x)))))
        out: Tensor = self.out(hidden) * self.fixed
        return out


LOOP = LoopSettings(passes=3, warmup_steps=3, average=0.9, learning_rate=1e-2)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run is asked for."""

    dropout: float = 0.3
    rows: int = 5
    rounds: int = 3
    yields: int = 2
    loop: LoopSettings = LOOP


class Regression:
    """Several steps a round; the target is partly an EMA teacher's. Rows are dealt to the processes."""

    def __init__(self, recipe: Recipe) -> None:
        torch.manual_seed(recipe.loop.seed)
        self.recipe = recipe
        self.module = WithTeacher(recipe.dropout)
        self.started: list[tuple[int, int]] = []

    def rounds(self, pass_index: int) -> int:
        return self.recipe.rounds

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        self.started.append((pass_index, round_index))
        generator = chance(self.recipe.loop.seed, pass_index, round_index)
        carried = torch.zeros(self.recipe.rows, 6)
        for _ in range(self.recipe.yields):
            x = torch.randn(self.recipe.rows, 6, generator=generator) + carried
            own = list(share.rows(len(x)))
            target = torch.sin(x[:, :3]) + self.module.teacher.mean() * 0.1
            wrong = (self.module(x[own]) - target[own]).square().mean(-1)
            loss = wrong.sum() / share.total(len(own))
            yield {"loss": loss, "wrong": loss.detach() * 2}
            carried = x.detach() * 0.5

    def stepped(self) -> None:
        self.module.teacher.lerp_(self.module.out.weight.detach(), 0.1)


class Contrast:
    """NT-Xent between two views: each process's rows are told from those of all."""

    def __init__(self, rows: int = 5) -> None:
        torch.manual_seed(1)
        self.rows = rows
        self.module = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))

    def rounds(self, pass_index: int) -> int:
        return 4

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        generator = chance(7, pass_index, round_index)
        x = torch.randn(self.rows, 6, generator=generator)
        noise = torch.randn(2, self.rows, 6, generator=generator) * 0.3
        own = list(share.rows(self.rows))
        contrast = nt_xent(self.module((x + noise[0])[own]), self.module((x + noise[1])[own]), 0.5, share)
        masked = F.mse_loss(self.module(x[own]), x[own, :4], reduction="sum") / share.total(len(own) * 4)
        yield {"loss": contrast + masked, "contrast": contrast, "masked": masked}

    def stepped(self) -> None:
        pass
