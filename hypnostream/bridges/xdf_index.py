"""Where everything is in an XDF file, and when it was: one walk over it, keeping stamps and no samples."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from itertools import pairwise
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges import xdf_chunks as xdf
from hypnostream.bridges.xdf_chunks import ChunkAt, DamagedError
from hypnostream.bridges.xdf_clock import Line, clock_of, lines, on_recorder_s
from hypnostream.bridges.xdf_header import TEXT, StreamHeader, read_recording_time, read_stream_header
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation, Chunk, StreamInfo

# A recording is no longer; a stamp beyond is a damaged one, and believing it would make years of epochs.
LONGEST_S: Final = 7 * 86400.0
MOST_ANNOTATIONS: Final = 100_000
_JUMP_S = 0.5


@dataclass(frozen=True, slots=True)
class _Piece:
    """Samples `start` to `stop` of a chunk, between whose stamps nothing jumps; `before_s` is the stamp before the
    chunk, `first_s` and `last_s` are its own, all on the sender's clock.
    """

    chunk: ChunkAt
    before_s: float
    start: int
    stop: int
    first_s: float
    last_s: float


@dataclass(slots=True)
class XdfStream:
    """One stream of numbers. `order_s` (pieces,) is when each piece is due, in stream time, never falling."""

    info: StreamInfo
    header: StreamHeader
    pieces: list[_Piece]
    clocks: list[Line]
    clock: NDArray[np.int64]
    zero_s: float = 0.0
    order_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    _read: tuple[ChunkAt, NDArray[np.float32], NDArray[np.float64]] | None = None

    def corrected(self, stamps: NDArray[np.float64], piece: int) -> NDArray[np.float64]:
        """Stamps (n,) of a piece on the recorder's clock, less `zero_s`."""
        offset_s = self.clocks[self.clock[piece]].offset_s(stamps) if self.clocks else 0.0
        return stamps + offset_s - self.zero_s

    def read(self, file: BinaryIO, number: int) -> Chunk:
        """The samples of one piece. Raises OSError, or ValueError when the file is not what it was."""
        piece = self.pieces[number]
        if self._read is None or self._read[0] is not piece.chunk:
            samples = xdf.parse_samples(xdf.content_of(file, piece.chunk), len(self.info.channels), self.header.number)
            stamps = filled(samples.stamps, piece.before_s, self.info.rate_hz)
            self._read = piece.chunk, samples.values(), stamps
        _, values, stamps = self._read
        if len(values) < piece.stop:
            raise DamagedError("there is less in it than there was")
        stretch = slice(piece.start, piece.stop)
        return Chunk(self.info.stream_id, values[stretch], self.corrected(stamps[stretch], number))


@dataclass(slots=True)
class XdfIndex:
    """All of a file but its samples."""

    streams: tuple[XdfStream, ...]
    annotations: tuple[Annotation, ...]
    start_utc: datetime | None
    duration_s: float
    warnings: list[str]


@dataclass(slots=True)
class _Found:
    """What the walk found of one stream."""

    header: StreamHeader
    last_s: float = math.nan
    pieces: list[_Piece] = field(default_factory=list)
    texts: list[tuple[float, str]] = field(default_factory=list)
    offsets: list[tuple[float, float]] = field(default_factory=list)


def filled(stamps: NDArray[np.float64], before_s: float, rate_hz: float) -> NDArray[np.float64]:
    """Stamps (n,) with those that a chunk leaves out (NaN): each a period after the one before it."""
    given = np.flatnonzero(np.isfinite(stamps))
    if len(given) == len(stamps):
        return stamps
    index = np.arange(len(stamps))
    place = np.searchsorted(given, index, side="right") - 1  # the last one that is given; -1 before the first
    known = np.concatenate((stamps[given], [before_s]))[place]
    since = index - np.concatenate((given, [-1]))[place]
    filled_in: NDArray[np.float64] = known + (since / rate_hz if rate_hz else 0.0)
    return filled_in


