"""How good answers are, by set, sensors, task and rule; accuracy never without the majority rate.

A yes needs a probability above a threshold that the training people's labels chose: nothing is chosen on the tested.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.training.downstream.event_night import SLOTS, TASKS, EventNight, alone
from hypnostream.training.evaluation.binary import binary_metrics

# What is worn, and so learned from and tested on; a night that lacks one of them is not tested so.
SENSORS = (SLOTS, ("heart", "spo2"), ("eeg", "heart"), ("eeg",), ("heart",), ("spo2",))
MEASURES = ("prevalence", "majority_rate", "accuracy", "mcc", "kappa", "auprc", "auroc", "f1", "sensitivity")
Values = NDArray[np.float32]
Answers = Callable[[EventNight], Values]  # a night with its sensors -> probabilities (N, K)


@dataclass(frozen=True, slots=True)
class Score:
    """What one model reached on the tested nights of a set: `found` has MEASURES, None where one is 0/0.

    `epochs` are those with a label, by night; `rule` is how events with exact times became labels, else "scored".
    """

    set_name: str
    sensors: str
    task: str
    rule: str
    subjects: tuple[str, ...]
    epochs: dict[str, int]
    found: dict[str, float | None]


def has(night: EventNight, sensors: Sequence[str]) -> bool:
    """Whether each of the sensors is there at some time."""
    return all(night.tokens.mask[:, SLOTS.index(slot)].any() for slot in sensors)


def with_sensors(nights: Sequence[EventNight], sensors: Sequence[str]) -> list[EventNight]:
    """The nights that have them, as if nothing else had been worn."""
    return [alone(night, sensors) for night in nights if has(night, sensors)]


def worth_testing(nights: Sequence[EventNight]) -> list[tuple[str, ...]]:
    """Those of SENSORS that some night has."""
    return [tuple(sensors) for sensors in SENSORS if any(has(night, sensors) for night in nights)]


def scores(
    nights: Sequence[EventNight], sensors: Sequence[str], task: int, said: Sequence[Values], threshold: float
) -> list[Score]:
    """One task, of nights with these sensors and what was `said` of each (N,): a score a set and rule with labels."""
    out = []
    for set_name in sorted({night.set_name for night in nights}):
        mine = [i for i, night in enumerate(nights) if night.set_name == set_name]
        for rule in sorted({rule for i in mine for rule in rules(nights[i], TASKS[task])}):
            labels = [of_rule(nights[i], TASKS[task], rule) for i in mine]
            if not any((each >= 0).any() for each in labels):
                continue
            found = asdict(binary_metrics(np.concatenate(labels), np.concatenate([said[i] for i in mine]), threshold))
            counts = {nights[i].name: int((each >= 0).sum()) for i, each in zip(mine, labels, strict=True)}
            who = sorted({nights[i].subject for i in mine if counts[nights[i].name]})
            values = {name: found[name] for name in MEASURES}
            out.append(Score(set_name, "+".join(sensors), TASKS[task], rule, tuple(who), counts, values))
    return out


def rules(night: EventNight, task: str) -> list[str]:
    """The rules by which there are labels of a task."""
    return [rule for rule, of in night.by_rule if of == task] or ["scored"]


def of_rule(night: EventNight, task: str, rule: str) -> NDArray[np.int8]:
    """The labels (N,) by a rule."""
    return night.labels[task] if rule == "scored" else night.by_rule[rule, task]


def threshold_by(labels: NDArray[np.int8], probability: Values) -> float:
    """Where Matthews' correlation with labels (n,) in 1, 0, -1 is highest; 0.5 where there is nothing to choose by."""
    known = labels >= 0
    if not known.any():
        return 0.5
    tried = np.unique(np.quantile(probability[known], np.linspace(0.01, 0.99, 99)))
    found = [binary_metrics(labels[known], probability[known], float(each)).mcc or 0.0 for each in tried]
    return float(tried[int(np.argmax(found))]) if max(found) > 0 else 0.5


def judged(
    answers: Answers,
    train: Sequence[EventNight],
    given: dict[str, NDArray[np.bool_]],
    test: Sequence[EventNight],
) -> list[Score]:
    """Scores of a model on `test` under each choice of sensors; thresholds are chosen on the `given` labels of `train`.

    Of events with exact times the rule that was learned by chooses for all rules.
    """
    out = []
    for sensors in worth_testing(test):
        learned, tested = with_sensors(train, sensors), with_sensors(test, sensors)
        before = [answers(night) for night in learned if given[night.name].any()]
        labels = [
            np.where(given[night.name][:, None], night.target(), -1).astype(np.int8)
            for night in learned
            if given[night.name].any()
        ]
        after = [answers(night) for night in tested]
        for task in range(len(TASKS)):
            threshold = 0.5
            if before:
                known, said = (np.concatenate([each[:, task] for each in part]) for part in (labels, before))
                threshold = threshold_by(known, said)
            out += scores(tested, sensors, task, [each[:, task] for each in after], threshold)
    return out
