"""All that is measured of a set of predictions, as plain values: what the JSON, the Markdown and the pictures show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import STAGES
from hypnostream.training.evaluation.around_sleep import Counted, around_sleep
from hypnostream.training.evaluation.bias import StageBias, stage_bias
from hypnostream.training.evaluation.calibration import equal_mass_bins
from hypnostream.training.evaluation.elapsed import Elapsed, elapsed
from hypnostream.training.evaluation.paired import Comparison, compare
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.provisional import Provisional, provisional
from hypnostream.training.evaluation.staging import (
    FIGURES,
    SCORES,
    answers,
    calibration_error,
    calibration_sums,
    confusion,
    figures,
    left_out,
    mean_scores,
    scores,
)
from hypnostream.training.evaluation.store import PredictionSet
from hypnostream.training.evaluation.subjects import Estimate, Resampling, defined, refuse_doubles
from hypnostream.training.evaluation.tasks import Task, binary_tasks


@dataclass(frozen=True, slots=True)
class SetSummary:
    """Where some of the nights come from, and how the model does there. `simulated` people are not people."""

    name: str
    simulated: bool
    nights: int
    subjects: int
    epochs: int
    figures: Mapping[str, Estimate]


@dataclass(frozen=True, slots=True)
class SubjectFigures:
    """One subject's figures over all its nights; None where undefined."""

    subject: str
    set_name: str
    nights: int
    epochs: int
    accuracy: float | None
    kappa: float | None
    macro_f1: float | None


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure differs between subjects: median, quartiles, and who is worst."""

    median: float | None
    lower_quartile: float | None
    upper_quartile: float | None
    worst: float | None
    worst_subject: str | None


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Answers of about one probability: how many, the mean of what they claimed, and the share that was right."""

    answers: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class StagingReport:
    """How the final stages agree with the reference.

    `figures` leave out epochs in which nothing was said, `figures_all` count them as wrong; both are None for
    predictions that no one staged. `confusion` has a row for each of the reference's stages and a column for each
    answer, the last of them no answer; `confusion_rows` are the shares of each row, without that last column.
    """

    epochs: int
    unanswered: int
    unscored: int
    figures: Mapping[str, Estimate]
    figures_all: Mapping[str, Estimate]
    confusion: list[list[int]]
    confusion_rows: list[list[float | None]]
    ece: Estimate
    brier: Estimate
    nll: Estimate
    reliability: list[ReliabilityBin]
    spread: Mapping[str, Spread]
    subjects: list[SubjectFigures]
    bias: list[StageBias]
    elapsed: Elapsed


@dataclass(frozen=True, slots=True)
class Report:
    """Everything. `staging` is None where no epoch has a reference stage, the other parts where there are none."""

    model: str
    causal: bool
    nights: int
    subjects: int
    sets: list[SetSummary]
    staging: StagingReport | None
    provisional: Provisional | None
    tasks: list[Task]
    against: str | None = None
    comparison: Comparison | None = None
    counted: Counted = field(default_factory=Counted)

    @property
    def small(self) -> bool:
        """Too few subjects for an interval to be more than a rough one."""
        return self.subjects < 10


def evaluate(
    predictions: PredictionSet, against: PredictionSet | None = None, around_sleep_min: float | None = None
) -> Report:
    """Measure, all that was scored or only so many minutes around sleep.

    Raises UserError when a night or a subject is counted twice, or the two sets cannot be compared.
    """
    counted = Counted()
    if around_sleep_min is not None:
        predictions, counted = around_sleep(predictions, around_sleep_min)
        against = against if against is None else around_sleep(against, around_sleep_min)[0]
    nights = predictions.nights
    refuse_doubles(nights)
    if against is not None:
        refuse_doubles(against.nights)
    return Report(
        model=predictions.model,
        causal=predictions.causal,
        nights=len(nights),
        subjects=len({night.subject for night in nights}),
        sets=[_of_set(name, nights) for name in dict.fromkeys(night.set_name for night in nights)],
        staging=_staging([night for night in nights if (night.reference >= 0).any()]),
        provisional=provisional(nights),
        tasks=binary_tasks(nights),
        against=None if against is None else against.model,
        comparison=None if against is None else compare(nights, against.nights),
        counted=counted,
    )


