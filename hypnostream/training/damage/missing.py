"""Sensors that are missing, as masks: the protocols that a model with missing sensors is trained and judged by.

A mask is (B, L, C), 1 where a channel is there. Each function takes something from a mask and gives nothing that was
not there before; all chance is the caller's generator's. Randomly and completely missing are CIMSleepNet's protocols
(Shen et al., NeurIPS 2024); bursts, permanent loss and late arrival are what happens at a bed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
from torch import Tensor

BURSTS_S = (5.0, 60.0, 1200.0)  # mean lengths: an artefact, a loose lead, an electrode that fell off and was put back
BURST_RATE = 0.3  # of the time, of each channel
LATEST = 240  # epochs: two hours
EPOCH_S = 30.0
RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)


def randomly_missing(mask: Tensor, rate: float, generator: torch.Generator, keep_one: bool = True) -> Tensor:
    """Of each row, exactly the nearest count to `rate` of what is there goes, spread at random over steps and channels.

    With `keep_one` no step loses its last channel; when that leaves less than `rate` to take, all of that goes.
    """
    _check_rate(rate)
    there = mask > 0
    score = torch.rand(mask.shape, generator=generator)
    if keep_one:
        there = there & ~_one_of(there, generator)
    score = score.masked_fill(~there, 2.0).flatten(1)  # (B, L C)
    count = ((mask > 0).flatten(1).sum(1) * rate).round().minimum(there.flatten(1).sum(1))  # (B,)
    taken = score.argsort(1).argsort(1) < count.unsqueeze(1)
    return mask * (~taken).reshape(mask.shape)


def bursts(
    mask: Tensor,
    rate: float,
    mean_s: float,
    step_s: float,
    generator: torch.Generator,
    keep_one: bool = True,
) -> Tensor:
    """Loss that comes and goes: channel by channel a two-state Markov chain, missing `rate` of the time on average.

    A loss lasts `mean_s` on average, in steps of `step_s`, geometrically. With `keep_one` a step that would lose all
    keeps one of what it has, which takes a little from the rate. Raises ValueError for losses shorter than a step
    (make them at one second and take `by_epoch`), and for a rate so high that they would have to be longer.
    """
    _check_rate(rate)
    back = step_s / mean_s  # the chance that a loss ends, each step
    renewal = back / (1 - rate) if rate < 1 else 2.0
    if back > 1:
        raise ValueError(
            f"losses of {mean_s} s are shorter than a step of {step_s} s; use steps of {mean_s:g} s or less"
        )
    if renewal > 1:
        raise ValueError(f"losses of {mean_s} s cannot be {rate} of the time at {step_s} s steps; lower the rate")
    # The chain, said so that it needs no loop: at some steps it is drawn anew from how it is on average, at the others
    # it stays. A chain that renews with probability r and is then missing with probability q ends a loss with r (1-q).
    anew = torch.rand(mask.shape, generator=generator) < renewal
    anew[:, 0] = True
    fresh = torch.rand(mask.shape, generator=generator) < rate
    step = torch.arange(mask.shape[1]).reshape(1, -1, 1)
    lost = fresh.gather(1, (step * anew).cummax(1).values)
    left = mask * (~lost)
    return _with_one(left, mask, generator) if keep_one else left


def permanently_lost(mask: Tensor, generator: torch.Generator) -> Tensor:
    """From a time on, drawn evenly over the row, one channel at random is gone for good; the last one never is."""
    batch, length = mask.shape[:2]
    channel = _one_of((mask > 0).any(1), generator)  # (B, C)
    step = (torch.rand(batch, 1, 1, generator=generator) * length).long()
    gone = channel.unsqueeze(1) & (torch.arange(length).reshape(1, -1, 1) >= step)
    return _unless_last(mask * (~gone), mask)


def arriving_late(mask: Tensor, latest: int, generator: torch.Generator) -> Tensor:
    """Each channel but one, at random, is absent until a step of its own, drawn evenly below `latest`."""
    batch, length, channels = mask.shape
    step = (torch.rand(batch, 1, channels, generator=generator) * latest).long()
    step = step.masked_fill(_one_of((mask > 0).any(1), generator).unsqueeze(1), 0)
    return mask * (torch.arange(length).reshape(1, -1, 1) >= step)


def only(mask: Tensor, kept: Sequence[bool]) -> Tensor:
    """Completely missing: no channel but those `kept` (C)."""
    if len(kept) != mask.shape[-1]:
        raise ValueError(f"{len(kept)} channels to keep or not, of {mask.shape[-1]}; say it for each")
    return mask * torch.tensor(kept, dtype=mask.dtype)


def lost_at_half(mask: Tensor, channel: int) -> Tensor:
    """`channel` is gone in the second half of the row."""
    left = mask.clone()
    left[:, mask.shape[1] // 2 :, channel] = 0
    return left


def subsets(channels: int) -> list[tuple[bool, ...]]:
    """All 2^C - 1 that have a channel, the whole first."""
    return [kept for kept in product((True, False), repeat=channels) if any(kept)]


def by_epoch(mask: Tensor, seconds: int = 30, needed: int = 10) -> Tensor:
    """A mask of seconds as one of epochs: a channel is there with `needed` seconds. (B, 30 L, C) -> (B, L, C)."""
    batch, length, channels = mask.shape
    if length % seconds:
        raise ValueError(f"{length} s are no whole number of epochs of {seconds} s; cut the mask")
    return (mask.reshape(batch, -1, seconds, channels).sum(2) >= needed).to(mask.dtype)


def _at_rate(mask: Tensor, generator: torch.Generator, rate: float) -> Tensor:
    return randomly_missing(mask, rate, generator)


def _bursts(mask: Tensor, generator: torch.Generator, mean_s: float) -> Tensor:
    return bursts(mask, BURST_RATE, mean_s, EPOCH_S, generator)


def _late(mask: Tensor, generator: torch.Generator) -> Tensor:
    return arriving_late(mask, LATEST, generator)


def _only(mask: Tensor, generator: torch.Generator, kept: tuple[bool, ...]) -> Tensor:
    return only(mask, kept)


def _half(mask: Tensor, generator: torch.Generator, channel: int) -> Tensor:
    return lost_at_half(mask, channel)


def _named(names: Sequence[str], kept: Sequence[bool]) -> str:
    return " + ".join(name for name, here in zip(names, kept, strict=True) if here)


def _check_rate(rate: float) -> None:
    if not 0 <= rate <= 1:
        raise ValueError(f"the missing rate is {rate}; it must be from 0 to 1")


def _one_of(there: Tensor, generator: torch.Generator) -> Tensor:
    """One channel that is there, at random, of each (..., C); none where there is none."""
    score = torch.rand(there.shape, generator=generator).masked_fill(~there, -1.0)
    return (torch.nn.functional.one_hot(score.argmax(-1), there.shape[-1]) > 0) & there


def _with_one(left: Tensor, mask: Tensor, generator: torch.Generator) -> Tensor:
    """`left`, and where it has nothing, one of what `mask` has."""
    empty = ~(left > 0).any(-1, keepdim=True)
    return torch.where(empty & _one_of(mask > 0, generator), mask, left)


def _unless_last(left: Tensor, mask: Tensor) -> Tensor:
    """`left`, and where it has nothing, `mask`."""
    return torch.where((left > 0).any(-1, keepdim=True), left, mask)


@dataclass(frozen=True, slots=True)
class Condition:
    """A named way to lose sensors. `apply` takes a mask (B, L, C) and a generator."""

    name: str
    apply: Callable[[Tensor, torch.Generator], Tensor]


def conditions(names: Sequence[str]) -> tuple[Condition, ...]:
    """What a model is judged under, for channels of these names: each rate, each subset, each channel lost halfway, and
    what happens at a bed: loss that comes and goes, a channel that falls off for good, channels that join late."""
    count = len(names)
    return (
        *(Condition(f"rate {rate}", partial(_at_rate, rate=rate)) for rate in RATES),
        *(Condition("only " + _named(names, kept), partial(_only, kept=kept)) for kept in subsets(count)[1:]),
        *(Condition(f"{names[c]} lost halfway", partial(_half, channel=c)) for c in range(count) if count > 1),
        *(Condition(f"bursts of {s / 60:g} min", partial(_bursts, mean_s=s)) for s in BURSTS_S if s >= EPOCH_S),
        Condition("one lost for good", permanently_lost),
        Condition("joining late", _late),
    )


CONDITIONS = conditions(("eeg_frontal", "eeg_posterior", "eog"))
