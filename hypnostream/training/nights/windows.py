"""Windows of nights to pretrain on: which moments, what was recorded of each channel, and its inputs.

Two kinds, read alike: epochs of a night with spectral tokens, and the seconds of an epoch with raw frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.models.spectral_inputs import SpectralInputs
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.nights.scaled_frames import ScaledFrames
from hypnostream.training.nights.signal_night import FRAME_S, SignalNight
from hypnostream.training.nights.token_night import TokenNight


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window begins."""

    night: int
    start: int


class Windows(Protocol):
    """What pretraining draws from."""

    def __len__(self) -> int:
        """How many windows a pass has."""

    def places(self, rows: Sequence[int], generator: torch.Generator) -> list[Place]:
        """Where these windows of a pass are; the generator may move them."""

    def mask(self, places: Sequence[Place]) -> Tensor:
        """What was recorded: (B, T, C) bool."""

    def inputs(self, places: Sequence[Place]) -> Tensor:
        """(B, T, C, ...), zero where nothing was recorded."""


def spectral_tokens(inputs: SpectralInputs, night: TokenNight) -> tuple[Tensor, Tensor]:
    """A whole night's tokens (N, C, 71), each relative to what came before it, and its mask (N, C) bool."""
    shape, level, mask = (torch.tensor(each).unsqueeze(0) for each in (night.shape, night.level, night.mask))
    with torch.no_grad():
        tokens, _ = inputs(shape, level, mask)
    return tokens[0], mask[0] > 0


class SpectralWindows:
    """Windows of `length` epochs, each somewhere in its night anew every pass."""

    def __init__(self, nights: Sequence[TokenNight], inputs: SpectralInputs, length: int) -> None:
        self.length = length
        self._nights = [spectral_tokens(inputs, night) for night in nights if len(night) >= length]
        self._of = [i for i, (tokens, _) in enumerate(self._nights) for _ in range(len(tokens) // length)]

    def __len__(self) -> int:
        """See `Windows`."""
        return len(self._of)

    def places(self, rows: Sequence[int], generator: torch.Generator) -> list[Place]:
        """See `Windows`."""
        chance = torch.rand(len(rows), generator=generator).tolist()
        nights = [self._of[row] for row in rows]
        lengths = [len(self._nights[night][0]) - self.length + 1 for night in nights]
        return [Place(night, int(c * n)) for night, c, n in zip(nights, chance, lengths, strict=True)]

    def mask(self, places: Sequence[Place]) -> Tensor:
        """See `Windows`."""
        return torch.stack([self._nights[p.night][1][p.start : p.start + self.length] for p in places])

    def inputs(self, places: Sequence[Place]) -> Tensor:
        """Tokens (B, T, C, 71)."""
        return torch.stack([self._nights[p.night][0][p.start : p.start + self.length] for p in places])


class FrameWindows:
    """Epochs as a frame each second: the 30 that end in the epoch, or with `within` the paper's 27 inside of it.

    An epoch of which no channel has a frame is none. Frames are scaled causally over the whole night, and cut when
    they are asked for.
    """

    def __init__(self, nights: Sequence[SignalNight], within: bool = False) -> None:
        self.seconds = np.arange(FRAME_S - 1 if within else 0, EPOCH_S)
        self._channels = [[ScaledFrames.of(night, place) for place in range(len(night.kinds))] for night in nights]
        self._valid = [np.stack([each.valid for each in channels], -1) for channels in self._channels]  # (S, C) each
        self._of = [
            Place(index, epoch)
            for index, valid in enumerate(self._valid)
            for epoch in range(len(valid) // EPOCH_S)
            if valid[epoch * EPOCH_S + self.seconds].any()
        ]

    def __len__(self) -> int:
        """See `Windows`."""
        return len(self._of)

    def places(self, rows: Sequence[int], generator: torch.Generator) -> list[Place]:
        """See `Windows`; epochs stay where they are."""
        return [self._of[row] for row in rows]

    def mask(self, places: Sequence[Place]) -> Tensor:
        """See `Windows`."""
        return torch.from_numpy(np.stack([self._valid[p.night][p.start * EPOCH_S + self.seconds] for p in places]))

    def inputs(self, places: Sequence[Place]) -> Tensor:
        """Frames (B, T, C, 400)."""
        return torch.from_numpy(np.stack([self._frames(place) for place in places]))

    def some(self, channel: int, most: int) -> NDArray[np.float32]:
        """At most so many frames of a channel from each night: (n, 400)."""
        return np.concatenate([channels[channel].some(most) for channels in self._channels])

    def _frames(self, place: Place) -> NDArray[np.float32]:
        seconds = place.start * EPOCH_S + self.seconds
        return np.stack([channel.frames(seconds) for channel in self._channels[place.night]], axis=1)
