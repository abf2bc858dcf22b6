"""What a frame encoder's tokens know of sleep: a linear probe and nearest neighbours, fitted on other people.

An epoch is the mean of the tokens of its frames, each third second's. The encoder is frozen; nothing is chosen on those
who are tested.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hypnostream.engine.agreement import agreement
from hypnostream.errors import UserError
from hypnostream.models.frame_network import FrameEncoder
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.nights.scaled_frames import ScaledFrames

NEIGHBOURS = 5
_HOP_S = 3


@dataclass(frozen=True, slots=True)
class FrameProbe:
    """Agreement of the probes' stages with the scored ones, over `epochs` of `subjects` people."""

    linear_accuracy: float
    linear_macro_f1: float
    linear_kappa: float
    neighbours_accuracy: float
    neighbours_macro_f1: float
    epochs: int
    subjects: int


def chosen_epochs(source: ScaledFrames, most: int) -> NDArray[np.int64]:
    """At most so many of the scored epochs, evenly chosen."""
    epochs = source.scored_epochs()
    return epochs[np.linspace(0, len(epochs) - 1, min(len(epochs), most)).round().astype(np.int64)]


@torch.no_grad()
def epoch_tokens(encoder: FrameEncoder, sources: Sequence[ScaledFrames], most: int) -> tuple[Tensor, NDArray[np.int8]]:
    """The mean token of `most` scored epochs of each source, evenly chosen: (N, d), and their stages (N,)."""
    device = next(encoder.parameters()).device
    encoder.eval()
    means, stages = [torch.zeros(0, encoder.width)], [np.zeros(0, np.int8)]
    for source in sources:
        epochs = chosen_epochs(source, most)
        for part in np.array_split(epochs, max(1, len(epochs) // 64)):
            seconds = part[:, None] * EPOCH_S + np.arange(0, EPOCH_S, _HOP_S)  # (n, 10)
            there = torch.from_numpy(source.valid[seconds]).float().unsqueeze(-1)  # (n, 10, 1)
            tokens = encoder(torch.from_numpy(source.frames(seconds)).to(device)).cpu()  # (n, 10, d)
            means.append((tokens * there).sum(1) / there.sum(1).clamp(min=1))
        stages.append(source.night.stage[epochs])
    return torch.cat(means), np.concatenate(stages)


def probe(
    encoder: FrameEncoder, fitted: Sequence[ScaledFrames], tested: Sequence[ScaledFrames], most: int = 200
) -> FrameProbe:
    """Fit on some people, test on others, `most` epochs of each channel of each night.

    Stages that nobody of the fitted has are left out of the test. Raises UserError when a person is on both sides, or
    one side has no staged epochs.
    """
    people = {source.night.subject for source in tested}
    both = {source.night.subject for source in fitted} & people
    if both:
        raise UserError(f"subjects {sorted(both)} are among those fitted and those tested; keep them apart")
    x, y = epoch_tokens(encoder, fitted, most)
    tested_x, tested_y = epoch_tokens(encoder, tested, most)
    if not len(y) or not len(tested_y):
        raise UserError(f"a probe needs staged epochs: {len(y)} to fit on, {len(tested_y)} to test on")
    known = np.isin(tested_y, y)
    tested_x, tested_y = tested_x[torch.from_numpy(known)], tested_y[known]
    return _result(tested_y, _linear(x, y, tested_x), _nearest(x, y, tested_x), len(people))


def probe_within(encoder: FrameEncoder, source: ScaledFrames, blocks: int = 5) -> FrameProbe:
    """One night in `blocks` stretches, each tested by what was fitted on the others: for a set with one whole night.

    It says whether the tokens tell stages apart, not whether people are alike.
    """
    x, y = epoch_tokens(encoder, [source], len(source.night.stage))
    linear, nearest = np.full(len(y), -1), np.full(len(y), -1)
    for tested in np.array_split(np.arange(len(y)), blocks):
        fitted = np.setdiff1d(np.arange(len(y)), tested)
        linear[tested] = _linear(x[fitted], y[fitted], x[tested])
        nearest[tested] = _nearest(x[fitted], y[fitted], x[tested])
    return _result(y, linear, nearest, 1)


def _result(
    stages: NDArray[np.int8], linear: NDArray[np.int64], nearest: NDArray[np.int64], subjects: int
) -> FrameProbe:
    by_line, by_neighbours = agreement(stages, linear), agreement(stages, nearest)
    return FrameProbe(
        by_line.accuracy or 0.0,
        by_line.macro_f1 or 0.0,
        by_line.kappa or 0.0,
        by_neighbours.accuracy or 0.0,
        by_neighbours.macro_f1 or 0.0,
        len(stages),
        subjects,
    )


def _standardised(x: Tensor, tested: Tensor) -> tuple[Tensor, Tensor]:
    """Both in units of those fitted on."""
    mean, deviation = x.mean(0), x.std(0).clamp(min=1e-6)
    return (x - mean) / deviation, (tested - mean) / deviation


def _linear(x: Tensor, y: NDArray[np.int8], tested: Tensor, penalty: float = 1e-3) -> NDArray[np.int64]:
    """Multinomial logistic regression, each stage counting the same, to its optimum."""
    x, tested = _standardised(x, tested)
    target = torch.from_numpy(y.astype(np.int64))
    count = torch.bincount(target)
    weight = torch.where(count > 0, len(y) / (count > 0).sum() / count.clamp(min=1), 0.0)
    matrix = torch.zeros(x.shape[1], len(count), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(count), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([matrix, bias], max_iter=200, line_search_fn="strong_wolfe")
    absent = torch.where(count > 0, 0.0, -torch.inf)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(x.double() @ matrix + bias, target, weight=weight.double())
        loss = loss + penalty * matrix.square().sum()
        matrix.grad, bias.grad = torch.autograd.grad(loss, [matrix, bias])
        return loss.detach()

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        found: NDArray[np.int64] = (tested.double() @ matrix + bias + absent).argmax(1).numpy()
    return found


def _nearest(x: Tensor, y: NDArray[np.int8], tested: Tensor) -> NDArray[np.int64]:
    """What most of the nearest say; among equals, the least stage."""
    x, tested = _standardised(x, tested)
    target = torch.from_numpy(y.astype(np.int64))
    nearest = torch.cdist(tested, x).topk(min(NEIGHBOURS, len(x)), largest=False).indices  # (n, 5)
    found: NDArray[np.int64] = F.one_hot(target[nearest]).sum(1).argmax(1).numpy()
    return found
