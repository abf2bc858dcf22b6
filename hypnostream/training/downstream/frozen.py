"""Probes of a frozen encoder: what of apnea is in one epoch's fused token, without any context."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hypnostream.models.event_detector import EventDetector
from hypnostream.training.downstream.event_night import TASKS, EventNight
from hypnostream.training.downstream.scores import Score, scores, with_sensors, worth_testing
from hypnostream.training.pretraining.probe import Labelled, ProbeSettings, fit_probe

Given = dict[str, NDArray[np.bool_]]


@torch.no_grad()
def fused(detector: EventDetector, night: EventNight) -> NDArray[np.float32]:
    """The encoder's token of each epoch (N, D); each is of its own epoch, but for what is relative to the past."""
    detector.eval()
    shape, level, mask = (
        torch.from_numpy(getattr(night.tokens, name)).unsqueeze(0) for name in ("shape", "level", "mask")
    )
    numbers, _ = detector.inputs(shape, level, mask)
    tokens: NDArray[np.float32] = detector.encoder.encode(numbers, mask)[0].numpy()
    return tokens


def probed(
    detector: EventDetector,
    train: Sequence[EventNight],
    given: Given,
    test: Sequence[EventNight],
    settings: ProbeSettings,
    told: Callable[[str], None] = lambda _: None,
) -> dict[str, list[Score]]:
    """Scores of a linear and an MLP probe, one of each for every task and choice of sensors, fitted on `given` labels.

    With labels of one person or of one answer only a probe cannot be fitted: its scores are left out, and `told` why.
    """
    out: dict[str, list[Score]] = {"linear": [], "mlp": []}
    for sensors in worth_testing(test):
        learned = [night for night in with_sensors(train, sensors) if given[night.name].any()]
        tested = with_sensors(test, sensors)
        known = [fused(detector, night) for night in learned]
        unknown = [fused(detector, night) for night in tested]
        for task, name in enumerate(TASKS):
            if not any((night.labels[name] >= 0).any() for night in tested):
                continue
            labelled = _labelled(learned, known, given, name)
            if labelled is None:
                told(f"{'+'.join(sensors)}, {name}: too few labels for a probe")
                continue
            for kind, hidden in (("linear", ()), ("mlp", settings.hidden)):
                probe = fit_probe(labelled, 2, settings, hidden)
                said = [probe.probabilities(features)[:, 1] for features in unknown]
                out[kind] += scores(tested, sensors, task, said, probe.threshold)
    return out


def _labelled(
    nights: Sequence[EventNight], features: Sequence[NDArray[np.float32]], given: Given, task: str
) -> Labelled | None:
    """The rows whose label is given; None unless they are of two people at least and hold both answers."""
    rows = [given[night.name] & (night.labels[task] >= 0) for night in nights]
    if not any(each.any() for each in rows):
        return None
    labels = np.concatenate([n.labels[task][each] for n, each in zip(nights, rows, strict=True)]).astype(np.int64)
    subjects = np.concatenate([np.full(int(each.sum()), n.subject) for n, each in zip(nights, rows, strict=True)])
    if len(set(subjects.tolist())) < 2 or len(set(labels.tolist())) < 2:
        return None
    return Labelled(np.concatenate([f[each] for f, each in zip(features, rows, strict=True)]), labels, subjects)