def read_index(file: BinaryIO, name: str, timezone: tzinfo) -> XdfIndex:
    """Walk a file. Raises UserError when it is no XDF or has no stream of numbers, OSError when it cannot be read."""
    magic = file.read(len(xdf.MAGIC))
    if magic[:2] == b"\x1f\x8b":
        raise UserError(f"{name} is a compressed XDF; decompress it first, with gzip")
    if magic != xdf.MAGIC:
        raise UserError(f"{name} is no XDF file: it does not begin with {xdf.MAGIC.decode()!r}")
    damage: list[str] = []
    found, start_utc, broken = _walk(file, damage, timezone)
    warnings = _in_few(damage, f"{name} is damaged: ")
    warnings += [f"{count} {what} could not be read whole" for what, count in sorted(broken.items())]
    numbers = {key: each for key, each in found.items() if each.header.number != TEXT and not each.header.results}
    texts = [each for each in found.values() if each.header.number == TEXT and not each.header.results]
    if any(each.header.stream_clock for each in numbers.values()):
        others = [each for each in (*numbers.values(), *texts) if not each.header.stream_clock]
        numbers = {key: each for key, each in numbers.items() if each.header.stream_clock}
        texts = [each for each in texts if each.header.stream_clock]
        warnings += [f"stream {each.header.name!r} has another clock than stream time; left out" for each in others]
    streams = _streams(numbers, warnings)
    if not streams:
        raise UserError(f"{name} has no samples of numbers; record a stream of signals with it")
    stream_time = streams[0].header.stream_clock
    duration_s = _set_times(streams, 0.0 if stream_time else None, warnings)
    if stream_time:
        start_utc = next((s.header.start_utc for s in streams if s.header.start_utc is not None), start_utc)
    annotations = _annotations(texts, streams[0].zero_s, duration_s, warnings)
    return XdfIndex(streams, annotations, start_utc, duration_s, warnings)


def _walk(
    file: BinaryIO, damage: list[str], timezone: tzinfo
) -> tuple[dict[int, _Found], datetime | None, Counter[str]]:
    found: dict[int, _Found] = {}
    broken: Counter[str] = Counter()
    start_utc: datetime | None = None
    for chunk in xdf.walk(file, damage):
        stream = found.get(chunk.stream)
        try:
            if chunk.tag == xdf.FILE_HEADER:
                start_utc = read_recording_time(xdf.content_of(file, chunk), timezone)
            elif chunk.tag == xdf.STREAM_HEADER and stream is None:
                found[chunk.stream] = _Found(read_stream_header(xdf.content_of(file, chunk)))
            elif chunk.tag == xdf.CLOCK_OFFSET and stream is not None:
                stream.offsets.append(xdf.parse_clock_offset(xdf.content_of(file, chunk)))
            elif chunk.tag == xdf.SAMPLES and stream is None:
                broken["chunks of streams without a header"] += 1
            elif chunk.tag == xdf.SAMPLES and stream is not None and not _take(file, chunk, stream):
                broken[f"chunks of stream {stream.header.name!r}"] += 1
        except DamagedError as error:
            what = {xdf.FILE_HEADER: "its header", xdf.STREAM_HEADER: "a stream"}.get(chunk.tag)
            if what:
                damage.append(f"{what} was left out: {error}")
            else:
                broken["chunks"] += 1
    return found, start_utc, broken


def _take(file: BinaryIO, chunk: ChunkAt, stream: _Found) -> bool:
    """Note where the samples of a chunk are; whether all of it could be read."""
    content, header = xdf.content_of(file, chunk), stream.header
    if header.number == TEXT:
        texts, whole = xdf.parse_texts(content, len(header.channels))
        for stamp_s, text in texts:
            stream.last_s = stamp_s if math.isfinite(stamp_s) else stream.last_s + 1 / (header.rate_hz or math.inf)
            if len(stream.texts) <= MOST_ANNOTATIONS:
                stream.texts.append((stream.last_s, text))
        return whole
    samples = xdf.parse_samples(content, len(header.channels), header.number)
    stamps = filled(samples.stamps, stream.last_s, header.rate_hz)
    if len(stamps):
        steps = np.diff(stamps)
        period_s = 1 / header.rate_hz if header.rate_hz else 0.0
        jumps = np.flatnonzero(~(np.abs(steps - period_s) <= _JUMP_S)) + 1 if header.rate_hz else np.empty(0, int)
        for start, stop in pairwise([0, *jumps.tolist(), len(stamps)]):
            first_s, last_s = float(stamps[start]), float(stamps[stop - 1])
            stream.pieces.append(_Piece(chunk, stream.last_s, start, stop, first_s, last_s))
        stream.last_s = float(stamps[-1])
    return samples.whole


