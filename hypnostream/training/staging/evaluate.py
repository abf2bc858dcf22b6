"""What a stager says of nights it never saw, causal, from the first epoch on, with whatever sensors are left to it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.engine.agreement import Agreement, agreement
from hypnostream.engine.session import NEVER_S
from hypnostream.models.stager import Stager, StagerEnsemble
from hypnostream.training.damage.augment import ages_s
from hypnostream.training.damage.missing import Condition
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.staging.batch import Batch, collate

SEGMENT = 128  # epochs, as in the recipes

Sensors = tuple[int, ...]  # frontal EEG, posterior EEG, EOG in 0/1


def sensor_sets(
    nights: Sequence[TokenNight], of_sleep_edf: bool
) -> Mapping[str, tuple[Sensors | None, list[TokenNight]]]:
    """The lines of a table: which sensors are left, and the nights that have them at some time; none without nights.

    Sleep-EDF's nights all have the same three; elsewhere the first line is of all that each night has.
    """
    everything, frontal = ("EEG and EOG", "Fpz-Cz alone") if of_sleep_edf else ("all sensors", "frontal EEG alone")
    lines: dict[str, Sensors] = {"both EEG": (1, 1, 0), frontal: (1, 0, 0), "EOG alone": (0, 0, 1)}
    had = {name: [n for n in nights if (n.mask.any(0) >= np.array(left)).all()] for name, left in lines.items()}
    found: dict[str, tuple[Sensors | None, list[TokenNight]]] = {everything: (None, list(nights))}
    return found | {name: (lines[name], those) for name, those in had.items() if those}


def under(condition: Condition, nights: Sequence[TokenNight]) -> list[TokenNight]:
    """The nights with sensors lost; what is lost of a night at random depends on its name alone."""
    lost = []
    for night in nights:
        seed = int.from_bytes(hashlib.sha256(night.name.encode()).digest()[:4], "big")
        mask = condition.apply(torch.from_numpy(night.mask.copy())[None], torch.Generator().manual_seed(seed))
        lost.append(replace(night, mask=mask[0].numpy()))
    return lost


def predict(
    model: StagerEnsemble, nights: Sequence[TokenNight], sensors: tuple[int, ...] | None = None, batch: int = 16
) -> list[NDArray[np.float32]]:
    """Probabilities (N, 5) of each night, in order, with only `sensors` there (None: what the nights have).

    Read in segments as in training, the state carried: to a causal model that is all one, and one that is not looks
    ahead no further than it was trained to.
    """
    model.eval()
    results: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for first in range(0, len(nights), batch):
            chosen = nights[first : first + batch]
            data = collate(chosen)
            mask = data.mask if sensors is None else data.mask * torch.tensor(sensors, dtype=torch.float32)
            age_s = ages_s(mask, NEVER_S)
            each = [_read(member, data, mask, age_s) for member in model.members if isinstance(member, Stager)]
            p = torch.stack(each).mean(0).numpy()
            results += [p[row, : len(night)] for row, night in enumerate(chosen)]
    return results


def _read(stager: Stager, data: Batch, mask: Tensor, age_s: Tensor) -> Tensor:
    """Probabilities (B, L, 5) of one stager."""
    said, state = [], None
    for start in range(0, data.length, SEGMENT):
        part = slice(start, start + SEGMENT)
        staged, state = stager(data.shape[:, part], data.level[:, part], mask[:, part], age_s[:, part], state)
        said.append(torch.softmax(staged.logits, -1))
    return torch.cat(said, 1)


def score(nights: Sequence[TokenNight], probabilities: Sequence[NDArray[np.float32]]) -> Agreement:
    """All epochs of all nights together; those that nobody scored are left out."""
    reference = np.concatenate([n.stage for n in nights]).astype(np.int64)
    scored = np.concatenate([p.argmax(1) for p in probabilities]).astype(np.int64)
    return agreement(reference, scored)
