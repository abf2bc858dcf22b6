"""What a frozen pretrained model says of each epoch, with the labels of that epoch: what probes are fitted on."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.nights.windows import FrameWindows, Place, spectral_tokens
from hypnostream.training.pretraining.cross_modal_task import Pretrained
from hypnostream.training.pretraining.probe import Labelled

BATCH = 64  # epochs encoded at a time
LEAST_S = 10  # an epoch has an event when this much of it is one; the rule "ten_seconds" of labels.py


@torch.no_grad()
def token_features(module: Pretrained, nights: Sequence[TokenNight]) -> Labelled:
    """The fused token of each epoch that any channel has; labels are stages."""
    module.eval()
    if module.spectral is None:
        raise UserError("this model reads raw frames, not token nights; give it signal nights")
    parts = []
    for night in nights:
        tokens, mask = spectral_tokens(module.spectral, night)
        features = module.encode(tokens.unsqueeze(0), mask.unsqueeze(0).float())[0]
        there = mask.any(-1).numpy()
        parts.append(labelled(features.numpy(), night.stage, night.subject).of(there))
    return joined(parts)


@torch.no_grad()
def signal_features(
    module: Pretrained, nights: Sequence[SignalNight], task: str = "stage", within: bool = False
) -> Labelled:
    """The mean of each epoch's fused seconds; labels are stages, or whether a track has 10 s of `task` in the epoch."""
    module.eval()
    parts = []
    for night in nights:
        windows, means = FrameWindows([night], within), list[NDArray[np.float32]]()
        places = windows.places(range(len(windows)), torch.Generator())
        for first in range(0, len(places), BATCH):
            some = places[first : first + BATCH]
            mask = windows.mask(some)
            fused = module.encode(windows.inputs(some), mask.float())  # (B, T, D)
            heard = mask.any(-1, keepdim=True).float()
            means.append(((fused * heard).sum(1) / heard.sum(1).clamp(min=1)).numpy())
        parts.append(labelled(np.concatenate(means), _labels(night, task)[_epochs(places)], night.subject))
    return joined(parts)


def labelled(features: NDArray[np.float32], labels: NDArray[np.int8], subject: str) -> Labelled:
    """One night's features, all of one person."""
    return Labelled(features, labels.astype(np.int64), np.full(len(labels), subject))


def joined(parts: Sequence[Labelled]) -> Labelled:
    """Those of several nights."""
    return Labelled(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.subjects for part in parts]),
    )


def event_epochs(track: NDArray[np.int8]) -> NDArray[np.int8]:
    """A track a second (T,) -> a label an epoch (T/30,): 1 with 10 s of events, -1 where it might be, else 0."""
    seconds = track.reshape(-1, EPOCH_S)
    positive, unsure = (seconds == 1).sum(1) >= LEAST_S, (seconds < 0).any(1)
    labels = np.zeros(len(seconds), np.int8)
    labels[unsure] = -1
    labels[positive] = 1
    return labels


def _labels(night: SignalNight, task: str) -> NDArray[np.int8]:
    if task == "stage":
        return night.stage
    if task not in night.tracks:
        raise UserError(f"{night.name} has no track {task!r}; it has {', '.join(night.tracks) or 'none'}")
    return event_epochs(night.tracks[task])


def _epochs(places: Sequence[Place]) -> NDArray[np.int64]:
    return np.array([place.start for place in places], np.int64)