def _streams(found: dict[int, _Found], warnings: list[str]) -> tuple[XdfStream, ...]:
    """The streams with samples, by name as live, each of whose pieces has its clock."""
    measured = any(each.offsets for each in found.values())
    streams: list[XdfStream] = []
    taken: set[str] = set()
    for key, each in sorted(found.items(), key=lambda item: (*item[1].header.identity, item[0])):
        header = each.header
        pieces = [p for p in each.pieces if math.isfinite(p.first_s) and math.isfinite(p.last_s)]
        if not pieces:
            warnings.append(f"stream {header.name!r} has no samples; left out")
            continue
        stream_id = header.name[:80] or f"stream {key}"
        while stream_id in taken:
            stream_id += "'"
        taken.add(stream_id)
        clocks = _clocks(each)
        if measured and not clocks and not header.stream_clock:
            warnings.append(f"stream {stream_id!r} has no clock offsets; its stamps are taken as the recorder's")
        if len(clocks) > 1:
            warnings.append(f"the clock of stream {stream_id!r} was set or started again {len(clocks) - 1} times")
        clock = clock_of(clocks, np.array([p.first_s for p in pieces]), np.array([p.last_s for p in pieces]))
        info = StreamInfo(stream_id, header.rate_hz, header.channels, name=header.name)
        streams.append(XdfStream(info, header, pieces, clocks, clock))
    return tuple(streams)


def _clocks(found: _Found) -> list[Line]:
    return [] if found.header.stream_clock else lines(*np.array(found.offsets, np.float64).reshape(-1, 2).T)


def _set_times(streams: Sequence[XdfStream], zero_s: float | None, warnings: list[str]) -> float:
    """Give every stream its zero and the order of its pieces; the duration of the recording."""
    firsts = [on_recorder_s(s.clocks, s.clock, np.array([piece.first_s for piece in s.pieces])) for s in streams]
    middle_s = float(np.median([np.median(each) for each in firsts]))
    for stream, first in zip(streams, firsts, strict=True):
        believed = np.abs(first - middle_s) <= LONGEST_S
        if not believed.all():
            lost = sum(p.stop - p.start for p, good in zip(stream.pieces, believed, strict=True) if not good)
            warnings.append(f"{lost} samples of stream {stream.info.stream_id!r} have impossible stamps; left out")
            stream.pieces = [p for p, good in zip(stream.pieces, believed, strict=True) if good]
            stream.clock = stream.clock[believed]
        stream.order_s = np.maximum.accumulate(_median_of_5(first[believed]))
    begun = [float(stream.order_s[0]) for stream in streams if len(stream.order_s)]
    zero = (min(begun) if begun else 0.0) if zero_s is None else zero_s
    duration_s = 0.0
    for stream in streams:
        stream.zero_s = zero
        stream.order_s = stream.order_s - zero
        if stream.pieces:
            last = stream.pieces[-1]
            length_s = max(0.0, last.last_s - last.first_s) + (1 / stream.info.rate_hz if stream.info.rate_hz else 0.0)
            duration_s = max(duration_s, float(stream.order_s[-1]) + min(length_s, LONGEST_S))
    return math.floor(duration_s * 10 + 1e-6) / 10  # clocks agree to milliseconds: they must not make an epoch


def _annotations(
    texts: Sequence[_Found], zero_s: float, duration_s: float, warnings: list[str]
) -> tuple[Annotation, ...]:
    said: list[Annotation] = []
    for each in texts:
        stamps = np.array([stamp_s for stamp_s, _ in each.texts])
        clocks = _clocks(each)
        stamps = on_recorder_s(clocks, clock_of(clocks, stamps, stamps), stamps)
        onsets = (stamps - zero_s).tolist()
        believed = [at_s for at_s in onsets if abs(at_s) <= duration_s + LONGEST_S]
        if len(believed) < len(onsets):
            warnings.append(f"{len(onsets) - len(believed)} markers of {each.header.name!r} have impossible stamps")
        said += [
            Annotation(at_s, 0.0, text, each.header.name)
            for at_s, (_, text) in zip(onsets, each.texts, strict=True)
            if abs(at_s) <= duration_s + LONGEST_S and text
        ]
    if len(said) > MOST_ANNOTATIONS:
        warnings.append(f"there are more than {MOST_ANNOTATIONS} markers; the others were left out")
    return tuple(sorted(said[:MOST_ANNOTATIONS], key=lambda annotation: annotation.onset_s))


def _median_of_5(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(values) < 5:
        return values
    padded = np.concatenate((values[:1], values[:1], values, values[-1:], values[-1:]))
    median: NDArray[np.float64] = np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
    return median


def _in_few(damage: list[str], lead: str) -> list[str]:
    shown = [f"{lead}{each}" for each in damage[:5]]
    return shown + ([f"{lead}{len(damage) - 5} more places"] if len(damage) > 5 else [])
