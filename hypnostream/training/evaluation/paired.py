"""One set of predictions against another on the same nights: what causality costs, what a new bundle gains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.staging import FIGURES, SCORES, answers, confusion, figures, mean_scores, scores
from hypnostream.training.evaluation.subjects import Estimate, Resampling, intervals


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` by figure: this one less the other, its interval from the same draws of subjects for both.

    An epoch in which one of them said nothing is a wrong one of that one's, so both are over the same epochs.
    `better` is in how many of `subjects` subjects this one's accuracy is the higher. `only_here` and `only_there`
    name the nights that one of the two does not have; they are in neither.
    """

    nights: int
    subjects: int
    epochs: int
    here: Mapping[str, float | None]
    there: Mapping[str, float | None]
    difference: Mapping[str, Estimate]
    better: int
    worse: int
    only_here: list[str]
    only_there: list[str]


def compare(these: Sequence[NightPrediction], others: Sequence[NightPrediction]) -> Comparison:
    """Paired by night.

    Raises UserError when they have no night in common, or one night's reference or subject is not the same in both.
    """
    mine, theirs = ({(night.set_name, night.name): night for night in nights} for nights in (these, others))
    common = [key for key in mine if key in theirs]
    if not common:
        raise UserError("the two sets of predictions have no night in common; compare two models on the same nights")
    pairs = [(mine[key], theirs[key]) for key in common]
    for one, other in pairs:
        if one.subject != other.subject or not np.array_equal(one.reference, other.reference):
            raise UserError(
                f"night {one.name!r} has another reference or subject in the other predictions; "
                "score both against the same one"
            )
    resampling = Resampling([one for one, _ in pairs])
    sides = [([_counts(pair[side]) for pair in pairs], [scores(pair[side]) for pair in pairs]) for side in (0, 1)]
    (a, a_scores), (b, b_scores) = ((np.stack(counts), np.stack(each)) for counts, each in sides)
    names = (*FIGURES, *SCORES)

    def both(counts: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.concatenate((figures(counts), mean_scores(sums)), -1)

    here, there = (both(c.sum(0)[None], s.sum(0)[None])[0] for c, s in ((a, a_scores), (b, b_scores)))
    if len(resampling.subjects) > 1:
        drawn = [both(resampling.draws(c), resampling.draws(s)) for c, s in ((a, a_scores), (b, b_scores))]
        differences = intervals(here - there, drawn[0] - drawn[1])
    else:
        differences = intervals(here - there, np.full((1, len(names)), np.nan))
    by_subject = figures(resampling.by_subject(a))[:, 0] - figures(resampling.by_subject(b))[:, 0]
    return Comparison(
        nights=len(pairs),
        subjects=len(resampling.subjects),
        epochs=int(a.sum()),
        here=_named(names, here),
        there=_named(names, there),
        difference=dict(zip(names, differences, strict=True)),
        better=int((by_subject > 0).sum()),
        worse=int((by_subject < 0).sum()),
        only_here=sorted(name for set_name, name in mine.keys() - theirs.keys()),
        only_there=sorted(name for set_name, name in theirs.keys() - mine.keys()),
    )


def _counts(night: NightPrediction) -> NDArray[np.float64]:
    return confusion(night.reference, answers(night.probabilities)).astype(np.float64)


def _named(names: Sequence[str], values: NDArray[np.float64]) -> dict[str, float | None]:
    return {name: float(value) if np.isfinite(value) else None for name, value in zip(names, values, strict=True)}
