"""A recording's signals as a model will be given them: the montage resolver's choice, through the live conditioning."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import OK, ChannelSpec, Montage
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.montage import resolve
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import Block, Channel, Recording

_ROUNDING = 1e-6  # of a sample


def recorded_streams(channels: Sequence[Channel]) -> tuple[tuple[StreamInfo, ...], tuple[tuple[int, ...], ...]]:
    """A recording's channels as streams, one a rate, and each stream's channels as places in the recording.

    Rates below 1 Hz are left out: nothing is conditioned at these.
    """
    places: dict[float, list[int]] = defaultdict(list)
    for place, channel in enumerate(channels):
        if channel.rate_hz >= 1:
            places[channel.rate_hz].append(place)
    infos = tuple(
        StreamInfo(
            f"{rate_hz:g} Hz",
            rate_hz,
            tuple(ChannelInfo(channels[place].label, channels[place].unit) for place in those),
        )
        for rate_hz, those in places.items()
    )
    return infos, tuple(tuple(those) for those in places.values())


def condition(
    recording: Recording, specs: Sequence[ChannelSpec]
) -> tuple[NDArray[np.float32], NDArray[np.float32], Montage]:
    """Whatever of the recording serves `specs`, which share a rate, conditioned from its first epoch to its last.

    Returns the signal (epochs, C, 30 * rate), zeros where there is none, the valid seconds (epochs, C, 30) in 0/1, and
    the montage, which says what serves which spec and why.
    """
    signal, valid, montage = condition_seconds(recording, specs)
    by_epoch = signal.reshape(recording.epochs, EPOCH_S, len(specs), specs[0].rate_hz).transpose(0, 2, 1, 3)
    return (
        np.ascontiguousarray(by_epoch).reshape(recording.epochs, len(specs), -1),
        np.ascontiguousarray(valid.reshape(recording.epochs, EPOCH_S, -1).transpose(0, 2, 1)).astype(np.float32),
        montage,
    )


def condition_seconds(
    recording: Recording, specs: Sequence[ChannelSpec]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], Montage]:
    """As `condition`, second by second: the signal (T, C, rate), and which seconds are valid (T, C)."""
    streams, places = recorded_streams(recording.channels)
    montage = resolve(streams, specs)
    seconds, rate_hz = recording.epochs * EPOCH_S, specs[0].rate_hz
    signal = np.zeros((seconds, len(specs), rate_hz), np.float32)
    valid = np.zeros((seconds, len(specs)), np.bool_)
    conditioners = []
    for info, columns in zip(streams, places, strict=True):
        derivations = [each for each in montage.derivations if each.stream_id == info.stream_id]
        if derivations:
            served = [list(specs).index(each.spec) for each in derivations]
            conditioners.append((StreamConditioner(info, derivations, served, 0.0), columns))

    def keep(found: list[Seconds]) -> None:
        for each in found:
            part = each.part(max(0, -each.start), max(0, min(each.count, seconds - each.start)))
            stretch = slice(max(each.start, 0), max(each.start, 0) + part.count)
            for row, place in enumerate(part.channels):
                signal[stretch, place], valid[stretch, place] = part.samples[row], part.quality[row] == OK

    if conditioners:
        for epoch, block in enumerate(recording.blocks()):
            for conditioner, columns in conditioners:
                for chunk in _chunks(conditioner.info, block, columns, epoch):
                    keep(conditioner.push(chunk))
        for conditioner, _ in conditioners:
            keep(conditioner.flush(seconds))
    return signal, valid, montage


def _chunks(info: StreamInfo, block: Block, columns: Sequence[int], epoch: int) -> Iterator[Chunk]:
    """An epoch of one stream: seconds in which no channel is valid are a gap, in others what is not valid is NaN."""
    first = math.ceil(epoch * EPOCH_S * info.rate_hz - _ROUNDING)
    count = math.ceil((epoch + 1) * EPOCH_S * info.rate_hz - _ROUNDING) - first
    times = (first + np.arange(count)) / info.rate_hz
    second = np.clip(np.floor(times - epoch * EPOCH_S + _ROUNDING / info.rate_hz).astype(np.int64), 0, EPOCH_S - 1)
    valid = np.stack([block.valid[column] for column in columns], axis=1)[second]  # (n, channels)
    samples = np.stack([block.samples[column][:count] for column in columns], axis=1)
    samples = np.where(valid, samples, np.float32(np.nan)).astype(np.float32)
    there = valid.any(axis=1).astype(np.int8)
    edges = np.flatnonzero(np.diff(there, prepend=0, append=0)).reshape(-1, 2)
    for begin, end in edges:
        yield Chunk(info.stream_id, np.ascontiguousarray(samples[begin:end]), times[begin:end])
