"""How sure a figure is: intervals from resampling people, not epochs.

Epochs of one night, and nights of one person, are alike, so the unit that is drawn is the subject with all its nights
(the bootstrap of clustered data; Field & Welsh 2007). Every figure here follows from sums over nights, so a draw is a
weighted sum and thousands of them cost one matrix product.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.evaluation.predictions import NightPrediction

DRAWS = 2000
SEED = 20100
LEVEL = 0.95
SAME_NIGHT_EPOCHS = 20  # two nights that agree in so many labels and in every answer are one night

Figure = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # sums (..., *shape) -> figures (..., *out)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure over everybody and its 95 % interval. None: undefined, or for the interval, fewer than two subjects."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Resampling:
    """Draws of subjects with replacement, the same ones for every figure of these nights, so differences are paired.

    `subjects` are the names in order; `subject_of` (nights,) is each night's place among them.
    """

    def __init__(self, nights: Sequence[NightPrediction], draws: int = DRAWS, seed: int = SEED) -> None:
        self.subjects = tuple(sorted({night.subject for night in nights}))
        place = {name: index for index, name in enumerate(self.subjects)}
        self.subject_of = np.array([place[night.subject] for night in nights], np.int64)
        count = len(self.subjects)
        rng = np.random.default_rng(seed)
        self._weights = rng.multinomial(count, np.full(count, 1 / count), draws).astype(np.float64)  # (draws, S)

    def by_subject(self, per_night: NDArray[np.number]) -> NDArray[np.float64]:
        """Sums over each subject's nights: (nights, ...) to (subjects, ...)."""
        sums = np.zeros((len(self.subjects), *per_night.shape[1:]))
        np.add.at(sums, self.subject_of, per_night)
        return sums

    def draws(self, per_night: NDArray[np.number]) -> NDArray[np.float64]:
        """Sums over each draw of subjects: (nights, ...) to (draws, ...)."""
        sums = self.by_subject(per_night)
        return (self._weights @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:])

    def estimate(self, per_night: NDArray[np.number], figure: Figure) -> list[Estimate]:
        """`figure` of the sums over all nights, flattened, each with its percentile interval over the draws.

        A figure that is undefined (NaN) in some draws has its interval over the others. Where fewer than two
        subjects have anything in the sums there is none.
        """
        values = figure(per_night.sum(0, dtype=np.float64)[None])[0].ravel()
        if (self.by_subject(per_night).reshape(len(self.subjects), -1) != 0).any(1).sum() < 2:
            return [Estimate(defined(value)) for value in values]
        return intervals(values, figure(self.draws(per_night)).reshape(len(self._weights), -1))


def intervals(values: NDArray[np.float64], drawn: NDArray[np.float64]) -> list[Estimate]:
    """Estimates of `values` (k,) from what the draws gave (draws, k), where NaN is undefined."""
    found = []
    for value, column in zip(values, drawn.T, strict=True):
        there = column[np.isfinite(column)]
        if np.isfinite(value) and there.size:
            low, high = np.quantile(there, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
            found.append(Estimate(float(value), float(low), float(high)))
        else:
            found.append(Estimate(defined(value)))
    return found


def defined(value: float) -> float | None:
    """The value, or None where it is NaN: an undefined figure must not look like a number."""
    return float(value) if np.isfinite(value) else None


def refuse_doubles(nights: Sequence[NightPrediction]) -> None:
    """Raise UserError when there are no nights, or a night or a person is counted twice.

    That is: two nights of one name in a set, two that say the same under different names, and a subject who is in
    two sets (the same night may be in both, as slpdb's slp60 is in Santa Fe).
    """
    if not nights:
        raise UserError("no night to evaluate; give predictions of at least one")
    names = Counter((night.set_name, night.name) for night in nights)
    for (set_name, name), count in names.items():
        if count > 1:
            raise UserError(f"night {name!r} of {set_name!r} is scored {count} times; give each night once")
    sets: dict[str, str] = {}
    for night in nights:
        if sets.setdefault(night.subject, night.set_name) != night.set_name:
            raise UserError(
                f"subject {night.subject!r} is in {sets[night.subject]!r} and in {night.set_name!r}; "
                "evaluate the two sets apart, or leave the person out of one"
            )
    seen: dict[bytes, str] = {}
    for night in nights:
        if (night.reference >= 0).sum() < SAME_NIGHT_EPOCHS:
            continue
        said = night.reference.tobytes() + night.probabilities.tobytes()
        other = seen.setdefault(hashlib.sha256(said).digest(), night.name)
        if other != night.name:
            raise UserError(f"nights {other!r} and {night.name!r} are one and the same; leave one out")
