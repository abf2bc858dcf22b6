"""A stored recording as the steps of a live session: what came each second, and that a second has passed.

A bed that is given many seconds at once says what it makes of the last one only, as nobody wants to hear what is
overtaken; so the seconds come one at a time, those too in which nothing was recorded.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from hypnostream.stream.source import ChannelInfo, Chunk, Step, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import Block, Recording

TAIL_S = 5  # after the end: the last seconds are closed when nothing that belongs to them can come any more


def streams_of(recording: Recording) -> tuple[StreamInfo, ...]:
    """The channels of one rate are one stream."""
    return tuple(
        StreamInfo(
            name,
            recording.channels[places[0]].rate_hz,
            tuple(ChannelInfo(recording.channels[place].label, recording.channels[place].unit) for place in places),
        )
        for name, places in _places(recording).items()
    )


def steps_of(recording: Recording) -> Iterator[Step]:
    """A step a second. A second that a channel has not is NaN in its stream, a gap where no channel has it."""
    places = _places(recording)
    streams = streams_of(recording)
    for epoch, block in enumerate(recording.blocks()):
        start_s = epoch * EPOCH_S
        cut = [_seconds(info, places[info.stream_id], block, start_s) for info in streams]
        for second, chunks in enumerate(zip(*cut, strict=True)):
            there = tuple(chunk for chunk in chunks if len(chunk.samples))
            yield Step(float(start_s + second + 1), there)
    end_s = recording.epochs * EPOCH_S
    for second in range(TAIL_S):
        yield Step(float(end_s + second + 1))


def _places(recording: Recording) -> Mapping[str, list[int]]:
    rates = sorted({channel.rate_hz for channel in recording.channels}, reverse=True)
    return {
        f"{rate:g} Hz": [place for place, channel in enumerate(recording.channels) if channel.rate_hz == rate]
        for rate in rates
    }


def _seconds(info: StreamInfo, places: Sequence[int], block: Block, start_s: int) -> list[Chunk]:
    """An epoch of one stream, cut into its seconds."""
    count = int(info.rate_hz * EPOCH_S)
    within = np.arange(count) / info.rate_hz
    second = within.astype(np.int64)
    samples = np.stack([block.samples[place][:count] for place in places], 1).astype(np.float32)  # (n, channels)
    valid = np.stack([block.valid[place][second] for place in places], 1)
    samples[~valid] = np.nan
    kept = valid.any(1)
    borders = np.searchsorted(second[kept], np.arange(1, EPOCH_S))
    parts = zip(np.split(samples[kept], borders), np.split(start_s + within[kept], borders), strict=True)
    return [Chunk(info.stream_id, np.ascontiguousarray(values), times) for values, times in parts]
