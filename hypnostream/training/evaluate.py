"""How well a stager does on nights it never saw, for each set of sensors, causal, from the first epoch on."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hypnostream.engine.agreement import Agreement, agreement
from hypnostream.engine.session import NEVER_S
from hypnostream.models.stager import Stager
from hypnostream.training.augment import ages_s
from hypnostream.training.fit import collate
from hypnostream.training.token_night import TokenNight

# Which sensors each line of a table has: frontal EEG, posterior EEG, EOG.
SENSOR_SETS: Mapping[str, tuple[int, ...]] = {
    "EEG and EOG": (1, 1, 1),
    "both EEG": (1, 1, 0),
    "Fpz-Cz alone": (1, 0, 0),
    "EOG alone": (0, 0, 1),
}


def predict(
    model: Stager, nights: Sequence[TokenNight], sensors: tuple[int, ...], batch: int = 16
) -> list[NDArray[np.float32]]:
    """Probabilities (N, 5) of each night, in order, with only `sensors` there."""
    model.eval()
    results: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for first in range(0, len(nights), batch):
            chosen = nights[first : first + batch]
            data = collate(chosen)
            mask = data.mask * torch.tensor(sensors, dtype=torch.float32)
            logits, _ = model(data.shape, data.level, mask, ages_s(mask, NEVER_S))
            p = torch.softmax(logits, -1).numpy()
            results += [p[row, : len(night)] for row, night in enumerate(chosen)]
    return results


def score(nights: Sequence[TokenNight], probabilities: Sequence[NDArray[np.float32]]) -> Agreement:
    """All epochs of all nights together; those that nobody scored, or for which no sensor was there, are left out."""
    reference = np.concatenate([n.stage for n in nights]).astype(np.int64)
    scored = np.concatenate([p.argmax(1) for p in probabilities]).astype(np.int64)
    return agreement(reference, scored)


def mean_probabilities(members: Sequence[Sequence[NDArray[np.float32]]]) -> list[NDArray[np.float32]]:
    """The mean over several models, night by night."""
    return [np.mean(night, axis=0) for night in zip(*members, strict=True)]
