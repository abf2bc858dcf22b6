"""Samples as they are read, put in their places on the grid of epochs: one block an epoch, whatever is missing."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import Block, epoch_samples

_ROUNDING = 1e-6  # of a sample


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples (n, channels) float32 of one stream at their times (n,) in seconds; NaN is a sample that is not there.

    One without samples says that the stream has ended.
    """

    stream: int
    samples: NDArray[np.float32]
    times_s: NDArray[np.float64]


@dataclass(slots=True)
class _Grid:
    """One stream's part of one epoch: samples (channels, places), and which of them came."""

    samples: NDArray[np.float32]
    there: NDArray[np.bool_]


@dataclass(slots=True)
class _Stream:
    rate_hz: float
    channels: int
    until_s: float = 0.0  # the last sample so far
    open: dict[int, _Grid] = field(default_factory=dict)

    def grid(self, epoch: int) -> _Grid:
        if epoch not in self.open:
            shape = (self.channels, epoch_samples(self.rate_hz))
            self.open[epoch] = _Grid(np.zeros(shape, np.float32), np.zeros(shape, np.bool_))
        return self.open[epoch]

    def put(self, stretch: Stretch, after: int) -> None:
        """Samples go to the nearest place of the regular grid that begins at the recording's start.

        Those before epoch `after`, which is gone, are left out.
        """
        place = np.floor(stretch.times_s * self.rate_hz + 0.5 + _ROUNDING)
        epoch = np.floor((place + _ROUNDING) / (self.rate_hz * EPOCH_S)).astype(np.int64)
        within = (place - np.ceil(epoch * EPOCH_S * self.rate_hz - _ROUNDING)).astype(np.int64)
        for each in np.unique(epoch[epoch >= after]).tolist():
            chosen = epoch == each
            grid = self.grid(each)
            values = stretch.samples[chosen].T
            there = np.isfinite(values)
            grid.samples[:, within[chosen]] = np.where(there, values, np.float32(0))
            grid.there[:, within[chosen]] = there
        self.until_s = float(stretch.times_s[-1]) if len(stretch.times_s) else math.inf

    def take(self, epoch: int) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Each channel's samples and valid seconds of an epoch, which is then closed."""
        grid = self.grid(epoch)
        del self.open[epoch]
        yield from zip(grid.samples, valid_seconds(grid.there, epoch, self.rate_hz), strict=True)


def on_epoch_grid(streams: Sequence[tuple[float, int]], stretches: Iterable[Stretch], epochs: int) -> Iterator[Block]:
    """`epochs` blocks from what comes of `streams`, each (rate in Hz, channels), in order of time within each stream.

    A block is let go when all streams are past it, so that as much is in memory as one stream runs ahead of another.
    """
    state = [_Stream(rate_hz, channels) for rate_hz, channels in streams]
    done = 0

    def blocks(until: float) -> Iterator[Block]:
        nonlocal done
        while done < min(until, epochs):
            found = [channel for stream in state for channel in stream.take(done)]
            done += 1
            yield Block(tuple(samples for samples, _ in found), tuple(valid for _, valid in found))

    for stretch in stretches:
        state[stretch.stream].put(stretch, done)
        yield from blocks(min(stream.until_s / EPOCH_S for stream in state) // 1)
    yield from blocks(epochs)


def valid_seconds(there: NDArray[np.bool_], epoch: int, rate_hz: float) -> NDArray[np.bool_]:
    """Which seconds (channels, 30) of an epoch have all their samples, given which samples came (channels, places).

    Below 1 Hz a sample stands for all seconds until the next one.
    """
    first = np.ceil(epoch * EPOCH_S * rate_hz - _ROUNDING)
    seconds = epoch * EPOCH_S + np.arange(EPOCH_S)
    if rate_hz < 1:
        holding = np.floor(seconds * rate_hz + _ROUNDING) - first
        held: NDArray[np.bool_] = there[:, np.clip(holding, 0, there.shape[1] - 1).astype(np.int64)]
        return held
    begins = (np.ceil(seconds * rate_hz - _ROUNDING) - first).astype(np.int64)
    ends = (np.ceil((seconds + 1) * rate_hz - _ROUNDING) - first).astype(np.int64)
    came = np.concatenate([np.zeros((len(there), 1), np.int64), np.cumsum(there, axis=1)], axis=1)
    whole: NDArray[np.bool_] = came[:, ends] - came[:, begins] == ends - begins
    return whole
