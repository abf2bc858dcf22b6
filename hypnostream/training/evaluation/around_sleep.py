"""Only the epochs around sleep count: the usual trimming of recordings that last a day, for figures alone.

The stream is not trimmed: the model heard the hours before as it would at a bedside, and time goes on from the
recording's start. What is cut is what is compared. Most published figures of Sleep-EDF are of 30 min around sleep.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S, STAGES
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.evaluation.store import PredictionSet
from hypnostream.training.recordings.recording import UNKNOWN

WAKE = STAGES.index("W")


@dataclass(frozen=True, slots=True)
class Counted:
    """What is compared: from `around_sleep_min` minutes before the first epoch asleep to as many after the last, or
    everything (None). `left_out` epochs have a reference and do not count; `sleepless` nights have no sleep in it."""

    around_sleep_min: float | None = None
    left_out: int = 0
    sleepless: int = 0

    def said(self) -> str:
        """In one line."""
        if self.around_sleep_min is None:
            return "Counted: all scored epochs of each recording, however long people were awake before and after."
        sleepless = f" Nights without any sleep, of which nothing counts: {self.sleepless}." if self.sleepless else ""
        minutes = f"{self.around_sleep_min:g} min"
        return (
            f"Counted: scored epochs from {minutes} before the first epoch asleep to {minutes} after the last; "
            f"{self.left_out} scored epochs outside are left out.{sleepless}"
        )


def around_sleep(predictions: PredictionSet, minutes: float) -> tuple[PredictionSet, Counted]:
    """The same answers, compared around sleep only; nights that nobody staged stay as they are."""
    nights, left_out, sleepless = [], 0, 0
    for night in predictions.nights:
        if not (night.reference >= 0).any():
            nights.append(night)
            continue
        inside = near_sleep(night.reference, minutes)
        left_out += int((night.reference[~inside] >= 0).sum())
        sleepless += int(not inside.any())
        nights.append(replace(night, reference=_kept(night.reference, inside), binary=_tasks_kept(night, inside)))
    return replace(predictions, nights=tuple(nights)), Counted(minutes, left_out, sleepless)


def near_sleep(stages: NDArray[np.int8], minutes: float) -> NDArray[np.bool_]:
    """Which epochs (N,) of `stages` (N,) lie around sleep; none where nobody slept."""
    asleep = np.flatnonzero(stages > WAKE)
    inside = np.zeros(len(stages), np.bool_)
    if len(asleep):
        margin = round(minutes * 60 / EPOCH_S)
        inside[max(0, asleep[0] - margin) : asleep[-1] + margin + 1] = True
    return inside


def _kept(reference: NDArray[np.int8], inside: NDArray[np.bool_]) -> NDArray[np.int8]:
    return np.where(inside, reference, UNKNOWN).astype(np.int8)


def _tasks_kept(
    night: NightPrediction, inside: NDArray[np.bool_]
) -> dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]]:
    """Each task's answers, one each `binary_s` seconds, by the epoch in which they begin."""
    out = {}
    for task, (reference, probability) in night.binary.items():
        epoch = np.arange(len(reference)) * night.binary_s // EPOCH_S
        there = inside[np.minimum(epoch, len(inside) - 1)] & (epoch < len(inside))
        out[task] = (_kept(reference, there), probability)
    return out
