"""The one training loop: what a step is comes from a task, everything around it is here.

A task says its rounds and yields losses; after each (or every few: `accumulate`) the loop makes an optimiser's step.
All chance comes from `chance(seed, pass, round)`, never from a global generator, so a run that was stopped goes on
exactly as it would have. Dropout inside modules is the exception, so the global generator is set before each round.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from hypnostream.errors import UserError
from hypnostream.ranges import above, at_least, below_one, between
from hypnostream.training.running.checkpoint import TrainingState, restore, written
from hypnostream.training.running.device import device_named


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """`average` is the decay of the running mean of the weights, which is what a run returns (0: the last weights).

    `accumulate`: how many losses one optimiser's step is made of (their mean). `precision` "bfloat16": matrix products
    in it, all else in float32. `device` "auto": a GPU where there is one.
    """

    passes: int = 20
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    betas: tuple[float, float] = (0.9, 0.98)
    warmup_steps: int = 50
    clip: float = 1.0
    average: float = 0.0
    seed: int = 0
    accumulate: int = 1
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda", "auto"] = "cpu"

    def __post_init__(self) -> None:
        at_least(1, self, "passes", "accumulate")
        above(0, self, "learning_rate", "clip")
        at_least(0, self, "weight_decay", "warmup_steps")
        below_one(self, "betas", "average")
        between(0, 2**63 - 1, self, "seed")


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a round this process has, when several work together: rows `rank`, `rank + world`, ...

    This one is for a process alone; `distributed.share` gives that of several.
    """

    rank: int = 0
    world: int = 1

    def rows(self, count: int) -> range:
        """This process's rows of `count`."""
        return range(self.rank, count, self.world)

    def total(self, value: float) -> float:
        """The sum of `value` over all processes: by it a loss that sums over rows becomes the mean over all."""
        return value

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes, dealt ones in the order of the whole, with gradient to one's own.

        What other processes' losses say of one's rows does not come back, so each descends the whole contrast, of
        which its rows' gradient is then the whole one, and tells its part: see `losses.contrast.nt_xent`.
        """
        return rows

    def summed(self, losses: dict[str, float], learned: Sequence[Tensor]) -> dict[str, float]:
        """The losses added up over all processes, and in place the gradients of `learned`."""
        return losses

    def broadcast(self, content: bytes) -> bytes:
        """The first process's `content`."""
        return content


class Task(Protocol):
    """What is trained, on what."""

    @property
    def module(self) -> nn.Module:
        """Whose parameters learn (those that require a gradient). All state is in it, an EMA teacher too."""

    def rounds(self, pass_index: int) -> int:
        """How many rounds a pass has."""

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """One round: each yield is a step. "loss" is what is descended; the others are told in the curves.

        Each is this process's part: the parts add up to the value of the whole batch. Every process yields as often,
        one without rows a zero. Tensors are made on the device of the module.
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
    task: Task,
    settings: LoopSettings,
    progress: Callable[[int, int, dict[str, float]], None] = lambda *_: None,
    share: Share | None = None,
    checkpoint: bytes | None = None,
    after_round: Callable[[TrainingState], None] = lambda _: None,
) -> list[dict[str, float]]:
    """Train; returns the mean of each loss in each pass. The task's module ends with the averaged weights.

    `progress` is told each pass: how many are done, of how many, the means. From a `checkpoint` (checkpoint.written)
    it goes on where that was; `after_round` is called wherever one can be made. Raises UserError when a loss is no
    number, or the checkpoint is another model's.
    """
    loop = _begun(task, settings, Share() if share is None else share, checkpoint)
    place = loop.state.place
    with repeatable(loop.device):
        while place.pass_index < settings.passes:
            loop.one_pass(after_round)
            place.curves.append({name: total / max(place.count, 1) for name, total in place.sums.items()})
            place.pass_index, place.round_index, place.sums, place.count = place.pass_index + 1, 0, {}, 0
            progress(place.pass_index, settings.passes, place.curves[-1])
            after_round(loop.state)
    with torch.no_grad():
        for weight, mean in zip(loop.learned, loop.state.averaged, strict=True):
            weight.copy_(mean)
    task.module.eval()
    return place.curves


def _begun(task: Task, settings: LoopSettings, share: Share, checkpoint: bytes | None) -> "_Loop":
    """The loop where the checkpoint left it, or at the beginning; the first process's, whatever the others have."""
    device = device_named(settings.device)
    module = task.module.to(device)
    learned = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        learned, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=settings.betas
    )
    state = TrainingState(module, optimiser, [p.detach().clone() for p in learned])
    if checkpoint is None and share.world > 1:
        checkpoint = written(state)
    if checkpoint is not None:
        restore(state, share.broadcast(checkpoint))
    return _Loop(task, settings, share, device, state, learned)


