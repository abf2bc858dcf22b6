"""How good the learned model of breathing is, by set, sensors and question; and how many minutes an hour it would say.

A yes needs a probability above a threshold that the training people's labels chose. Accuracy never stands without the
majority rate. Whether an event was in a minute is answered by three: what the model says of the minute, and what of
its halves.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.models.breathing_detector import QUESTIONS, BreathingDetector
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.breathing.tick_night import TickNight
from hypnostream.training.breathing.tick_task import probabilities
from hypnostream.training.evaluation.binary import binary_metrics

# What is worn, and so tested on; a night that lacks one of them is not tested so.
SENSORS = (("spo2", "heart"), ("spo2",), ("heart",), ("eeg",), ("flow",), ("thorax", "abdomen"))
MEASURES = ("prevalence", "majority_rate", "accuracy", "mcc", "kappa", "auprc", "auroc", "f1", "sensitivity")
BANDS_PER_HOUR = (5.0, 15.0, 30.0)
_THRESHOLDS = np.linspace(0.02, 0.98, 97)
_HALF, _MINUTE = (QUESTIONS.index(name) for name in ("event_in_half_minute", "event_in_minute"))
_LEAST = 1e-6  # of a probability: the log odds stay finite


@dataclass(frozen=True, slots=True)
class TickScore:
    """What one model reached on the tested nights of a set; `found` has MEASURES, None where one is 0/0."""

    set_name: str
    sensors: str
    question: str
    threshold: float
    subjects: tuple[str, ...]
    labels: int
    found: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class MinuteRate:
    """Minutes with an event an hour, of one night: as was scored, and as the model says."""

    set_name: str
    sensors: str
    night: str
    reference: float
    said: float


@dataclass(frozen=True, slots=True)
class RateAgreement:
    """Of `nights`: correlation, mean of said less reference, its 95 % limits of agreement (Bland & Altman 1986), and
    how many nights are in the same band of severity, beside the largest band's share."""

    nights: int
    correlation: float
    bias: float
    low: float
    high: float
    same_band: float
    largest_band: float


def scored(
    detector: BreathingDetector, train: Sequence[TickNight], test: Sequence[TickNight]
) -> tuple[list[TickScore], list[MinuteRate]]:
    """Each set with each of SENSORS that its nights have, each question that somebody answered there."""
    scores, rates = list[TickScore](), list[MinuteRate]()
    for sensors in SENSORS:
        name = "+".join(sensors)
        told = [night.with_sensors(sensors) for night in test if night.has(sensors)]
        if not told:
            continue
        taught = [night.with_sensors(sensors) for night in train if night.has(sensors)]
        before, said = ([with_halves(each) for each in probabilities(detector, nights)] for nights in (taught, told))
        for column, question in enumerate(QUESTIONS):
            learned = _asked(taught, before, column)
            if learned is None:
                continue
            threshold = best_threshold(*learned)
            for set_name in sorted({night.set_name for night in told}):
                mine = [i for i, night in enumerate(told) if night.set_name == set_name]
                asked = _asked([told[i] for i in mine], [said[i] for i in mine], column)
                if asked is None:
                    continue
                found = asdict(binary_metrics(*asked, threshold))
                who = tuple(sorted({told[i].subject for i in mine}))
                values = {measure: found[measure] for measure in MEASURES}
                scores.append(TickScore(set_name, name, question, threshold, who, len(asked[0]), values))
                if question == "event_in_minute":
                    rates += [_rate(told[i], said[i], column, name, threshold) for i in mine]
    return scores, rates


def with_halves(said: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (T, Q) with that of the minute replaced by the mean, as log odds, of itself and the surer half's.

    The minute's second half was asked in the same second, the first half a minute before; both at most `LATE_S` late.
    """
    odds = np.clip(said[:, [_HALF, _MINUTE]], _LEAST, 1 - _LEAST)
    half, minute = np.log(odds / (1 - odds)).T
    before = np.concatenate([np.full(EPOCH_S, -np.inf, np.float32), half])[: len(half)]
    out = said.copy()
    out[:, _MINUTE] = 1 / (1 + np.exp(-(minute + np.maximum(half, before)) / 2))
    return out


def best_threshold(labels: NDArray[np.int8], said: NDArray[np.float32]) -> float:
    """The threshold of the largest F1 on these labels (n,) in 0 and 1."""
    positive = np.sort(said[labels == 1])
    everything = np.sort(said)
    found = len(positive) - np.searchsorted(positive, _THRESHOLDS)
    called = len(everything) - np.searchsorted(everything, _THRESHOLDS)
    return float(_THRESHOLDS[np.argmax(2 * found / np.maximum(called + len(positive), 1))])


def agreement(rates: Sequence[MinuteRate]) -> RateAgreement:
    """How well rates of several nights agree."""
    reference, said = (np.array([getattr(rate, name) for rate in rates]) for name in ("reference", "said"))
    off = said - reference
    limit = 1.96 * float(off.std(ddof=1))
    bands = [np.searchsorted(BANDS_PER_HOUR, each, side="right") for each in (reference, said)]
    return RateAgreement(
        nights=len(rates),
        correlation=float(np.corrcoef(reference, said)[0, 1]),
        bias=float(off.mean()),
        low=float(off.mean()) - limit,
        high=float(off.mean()) + limit,
        same_band=float((bands[0] == bands[1]).mean()),
        largest_band=float(np.bincount(bands[0]).max() / len(rates)),
    )


def _asked(
    nights: Sequence[TickNight], said: Sequence[NDArray[np.float32]], column: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """All labels of a question and what was said, where a sensor was there to tell; None where there is no label."""
    labels, values = [], []
    for night, each in zip(nights, said, strict=True):
        target = night.target()[:, column]
        known = (target >= 0) & night.mask.any(axis=1)
        labels.append(target[known])
        values.append(each[known, column])
    joined = np.concatenate(labels)
    return (joined, np.concatenate(values)) if (joined >= 0).any() and (joined == 1).any() else None


def _rate(night: TickNight, said: NDArray[np.float32], column: int, sensors: str, threshold: float) -> MinuteRate:
    target = night.target()[:, column]
    known = target >= 0
    hours = max(int(known.sum()), 1) / 60
    yes = (said[known, column] >= threshold).sum()
    return MinuteRate(night.set_name, sensors, night.name, float((target == 1).sum() / hours), float(yes / hours))
