"""Signals that are in memory already, as a recording's blocks."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import Block

Signal = tuple[NDArray[np.float32], NDArray[np.bool_]]


def blocks_of(signals: Sequence[Signal], epochs: int) -> Iterator[Block]:
    """Epochs of whole-night signals: of each channel samples (n,) at a whole number a second, and seconds (m,) valid.

    What lies behind a signal's end is invalid; so is a second with a sample that is not finite.
    """
    rates = [len(samples) // max(len(valid), 1) for samples, valid in signals]
    for epoch in range(epochs):
        parts = [_epoch(samples, valid, rate, epoch) for (samples, valid), rate in zip(signals, rates, strict=True)]
        yield Block(tuple(samples for samples, _ in parts), tuple(valid for _, valid in parts))


def _epoch(
    samples: NDArray[np.float32], valid: NDArray[np.bool_], rate: int, epoch: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    first, last = epoch * EPOCH_S, (epoch + 1) * EPOCH_S
    part = np.zeros(EPOCH_S * rate, np.float32)
    held = samples[first * rate : last * rate]
    part[: len(held)] = held
    there = np.zeros(EPOCH_S, np.bool_)
    there[: len(valid[first:last])] = valid[first:last]
    seconds = part.reshape(EPOCH_S, rate)
    there &= np.isfinite(seconds).all(axis=1)
    seconds[~there] = 0
    return part, there