@dataclass(slots=True)
class _Loop:
    """What a pass and a step need."""

    task: Task
    settings: LoopSettings
    share: Share
    device: torch.device
    state: TrainingState
    learned: list[nn.Parameter]

    def one_pass(self, after_round: Callable[[TrainingState], None]) -> None:
        """The rounds of a pass from the place on. A step may be of several rounds: between them nothing is kept."""
        settings, place = self.settings, self.state.place
        rounds = self.task.rounds(place.pass_index)
        waiting: list[dict[str, float]] = []
        done = 0.0
        while place.round_index < rounds:
            started_s = time.monotonic()
            here = place.pass_index, place.round_index
            torch.manual_seed(chance(settings.seed, *here, self.share.rank).initial_seed())
            self.state.module.train()
            if not waiting:  # a step has the learning rate of where it began
                done = (place.pass_index + place.round_index / rounds) / settings.passes
            for losses in _in_precision(self.task.losses(*here, self.share), self.device, settings.precision):
                if losses["loss"].requires_grad:  # not where this process had no rows
                    losses["loss"].backward()  # type: ignore[no-untyped-call]
                waiting.append({name: float(value.detach()) for name, value in losses.items()})
                if len(waiting) == settings.accumulate:
                    self.step(waiting, done)
            place.round_index += 1
            if waiting and place.round_index == rounds:
                self.step(waiting, done)
            place.seconds += time.monotonic() - started_s
            if not waiting and place.round_index < rounds:
                after_round(self.state)

    def step(self, waiting: list[dict[str, float]], done: float) -> None:
        """One optimiser's step with the mean of the gradients that wait; their losses go into the sums."""
        settings, place = self.settings, self.state.place
        names = dict.fromkeys(name for each in waiting for name in each)
        told = self.share.summed({name: sum(each.get(name, 0.0) for each in waiting) for name in names}, self.learned)
        if not math.isfinite(told["loss"]):
            raise UserError(
                f"the loss is {told['loss']} at pass {place.pass_index + 1}, step {place.step + 1}; lower "
                f"learning_rate (it is {settings.learning_rate}), or look at the data of this round"
            )
        if len(waiting) > 1:
            for weight in self.learned:
                if weight.grad is not None:
                    weight.grad /= len(waiting)
        for group in self.state.optimiser.param_groups:
            group["lr"] = rate(settings, place.step, done)
        nn.utils.clip_grad_norm_(self.learned, settings.clip)
        self.state.optimiser.step()
        self.state.optimiser.zero_grad()
        self.task.stepped()
        place.step, place.count = place.step + 1, place.count + len(waiting)
        decay = min(settings.average, place.step / (place.step + 10)) if settings.average else 0.0
        for mean, weight in zip(self.state.averaged, self.learned, strict=True):
            mean.lerp_(weight.detach(), 1 - decay)
        for name, value in told.items():
            place.sums[name] = place.sums.get(name, 0.0) + value
        waiting.clear()


def _in_precision(
    losses: Iterator[dict[str, Tensor]], device: torch.device, precision: str
) -> Iterator[dict[str, Tensor]]:
    """Each of the losses, made in that precision; what is done between them, a backward pass, is not."""
    while True:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            each = next(losses, None)
        if each is None:
            return
        yield each


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Within it a CPU adds up in one order however many threads it has at work: the same bits from the same seed."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(before or device.type == "cpu")
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
