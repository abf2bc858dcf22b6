"""Recordings in EDF, EDF+C and EDF+D as a source: mixed rates, gaps as gaps, and as much of a damaged file as there is.

Only the stretch that is being read is in memory. The header and the timeline say what was wrong in the file; see there.
"""

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.edf_header import EdfHeader, SignalHeader, read_header
from hypnostream.bridges.edf_timeline import Timeline, read_timeline
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation, ChannelInfo, Chunk, StreamInfo

_FASTEST_HZ = 1e6
# Limits beyond these leave no room in float32.
_LARGEST_PHYSICAL = 1e30
_LARGEST_DIGITAL = 2**24


class EdfSource:
    """A recording as a source of chunks; keeps `stream.source.Source`.

    Channels of one rate are one stream, "edf:256". A sample is its physical value in the header's unit. `chunk_s` is
    how far one `read` goes: to the next multiple of it in stream time. Nothing comes of the time in a gap.
    The header's clock is local time without a zone; it is taken as `timezone`.

    Raises UserError when the file is no readable EDF or none of its channels can be used.
    """

    def __init__(self, path: str | os.PathLike[str], chunk_s: float = 30.0, timezone: tzinfo = UTC) -> None:
        if not (math.isfinite(chunk_s) and chunk_s > 0):
            raise UserError(f"chunk_s is {chunk_s}; give a number of seconds above 0")
        self._path = Path(path)
        self._header, self._timeline = _open(self._path)
        self._chunk_s = chunk_s
        self._warnings = [*self._header.warnings, *self._timeline.warnings]
        self._groups = _usable_groups(self._header, self._warnings)
        self._streams = tuple(_stream_info(group, self._header.record_s) for group in self._groups)
        self._start_utc = _start_utc(self._header.start, self._timeline.fraction_s, timezone)
        self._positions = [0] * len(self._groups)  # the next sample of each stream
        self._file: FileIO | None = None
        self._closed = False
        self._block = np.empty((0, self._header.record_samples), "<i2")  # the records read last
        self._block_start = 0

    @property
    def streams(self) -> tuple[StreamInfo, ...]:
        """One stream a rate, in the order in which the file's channels first have it."""
        return self._streams

    @property
    def start_s(self) -> float:
        """0.0: stream time counts from the recording's start."""
        return 0.0

    @property
    def start_utc(self) -> datetime | None:
        """Wall time of stream time 0, or None when the file does not know it (absurd or anonymous date)."""
        return self._start_utc

    @property
    def duration_s(self) -> float:
        """From stream time 0 to the end of the last record, gaps included."""
        return float(self._timeline.onsets_s[-1]) + self._header.record_s

    @property
    def warnings(self) -> Sequence[str]:
        """What was wrong in the file and what was made of it."""
        return tuple(self._warnings)

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """The EDF+ annotations by onset; () when there are none."""
        return self._timeline.annotations

    @property
    def exhausted(self) -> bool:
        """True when all was read, or the source was closed."""
        ends = (group[0].samples_per_record * self._header.records for group in self._groups)
        return self._closed or all(position >= end for position, end in zip(self._positions, ends, strict=True))

    def read(self, timeout_s: float) -> list[Chunk]:
        """The next stretch, at once: one chunk a stream, all to the same multiple of `chunk_s`.

        A stream without a sample in the stretch (its period is longer) has no chunk. Raises UserError when the file
        cannot be read any more.
        """
        chunks: list[Chunk] = []
        while not chunks and not self.exhausted:
            begin_s = min(self._time(i) for i in range(len(self._groups)))
            until_s = (math.floor(begin_s / self._chunk_s + 1e-9) + 1) * self._chunk_s
            ends = [self._samples_before(until_s, group[0].samples_per_record) for group in self._groups]
            if ends == self._positions:  # the next sample is a rounding error before `until_s`
                ends = [self._samples_before(until_s + self._chunk_s, g[0].samples_per_record) for g in self._groups]
            chunks = self._chunks_to(ends)
        if self.exhausted:
            self.close()
        return chunks

    def close(self) -> None:
        """Close the file. Nothing comes after; streams, annotations and warnings stay."""
        self._closed = True
        self._block = self._block[:0]
        if self._file is not None:
            self._file.close()
            self._file = None

    def _time(self, stream: int) -> float:
        """Stream time of the next sample of a stream, infinite when it has none."""
        per_record = self._groups[stream][0].samples_per_record
        record, sample = divmod(self._positions[stream], per_record)
        if record >= self._header.records:
            return math.inf
        return float(self._timeline.onsets_s[record]) + sample * self._header.record_s / per_record

    def _samples_before(self, until_s: float, per_record: int) -> int:
        """How many samples of a stream with `per_record` samples a record come before a time."""
        begun = int(np.searchsorted(self._timeline.onsets_s, until_s, side="left"))
        if begun == 0:
            return 0
        of_record_s = min(until_s - float(self._timeline.onsets_s[begun - 1]), self._header.record_s)
        # a millionth of a sample is rounding, not time
        of_record = math.ceil(of_record_s * per_record / self._header.record_s - 1e-6)
        return (begun - 1) * per_record + of_record

    def _chunks_to(self, ends: list[int]) -> list[Chunk]:
        spans = [
            (begin // group[0].samples_per_record, -(-end // group[0].samples_per_record))
            for group, begin, end in zip(self._groups, self._positions, ends, strict=True)
            if end > begin
        ]
        first, last = min(a for a, _ in spans), max(b for _, b in spans)
        records = self._records(first, last)
        onsets = self._timeline.onsets_s[first:last]
        chunks: list[Chunk] = []
        for info, group, begin, end in zip(self._streams, self._groups, self._positions, ends, strict=True):
            if end > begin:
                per_record = group[0].samples_per_record
                stretch = slice(begin - first * per_record, end - first * per_record)
                within = np.arange(per_record) * (self._header.record_s / per_record)
                timestamps = (onsets[:, None] + within).reshape(-1)[stretch]
                chunks.append(Chunk(info.stream_id, _physical(records, group, stretch), timestamps))
        self._positions = ends
        return chunks

    def _records(self, first: int, last: int) -> NDArray[np.int16]:
        """Records `first` to before `last`, (records, samples); the last block again where it has them all."""
        if not self._block_start <= first <= last <= self._block_start + len(self._block):
            samples = self._header.record_samples
            try:
                if self._file is None:
                    self._file = FileIO(self._path)
                self._file.seek(self._header.header_bytes + 2 * first * samples)
                flat = np.fromfile(self._file, "<i2", (last - first) * samples)
            except OSError as error:
                raise UserError(f"cannot read on in {self._path}: {error.strerror}") from error
            if len(flat) < (last - first) * samples:
                raise UserError(f"{self._header.name} became shorter while it was read; wait until it is complete")
            self._block, self._block_start = flat.reshape(last - first, samples), first
        return self._block[first - self._block_start : last - self._block_start]


def read_annotations(
    path: str | os.PathLike[str], timezone: tzinfo = UTC
) -> tuple[tuple[Annotation, ...], datetime | None, tuple[str, ...]]:
    """The annotations of an EDF+ file, the wall time of its stream time 0, and what was wrong in it.

    Unlike `EdfSource` it takes a file that has annotations only. Raises UserError when the file is no readable EDF.
    """
    header, timeline = _open(Path(path))
    start_utc = _start_utc(header.start, timeline.fraction_s, timezone)
    return timeline.annotations, start_utc, (*header.warnings, *timeline.warnings)


def _open(path: Path) -> tuple[EdfHeader, Timeline]:
    header = read_header(path)
    try:
        return header, read_timeline(path, header)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _usable_groups(header: EdfHeader, warnings: list[str]) -> tuple[tuple[SignalHeader, ...], ...]:
    """The channels that can be used, together with those of their rate."""
    groups: dict[int, list[SignalHeader]] = {}
    refused: list[str] = []
    for number, signal in enumerate(header.signals, 1):
        if signal.is_annotations:
            continue
        why = _why_unusable(signal, header.record_s)
        if why:
            refused.append(f"channel {number} ({signal.label!r}) {why}")
            warnings.append(f"{refused[-1]}; it was skipped")
        else:
            groups.setdefault(signal.samples_per_record, []).append(signal)
    if not groups:
        raise UserError(f"{header.name} has no usable channel: {'; '.join(refused) or 'it holds annotations only'}")
    return tuple(tuple(group) for group in groups.values())


def _why_unusable(signal: SignalHeader, record_s: float) -> str:
    if signal.samples_per_record == 0:
        return "has a rate of 0"
    if record_s == 0 or signal.samples_per_record / record_s > _FASTEST_HZ:
        return f"has no rate: {signal.samples_per_record} samples in a record of {record_s:g} s"
    digital = (signal.digital_minimum, signal.digital_maximum)
    if not all(abs(limit) <= _LARGEST_DIGITAL and limit.is_integer() for limit in digital):
        return "has digital limits that are no whole numbers or too large"
    if not all(abs(limit) <= _LARGEST_PHYSICAL for limit in (signal.physical_minimum, signal.physical_maximum)):
        return "has physical limits that are no numbers or too large"
    if signal.digital_minimum == signal.digital_maximum:
        return f"has equal digital limits ({signal.digital_minimum:g})"
    if signal.physical_minimum == signal.physical_maximum or np.float32(_gain(signal)) == 0:
        return f"has equal physical limits ({signal.physical_minimum:g})"
    return ""


def _gain(signal: SignalHeader) -> float:
    return (signal.physical_maximum - signal.physical_minimum) / (signal.digital_maximum - signal.digital_minimum)


def _physical(records: NDArray[np.int16], group: Sequence[SignalHeader], stretch: slice) -> NDArray[np.float32]:
    """Physical values (samples, channels) of a stretch of one stream, counted from the first of `records`."""
    # A channel's samples lie side by side, as in the file, and as who filters them wants them.
    samples = np.empty((len(group), stretch.stop - stretch.start), np.float32)
    for row, signal in zip(samples, group, strict=True):
        gain = _gain(signal)
        digital = records[:, signal.offset : signal.offset + signal.samples_per_record].reshape(-1)[stretch]
        np.multiply(digital, np.float32(gain), out=row)
        row += np.float32(signal.physical_minimum - gain * signal.digital_minimum)
    return samples.T


def _stream_info(group: Sequence[SignalHeader], record_s: float) -> StreamInfo:
    rate_hz = group[0].samples_per_record / record_s
    channels = tuple(
        ChannelInfo(
            label=signal.label,
            unit=signal.unit,
            # a recorder may write its limits upside down to invert the polarity
            minimum=min(signal.physical_minimum, signal.physical_maximum),
            maximum=max(signal.physical_minimum, signal.physical_maximum),
            transducer=signal.transducer,
            prefilter=signal.prefilter,
        )
        for signal in group
    )
    return StreamInfo(stream_id=f"edf:{rate_hz:.10g}", rate_hz=rate_hz, channels=channels, name=f"{rate_hz:.10g} Hz")


def _start_utc(start: datetime | None, fraction_s: float, timezone: tzinfo) -> datetime | None:
    if start is None:
        return None
    return start.replace(tzinfo=timezone).astimezone(UTC) + timedelta(seconds=fraction_s)