def is_simulated(set_name: str) -> bool:
    """Whether a set's people are the simulator's."""
    return "simulat" in set_name.lower()


def _of_set(name: str, nights: Sequence[NightPrediction]) -> SetSummary:
    chosen = [night for night in nights if night.set_name == name]
    counts = left_out(_confusions(chosen))
    return SetSummary(
        name=name,
        simulated=is_simulated(name),
        nights=len(chosen),
        subjects=len({night.subject for night in chosen}),
        epochs=int(counts.sum()),
        figures=_estimates(Resampling(chosen), counts, figures, FIGURES),
    )


def _staging(nights: Sequence[NightPrediction]) -> StagingReport | None:
    if not nights:
        return None
    resampling = Resampling(nights)
    whole = _confusions(nights)  # (nights, 5, 6)
    total = whole.sum(0)
    answered = left_out(total)
    rows = answered.sum(1, keepdims=True)
    measured = _estimates(resampling, np.stack([scores(night) for night in nights]), mean_scores, SCORES)
    bins = _calibration(nights)  # (nights, BINS, 3)
    people = _people(nights, resampling, whole)
    return StagingReport(
        epochs=int(answered.sum()),
        unanswered=int(total[:, -1].sum()),
        unscored=int(sum((night.reference < 0).sum() for night in nights)),
        figures=_estimates(resampling, left_out(whole), figures, FIGURES),
        figures_all=_estimates(resampling, whole, figures, FIGURES),
        confusion=total.astype(int).tolist(),
        confusion_rows=[
            [defined(share) for share in row] for row in np.where(rows > 0, answered / np.maximum(rows, 1), np.nan)
        ],
        ece=resampling.estimate(bins, calibration_error)[0],
        brier=measured["brier"],
        nll=measured["nll"],
        reliability=[
            ReliabilityBin(int(count), float(claimed / count), float(right / count))
            for count, claimed, right in bins.sum(0)
            if count
        ],
        spread={name: _spread(people, name) for name in ("accuracy", "kappa", "macro_f1")},
        subjects=people,
        bias=stage_bias(left_out(whole), resampling),
        elapsed=elapsed(nights, resampling),
    )


def _confusions(nights: Sequence[NightPrediction]) -> NDArray[np.float64]:
    return np.stack([confusion(night.reference, answers(night.probabilities)) for night in nights]).astype(np.float64)


def _estimates(
    resampling: Resampling,
    per_night: NDArray[np.number],
    figure: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    names: Sequence[str],
) -> dict[str, Estimate]:
    return dict(zip(names, resampling.estimate(per_night, figure), strict=True))


def _calibration(nights: Sequence[NightPrediction]) -> NDArray[np.float64]:
    """Of the likeliest stage's probability: sums (nights, BINS, 3) over bins of equal mass among all nights."""
    parts = []
    for night in nights:
        answer = answers(night.probabilities)
        kept = (night.reference >= 0) & (answer < len(STAGES))
        parts.append((night.probabilities[kept].max(1, initial=0.0), answer[kept] == night.reference[kept]))
    which = equal_mass_bins(np.concatenate([confidence for confidence, _ in parts]).astype(np.float64))
    split = np.split(which, np.cumsum([len(confidence) for confidence, _ in parts])[:-1])
    return np.stack([calibration_sums(bins, *part) for bins, part in zip(split, parts, strict=True)])


def _people(
    nights: Sequence[NightPrediction], resampling: Resampling, whole: NDArray[np.float64]
) -> list[SubjectFigures]:
    counts = resampling.by_subject(left_out(whole))
    held = np.bincount(resampling.subject_of)
    set_of = {night.subject: night.set_name for night in nights}
    return [
        SubjectFigures(name, set_of[name], int(held[index]), int(each.sum()), *(defined(v) for v in values[:3]))
        for index, (name, each, values) in enumerate(zip(resampling.subjects, counts, figures(counts), strict=True))
    ]


def _spread(people: Sequence[SubjectFigures], name: str) -> Spread:
    known = [(value, person.subject) for person in people if (value := getattr(person, name)) is not None]
    if not known:
        return Spread(None, None, None, None, None)
    lower, middle, upper = np.quantile([value for value, _ in known], (0.25, 0.5, 0.75))
    worst, who = min(known)
    return Spread(float(middle), float(lower), float(upper), float(worst), who)
