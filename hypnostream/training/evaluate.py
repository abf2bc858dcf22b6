"""How well a stager does on nights it never saw, for each set of sensors, causal, from the first epoch on."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hypnostream.engine.agreement import Agreement, agreement
from hypnostream.engine.session import NEVER_S
from hypnostream.models.stager import Stager, StagerEnsemble
from hypnostream.training.augment import ages_s
from hypnostream.training.batch import collate
from hypnostream.training.token_night import TokenNight

# Which sensors each line of a table has: frontal EEG, posterior EEG, EOG.
SENSOR_SETS: Mapping[str, tuple[int, ...]] = {
    "EEG and EOG": (1, 1, 1),
    "both EEG": (1, 1, 0),
    "Fpz-Cz alone": (1, 0, 0),
    "EOG alone": (0, 0, 1),
}


def predict(
    model: StagerEnsemble, nights: Sequence[TokenNight], sensors: tuple[int, ...], batch: int = 16
) -> list[NDArray[np.float32]]:
    """Probabilities (N, 5) of each night, in order, with only `sensors` there."""
    model.eval()
    results: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for first in range(0, len(nights), batch):
            chosen = nights[first : first + batch]
            data = collate(chosen)
            mask = data.mask * torch.tensor(sensors, dtype=torch.float32)
            age_s = ages_s(mask, NEVER_S)
            each = [
                torch.softmax(member(data.shape, data.level, mask, age_s)[0].logits, -1)
                for member in model.members
                if isinstance(member, Stager)
            ]
            p = torch.stack(each).mean(0).numpy()
            results += [p[row, : len(night)] for row, night in enumerate(chosen)]
    return results


def score(nights: Sequence[TokenNight], probabilities: Sequence[NDArray[np.float32]]) -> Agreement:
    """All epochs of all nights together; those that nobody scored, or for which no sensor was there, are left out."""
    reference = np.concatenate([n.stage for n in nights]).astype(np.int64)
    scored = np.concatenate([p.argmax(1) for p in probabilities]).astype(np.int64)
    return agreement(reference, scored)
