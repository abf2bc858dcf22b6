"""Accuracy where a stream finds it hard: at its start, as the night goes on, and where the stage changes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.staging import answers, confusion, figures, left_out
from hypnostream.training.evaluation.subjects import Estimate, Resampling

HALF_HOUR = 1800 // EPOCH_S  # epochs
FIRST = 300 // EPOCH_S  # the first five minutes


@dataclass(frozen=True, slots=True)
class Part:
    """Some of the epochs: how many have a reference and an answer, of how many nights, and how well they agree."""

    epochs: int
    nights: int
    accuracy: Estimate
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class Elapsed:
    """`half_hours` since the recording's start, in order; the last may be of few nights, see `well_filled`.

    `first_minutes` are the first five, `later` the rest.

    `changing` are epochs whose reference is not that of the epoch before, `steady` those whose reference is; the
    first epoch, and one after an unscored one, is neither.
    """

    half_hours: list[Part]
    first_minutes: Part
    later: Part
    changing: Part
    steady: Part

    @property
    def well_filled(self) -> list[Part]:
        """The half hours until less than a tenth of the nights is left: what is shown. The first ones are empty where
        only the time around sleep counts."""
        least = max((part.nights for part in self.half_hours), default=0) / 10
        begun = next((h for h, part in enumerate(self.half_hours) if part.nights >= least), 0)
        few = (h for h, part in enumerate(self.half_hours) if h > begun and part.nights < least)
        return self.half_hours[: next(few, len(self.half_hours))]


def elapsed(nights: Sequence[NightPrediction], resampling: Resampling) -> Elapsed:
    """Of all nights, without the epochs in which nothing was said."""
    longest = max(len(night.reference) for night in nights)

    def part(chosen: Sequence[NDArray[np.bool_]]) -> Part:
        counts = np.stack([_confusion(night, mask) for night, mask in zip(nights, chosen, strict=True)])
        accuracy, kappa = resampling.estimate(counts, lambda sums: figures(sums)[..., :2])
        return Part(int(counts.sum()), int((counts.sum((1, 2)) > 0).sum()), accuracy, kappa)

    places = [np.arange(len(night.reference)) for night in nights]
    steady = [_same_as_before(night.reference) for night in nights]
    return Elapsed(
        half_hours=[part([place // HALF_HOUR == h for place in places]) for h in range(-(-longest // HALF_HOUR))],
        first_minutes=part([place < FIRST for place in places]),
        later=part([place >= FIRST for place in places]),
        changing=part([mask == 0 for mask in steady]),
        steady=part([mask == 1 for mask in steady]),
    )


def _confusion(night: NightPrediction, mask: NDArray[np.bool_]) -> NDArray[np.number]:
    return left_out(confusion(night.reference[mask], answers(night.probabilities[mask])).astype(np.float64))


def _same_as_before(reference: NDArray[np.int8]) -> NDArray[np.int8]:
    """(N,): 1 where the epoch before has the same stage, 0 where another, -1 where either is unscored or not there."""
    same = np.full(len(reference), -1, np.int8)
    known = (reference[1:] >= 0) & (reference[:-1] >= 0)
    same[1:] = np.where(known, reference[1:] == reference[:-1], -1)
    return same
