"""Recordings in XDF, as LabRecorder writes them, as a source: several streams, each with its own rate and clock.

Stamps are taken raw and the recorded clock offsets are added (see xdf_clock); nothing is dejittered here, as live. The
file is walked once to learn where everything is, and samples are read when their time comes: only the stretch that is
being read is in memory, and of the rest some sixty bytes a chunk.
"""

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hypnostream.bridges.xdf_index import XdfIndex, XdfStream, read_index
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation, Chunk, StreamInfo


class XdfSource:
    """A recording as a source of chunks; keeps `stream.source.Source`.

    Stream time 0 is the first sample of all; where streams declare that their stamps are stream time, it is theirs.
    Streams of text are `annotations`. `chunk_s` is how far one `read` goes: to the next multiple of it in stream time.
    A header's time without a zone is taken as `timezone`.

    Raises UserError when the file is no XDF or has no stream of numbers.
    """

    def __init__(self, path: str | os.PathLike[str], chunk_s: float = 30.0, timezone: tzinfo = UTC) -> None:
        if not (math.isfinite(chunk_s) and chunk_s > 0):
            raise UserError(f"chunk_s is {chunk_s}; give a number of seconds above 0")
        self._path, self._chunk_s = Path(path), chunk_s
        try:
            with self._path.open("rb") as file:
                self._index: XdfIndex = read_index(file, self._path.name, timezone)
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}; check the name and the permissions") from error
        self._file: BinaryIO | None = None
        self._closed = False
        self._readers = [_StreamReader(stream) for stream in self._index.streams]

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """The streams of numbers by name, as live."""
        return tuple(stream.info for stream in self._index.streams)

    @property
    def start_s(self) -> float:
        """0.0: stream time counts from the recording's start."""
        return 0.0

    @property
    def start_utc(self) -> datetime | None:
        """Wall time of stream time 0 to a second or two, by the file's header; None when that says nothing."""
        return self._index.start_utc

    @property
    def duration_s(self) -> float:
        """From stream time 0 to the end of the last sample, gaps included; whole tenths of a second."""
        return self._index.duration_s

    @property
    def warnings(self) -> Sequence[str]:
        """What was wrong in the file and what was made of it."""
        return tuple(self._index.warnings)

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """What the streams of text say, by onset."""
        return self._index.annotations

    @property
    def exhausted(self) -> bool:
        """True when all was read, or the source was closed."""
        return self._closed or all(math.isinf(reader.next_s) for reader in self._readers)

    def read(self, timeout_s: float) -> list[Chunk]:
        """The next stretch, at once: one chunk a stream, all to the same multiple of `chunk_s`.

        A stream without a sample in the stretch has no chunk. Raises UserError when the file cannot be read any more.
        """
        chunks: list[Chunk] = []
        while not chunks and not self.exhausted:
            begin_s = min(reader.next_s for reader in self._readers)
            until_s = (math.floor(begin_s / self._chunk_s + 1e-9) + 1) * self._chunk_s
            try:
                if self._file is None:
                    self._file = self._path.open("rb")
                taken = [reader.take(self._file, until_s) for reader in self._readers]
            except (OSError, ValueError) as error:
                raise UserError(f"cannot read on in {self._path}: {error}; did it change?") from error
            chunks = [chunk for chunk in taken if chunk is not None]
        if self.exhausted:
            self.close()
        return chunks

    def close(self) -> None:
        """Close the file. Nothing comes after; streams, annotations and warnings stay."""
        self._closed = True
        if self._file is not None:
            self._file.close()
            self._file = None


class _StreamReader:
    """What of one stream was not given out yet."""

    def __init__(self, stream: XdfStream) -> None:
        self._stream = stream
        self._piece = 0
        self._pending: list[Chunk] = []

    @property
    def next_s(self) -> float:
        """When the next sample is, about; infinite when there is none."""
        if self._pending:
            return float(self._pending[0].timestamps[0])
        order = self._stream.order_s
        return float(order[self._piece]) if self._piece < len(order) else math.inf

    def take(self, file: BinaryIO, until_s: float) -> Chunk | None:
        """What comes before a time. A stamp that leaps ahead and back again goes with its neighbours."""
        order = self._stream.order_s
        while self._piece < len(order) and order[self._piece] < until_s:
            chunk = self._stream.read(file, self._piece)
            self._piece += 1
            if len(chunk.timestamps):
                self._pending.append(chunk)
        taken = []
        while self._pending:
            chunk = self._pending.pop(0)
            before = np.flatnonzero(chunk.timestamps < until_s)
            count = int(before[-1]) + 1 if len(before) else 0
            if count:
                taken.append(Chunk(chunk.stream_id, chunk.samples[:count], chunk.timestamps[:count]))
            if count < len(chunk.timestamps):
                self._pending.insert(0, Chunk(chunk.stream_id, chunk.samples[count:], chunk.timestamps[count:]))
                break
        if not taken:
            return None
        samples = np.concatenate([chunk.samples for chunk in taken])
        return Chunk(self._stream.info.stream_id, samples, np.concatenate([chunk.timestamps for chunk in taken]))
