"""Who is tested, and whose labels are learned from: by subject, decided before anything is trained.

Nothing here depends on the order in which files were found.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.downstream.event_night import EventNight
from hypnostream.training.nights.label_share import labelled_share
from hypnostream.training.nights.splits import Split, folds


def stratum(night: EventNight) -> str:
    """A night's set, and how the set's own name of the sleeper begins: HuGCDN has C, D and ND, by how ill they are."""
    own = re.match("[A-Za-z]*", night.subject.partition(":")[2])
    return f"{night.set_name} {own.group() if own else ''}"


def event_folds(
    nights: Sequence[EventNight], count: int, transfer: Sequence[str], seed: int = 0
) -> list[Split[EventNight]]:
    """`count` splits, each subject tested in one of them; the sets named by `transfer` are tested in all, learned from
    in none. Raises UserError when one person is in such a set and in another, or there are too few people."""
    away = [night for night in nights if night.set_name in transfer]
    others = [night for night in nights if night.set_name not in transfer]
    both = {night.subject for night in away} & {night.subject for night in others}
    if both:
        raise UserError(f"subjects {sorted(both)} are in a set that is only tested and in another; name both, or none")
    by_name = sorted(away, key=lambda night: night.name)
    return [Split(split.train, (*split.test, *by_name)) for split in folds(others, count, seed, stratum)]


def given_labels(nights: Sequence[EventNight], fraction: float, seed: int) -> dict[str, NDArray[np.bool_]]:
    """Which epochs (N,) of each training night, by name, are given: `fraction` of each stratum, see `labelled_share`.

    Drawn stratum by stratum, so that a small share has someone of each set in it. Raises UserError as that does.
    """
    strata: dict[str, list[EventNight]] = defaultdict(list)
    for night in nights:
        strata[stratum(night)].append(night)
    given: dict[str, NDArray[np.bool_]] = {}
    for name in sorted(strata):
        if any((night.stage >= 0).any() for night in strata[name]):
            given |= labelled_share(strata[name], fraction, seed)
        else:
            given |= {night.name: np.zeros(len(night), np.bool_) for night in strata[name]}
    return given
