"""Conditioned signal on the grid: whole seconds, the unit that travels from conditioner to grid to session."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Seconds:
    """`n` consecutive whole seconds of some channels; second `start` begins at stream time t0 + start.

    `channels` are indices into the montage's specs, in the order of `samples` and of the rows of `quality`.
    A channel's samples of a second whose quality is not OK are zeros.
    """

    start: int
    channels: tuple[int, ...]
    samples: tuple[NDArray[np.float32], ...]  # each (n, rate_hz of that channel)
    quality: NDArray[np.uint8]  # (channels, n), codes of channels.QUALITY_NAMES

    @property
    def count(self) -> int:
        """How many seconds these are."""
        return int(self.quality.shape[1])

    def part(self, first: int, stop: int) -> "Seconds":
        """Those from `first` to before `stop`, counted from the first of these; views, no copies."""
        samples = tuple(each[first:stop] for each in self.samples)
        return Seconds(self.start + first, self.channels, samples, self.quality[:, first:stop])

    def of(self, places: Sequence[int]) -> "Seconds":
        """The same of the channels at these places alone."""
        channels = tuple(self.channels[place] for place in places)
        samples = tuple(self.samples[place] for place in places)
        return Seconds(self.start, channels, samples, self.quality[list(places)])
