"""Steps as bytes, for the journal: MessagePack, samples as they lie in memory. Nothing that comes back is believed."""

import math
import zlib
from collections.abc import Iterator
from struct import Struct as Layout
from typing import Final

import msgspec
import numpy as np

from hypnostream.stream.source import Annotation, Arrival, Chunk, Notice, Step, StreamInfo

_FRAME: Final = Layout("<II")  # how long, and its crc32
LARGEST_BYTES: Final = 1 << 28


class _Chunk(msgspec.Struct, frozen=True, array_like=True, tag="chunk"):
    stream_id: str
    channels: int
    samples: bytes
    timestamps: bytes


class _Stream(msgspec.Struct, frozen=True, array_like=True, tag="stream"):
    info: StreamInfo


class _Annotation(msgspec.Struct, frozen=True, array_like=True, tag="annotation"):
    annotation: Annotation


class _Notice(msgspec.Struct, frozen=True, array_like=True, tag="notice"):
    notice: Notice


class _Step(msgspec.Struct, frozen=True, array_like=True):
    now_s: float
    arrivals: list[_Chunk | _Stream | _Annotation | _Notice]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Step)


def write_step(step: Step) -> bytes:
    """A frame: length, crc32, body."""
    body = _encoder.encode(_Step(step.now_s, [_plain(arrival) for arrival in step.arrivals]))
    return _FRAME.pack(len(body), zlib.crc32(body)) + body


def read_step(body: bytes) -> Step:
    """The step in a frame's body. Raises ValueError for bytes that are none."""
    try:
        plain = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a step: {error}") from error
    if not math.isfinite(plain.now_s):
        raise ValueError(f"a step at {plain.now_s} s")
    return Step(plain.now_s, tuple(_arrival(each) for each in plain.arrivals))


def read_steps(data: bytes) -> Iterator[Step]:
    """The steps in consecutive frames, up to the first that is torn or garbled."""
    at = 0
    while at + _FRAME.size <= len(data):
        length, crc = _FRAME.unpack_from(data, at)
        body = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(body) < length or zlib.crc32(body) != crc:
            return
        try:
            step = read_step(body)
        except ValueError:
            return
        yield step
        at += _FRAME.size + length


def _plain(arrival: Arrival) -> _Chunk | _Stream | _Annotation | _Notice:
    if isinstance(arrival, Chunk):
        samples = np.ascontiguousarray(arrival.samples, np.float32)
        stamps = np.ascontiguousarray(arrival.timestamps, np.float64)
        return _Chunk(arrival.stream_id, samples.shape[1], samples.tobytes(), stamps.tobytes())
    if isinstance(arrival, StreamInfo):
        return _Stream(arrival)
    if isinstance(arrival, Annotation):
        return _Annotation(arrival)
    return _Notice(arrival)


def _arrival(plain: _Chunk | _Stream | _Annotation | _Notice) -> Arrival:
    if isinstance(plain, _Stream):
        return plain.info
    if isinstance(plain, _Annotation):
        return plain.annotation
    if isinstance(plain, _Notice):
        return plain.notice
    n = len(plain.timestamps) // 8
    if plain.channels < 1 or len(plain.timestamps) % 8 or len(plain.samples) != 4 * n * plain.channels:
        raise ValueError(
            f"a chunk of {len(plain.samples)} bytes for {plain.channels} channels, {len(plain.timestamps)} for stamps"
        )
    samples = np.frombuffer(plain.samples, np.float32).reshape(n, plain.channels)
    return Chunk(plain.stream_id, samples, np.frombuffer(plain.timestamps, np.float64))
