"""How much of a label is in frozen features: a linear probe and a small network, on people that neither has met.

The test subjects are in nothing but the last figures: a probe is fitted on some of the training subjects and chosen
(the network's pass, and for a yes-or-no task the threshold) on others of them. `fit_probe` is never given
the test.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.engine.agreement import Agreement, agreement
from hypnostream.errors import UserError
from hypnostream.ranges import above, at_least, below_one, between, inside
from hypnostream.training.evaluation.binary import BinaryAgreement, binary_metrics
from hypnostream.training.nights.splits import in_order_of_chance
from hypnostream.training.running.loop import chance


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """`hidden` are the widths of the small network; the paper's is (256, 256) with dropout 0.5.

    `chosen_on` is the share of the training subjects that chooses; `ridge` weighs the linear probe's squared weights.
    """

    hidden: tuple[int, ...] = (64, 64)
    dropout: float = 0.5
    passes: int = 30
    batch: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    ridge: float = 1e-4
    chosen_on: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        at_least(1, self, "hidden", "passes", "batch")
        below_one(self, "dropout")
        above(0, self, "learning_rate")
        at_least(0, self, "weight_decay", "ridge")
        inside(0, 1, self, "chosen_on")
        between(0, 2**63 - 1, self, "seed")


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Frozen `features` (N, D) float32, their `labels` (N,), -1 where nobody said, and whose they are (N,)."""

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    subjects: NDArray[np.str_]

    def of(self, chosen: NDArray[np.bool_]) -> "Labelled":
        """Some of the rows."""
        return Labelled(self.features[chosen], self.labels[chosen], self.subjects[chosen])


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A fitted probe. `threshold` is what a yes needs, of two classes."""

    module: nn.Module
    mean: Tensor
    spread: Tensor
    threshold: float = 0.5

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) -> (N, K)."""
        self.module.eval()
        with torch.no_grad():
            logits = self.module((torch.from_numpy(features) - self.mean) / self.spread)
        return torch.softmax(logits, -1).numpy()


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What each probe reached on the test subjects."""

    linear: Agreement | BinaryAgreement
    network: Agreement | BinaryAgreement


def probe(train: Labelled, test: Labelled, task: str, settings: ProbeSettings) -> ProbeResult:
    """Fit both probes of "stage" (five classes) or of a yes-or-no task ("apnea", "hypopnea") and score them.

    Raises UserError when a subject is on both sides, or too few subjects have labels.
    """
    both = set(train.subjects.tolist()) & set(test.subjects.tolist())
    if both:
        raise UserError(f"subjects {sorted(both)} are in training and in test; a subject may be on one side only.")
    if not (test.labels >= 0).any():
        raise UserError(f"no {task} label in the test nights; give nights that somebody scored")
    classes = 5 if task == "stage" else 2
    found = [_score(fit_probe(train, classes, settings, hidden), test, classes) for hidden in ((), settings.hidden)]
    return ProbeResult(*found)


def fit_probe(train: Labelled, classes: int, settings: ProbeSettings, hidden: Sequence[int] = ()) -> Probe:
    """A probe of `classes` classes: without `hidden` layers multinomial logistic regression, at its optimum.

    Deterministic for a seed. Raises UserError when fewer than two subjects have labels.
    """
    fitted, chosen = sides(train.of(train.labels >= 0), settings)
    mean, spread = torch.from_numpy(fitted.features.mean(0)), torch.from_numpy(fitted.features.std(0)).clamp(min=1e-6)
    x, y = (torch.from_numpy(fitted.features) - mean) / spread, torch.from_numpy(fitted.labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        module = _network(x.shape[1], hidden, classes, settings.dropout)
        found = Probe(module, mean, spread)
        if hidden:
            _descend(found, x, y, chosen, settings)
        else:
            _solve(module, x, y, settings.ridge)
    if classes == 2:
        found = replace(found, threshold=_threshold(chosen.labels, found.probabilities(chosen.features)[:, 1]))
    return found


def sides(train: Labelled, settings: ProbeSettings) -> tuple[Labelled, Labelled]:
    """Those that a probe is fitted on and those that choose, no subject in both."""
    subjects = sorted(set(train.subjects.tolist()))
    if len(subjects) < 2:
        raise UserError(f"{len(subjects)} training subjects have labels; a probe needs at least 2, one to choose on")
    order = in_order_of_chance(subjects, settings.seed, "probe")
    count = min(max(round(settings.chosen_on * len(subjects)), 1), len(subjects) - 1)
    chooses = np.isin(train.subjects, order[:count])
    return train.of(~chooses), train.of(chooses)


def _solve(module: nn.Module, x: Tensor, y: Tensor, ridge: float) -> None:
    """To the optimum: what a linear probe finds is the features' doing, not that of how long it was fitted."""
    weights = list(module.parameters())
    for each in weights:
        nn.init.zeros_(each)
    optimiser = torch.optim.LBFGS(weights, max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(module(x), y) + ridge * torch.stack([each.square().sum() for each in weights]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def _descend(probe: Probe, x: Tensor, y: Tensor, chosen: Labelled, settings: ProbeSettings) -> None:
    """Pass by pass; the weights of the pass that was best on those who choose are what remains."""
    module = probe.module
    optimiser = torch.optim.AdamW(module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.passes)
    best, best_loss = copied(module), float("inf")
    for index in range(settings.passes):
        module.train()
        order = torch.randperm(len(y), generator=chance(settings.seed, index))
        for first in range(0, len(y), settings.batch):
            rows = order[first : first + settings.batch]
            optimiser.zero_grad()
            loss: Tensor = F.cross_entropy(module(x[rows]), y[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        schedule.step()
        said = probe.probabilities(chosen.features)
        now = -float(np.log(said[np.arange(len(said)), chosen.labels] + 1e-9).mean())
        if now < best_loss:
            best, best_loss = copied(module), now
    module.load_state_dict(best)


def copied(module: nn.Module) -> dict[str, Tensor]:
    """The weights as they are now. Those of a state_dict are the live ones: "best" would become the last."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def _network(inputs: int, hidden: Sequence[int], classes: int, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.ELU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


def _threshold(labels: NDArray[np.int64], probability: NDArray[np.float32]) -> float:
    """Where Matthews' correlation is highest; 0.5 where there is nothing to choose by."""
    tried = np.unique(np.quantile(probability, np.linspace(0.02, 0.98, 49)))
    found = [binary_metrics(labels, probability, float(t)).mcc or 0.0 for t in tried]
    return float(tried[int(np.argmax(found))]) if max(found) > 0 else 0.5


def _score(fitted: Probe, test: Labelled, classes: int) -> Agreement | BinaryAgreement:
    said = fitted.probabilities(test.features)
    if classes == 2:
        return binary_metrics(test.labels, said[:, 1], fitted.threshold)
    return agreement(test.labels, said.argmax(1).astype(np.int64))
