"""A stored recording as a source of samples, so that it goes the way that a live one goes."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import Block, Recording


class RecordingSource:
    """See `stream.source.Source`. The channels of one rate are one stream; `read` gives an epoch of each.

    A second that was not recorded is a gap where no channel of the stream has it, else that channel's samples are
    NaN.
    """

    start_s = 0.0
    start_utc: datetime | None = None

    def __init__(self, recording: Recording) -> None:
        rates = sorted({channel.rate_hz for channel in recording.channels}, reverse=True)
        self._members = {
            f"{rate:g} Hz": [place for place, channel in enumerate(recording.channels) if channel.rate_hz == rate]
            for rate in rates
        }
        self.streams = tuple(
            StreamInfo(
                name,
                recording.channels[places[0]].rate_hz,
                tuple(ChannelInfo(recording.channels[p].label, recording.channels[p].unit) for p in places),
            )
            for name, places in self._members.items()
        )
        self.duration_s: float | None = float(recording.epochs * EPOCH_S)
        self.warnings: Sequence[str] = recording.notes
        self.exhausted = False
        self._blocks = iter(recording.blocks())
        self._epoch = 0

    def read(self, timeout_s: float) -> list[Chunk]:
        """The next epoch, at once; nothing of a stream that has nothing in it."""
        block = next(self._blocks, None)
        if block is None:
            self.exhausted = True
            return []
        chunks = [self._chunk(info, block) for info in self.streams]
        self._epoch += 1
        return [chunk for chunk in chunks if len(chunk.samples)]

    def close(self) -> None:
        """Nothing is held open."""

    def _chunk(self, info: StreamInfo, block: Block) -> Chunk:
        places = self._members[info.stream_id]
        count = int(info.rate_hz * EPOCH_S)
        within: NDArray[np.float64] = np.arange(count) / info.rate_hz
        second = within.astype(np.int64)
        samples = np.stack([block.samples[place][:count] for place in places], 1).astype(np.float32)  # (n, channels)
        valid = np.stack([block.valid[place][second] for place in places], 1)
        samples[~valid] = np.nan
        kept = valid.any(1)
        return Chunk(info.stream_id, samples[kept], self._epoch * EPOCH_S + within[kept])
