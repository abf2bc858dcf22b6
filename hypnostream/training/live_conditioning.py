"""Recorded epochs through the conditioning that runs live: what a model trains on is what it will be given."""

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import OK, ChannelSpec, Derivation, Term
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S


def condition_epochs(
    values: NDArray[np.float32], index: NDArray[np.int64], epochs: int, rate_hz: float, spec: ChannelSpec
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One channel's epochs (M, samples) in the spec's unit, epoch `index` (M,) each; those not given are a gap.

    Returns the signal (epochs, 1, 30 * spec.rate_hz), zeros where there is none, and the valid seconds (epochs, 1, 30).
    """
    info = StreamInfo("recording", rate_hz, (ChannelInfo(spec.name, spec.unit),))
    derivation = Derivation(spec, info.stream_id, (Term(0, 1.0),), spec.name, "recorded as such")
    conditioner = StreamConditioner(info, [derivation], [0], 0.0)
    signal = np.zeros((epochs * EPOCH_S, spec.rate_hz), np.float32)
    valid = np.zeros(epochs * EPOCH_S, np.float32)
    within = np.arange(values.shape[1]) / rate_hz
    blocks = []
    for row, epoch in zip(values, index, strict=True):
        chunk = Chunk(info.stream_id, np.ascontiguousarray(row[:, None], np.float32), epoch * EPOCH_S + within)
        blocks += conditioner.push(chunk)
    blocks += conditioner.flush(epochs * EPOCH_S)
    for block in blocks:
        if block.start < 0:
            continue
        part = slice(block.start, block.start + block.count)
        signal[part], valid[part] = block.samples[0], block.quality[0] == OK
    return signal.reshape(epochs, 1, -1), valid.reshape(epochs, 1, EPOCH_S)
