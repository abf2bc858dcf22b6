"""A small part of the labels: semi-supervised training at 1, 5, 10 and 100 %.

Drawn by subject and without replacement (SynthSleepNet's release draws with), and nested: for a seed, what 1 % holds is
in 5 %, and that is in 10 %.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.nights.splits import in_order_of_chance

FRACTIONS = (0.01, 0.05, 0.1, 1.0)
SEEDS = (0, 1, 2, 3, 4)


class StagedNight(Protocol):
    """A token night, or whatever has a name, a subject and stages."""

    @property
    def name(self) -> str:
        """Unique."""
        ...

    @property
    def subject(self) -> str:
        """The person's one name."""
        ...

    @property
    def stage(self) -> NDArray[np.int8]:
        """(N,), below 0 where nobody scored."""
        ...


def labelled_share(nights: Sequence[StagedNight], fraction: float, seed: int) -> dict[str, NDArray[np.bool_]]:
    """For each night by name, which of its epochs may be learned from as labelled (N,): `fraction` of all that are.

    Exactly: with M scored epochs in all, round(fraction M) of them, at least one, are given. Subjects come in an order
    that the seed decides, and give all of their scored epochs while the number is not met. The one with whom it is
    gives a contiguous stretch of its scored epochs, its nights laid end to end by name, around a place that the seed
    decides: so 1 % of few subjects is part of one subject's nights. Nights of no share are False throughout.

    `nights` are those of the training side; nothing here looks at another. Raises UserError for a fraction outside
    (0, 1], or when nothing is scored.
    """
    if not 0 < fraction <= 1:
        raise UserError(f"fraction is {fraction}; choose one above 0, up to 1.")
    given = {night.name: np.zeros(len(night.stage), np.bool_) for night in nights}
    total = sum(int((night.stage >= 0).sum()) for night in nights)
    if total == 0:
        raise UserError("none of the training nights has a scored epoch; ingest nights with stages.")
    left = max(1, round(fraction * total))
    for subject in in_order_of_chance(sorted({night.subject for night in nights}), seed, "labels"):
        theirs = sorted((night for night in nights if night.subject == subject), key=lambda night: night.name)
        scored = [(night.name, epoch) for night in theirs for epoch in np.flatnonzero(night.stage >= 0)]
        taken = min(left, len(scored))
        centre = int(np.random.default_rng([seed, len(scored)]).integers(len(scored))) if scored else 0
        # Grows by one at either end in turn, so that a larger share holds a smaller one.
        first = min(max(centre - taken // 2, 0), len(scored) - taken)
        for name, epoch in scored[first : first + taken]:
            given[name][epoch] = True
        left -= taken
    return given
