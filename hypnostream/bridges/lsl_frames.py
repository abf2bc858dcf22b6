"""What passes between a session, or a ward of them, and the process that reads LSL for it.

A frame is two lengths (uint32, little-endian), a header of the first, and raw bytes of the second. The header is
MessagePack: a list of messages, of which the first is `Of` where many beds share the process. The bytes are the stamps
(float64) and samples (float32) of those that carry samples.
"""

import struct
from collections.abc import Sequence
from typing import BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.stream_description import Description

Identity = tuple[str, str, str]  # name, type, and the source_id or else the host
_LENGTHS: Final = struct.Struct("<II")
_MOST: Final = 1 << 28


class Message(msgspec.Struct, frozen=True, tag=True):
    """What one side tells the other."""


class Known(Message, frozen=True):
    """A stream that was taken up before, `uid` being the outlet that it came from."""

    stream_id: str
    identity: Identity
    uid: str


class Begin(Message, frozen=True):
    """To the reader, first of all: liblsl's configuration, which streams, and from when on seconds count."""

    config: str
    query: str
    known: tuple[Known, ...]
    backlog_bytes: int
    t0_s: float | None = None


class Together(Message, frozen=True):
    """To the reader, first of all: many beds are to be read for. Each says `Begin` when it comes, of which the
    configuration is this one's. `backlog_bytes` is for all of them."""

    config: str
    backlog_bytes: int


class Of(Message, frozen=True):
    """The messages that follow in this frame are of, or for, the bed of this number; without it, of the process."""

    bed: int


class Leave(Message, frozen=True):
    """To the reader: this bed is read for no more."""


class Expect(Message, frozen=True):
    """To the reader: a second is complete at `t0_s` and each whole second from it, on the clock of the stamps."""

    t0_s: float


class Drop(Message, frozen=True):
    """To the reader: this stream cannot be used."""

    stream_id: str


class Look(Message, frozen=True):
    """To the reader: which streams are there at all?"""


class Crash(Message, frozen=True):
    """To the reader, from tests: die as by a fault in native code, or hang."""

    hang: bool = False


class Alive(Message, frozen=True):
    """A sign of life. `ahead_s` is the clock of LSL less this machine's monotonic clock."""

    ahead_s: float


class Found(Message, frozen=True):
    """A stream is open. Samples follow when the difference of the clocks is known."""

    known: Known
    description: Description
    text: bool = False


class Probe(Message, frozen=True):
    """At `local_s` the sender's clock plus `offset_s` was the clock here, give or take `uncertainty_s`."""

    stream_id: str
    local_s: float
    offset_s: float
    uncertainty_s: float


class Samples(Message, frozen=True):
    """`count` samples follow, their raw stamps first; `untimed` more had no finite stamp and were left out."""

    stream_id: str
    count: int
    channels: int
    arrival_s: float
    untimed: int = 0


class Texts(Message, frozen=True):
    """What a stream of text said, and when by its own clock."""

    stream_id: str
    texts: tuple[str, ...]
    stamps: tuple[float, ...]
    arrival_s: float


class Lost(Message, frozen=True):
    """The stream's sender is gone; it is looked for."""

    stream_id: str
    detail: str


class Refused(Message, frozen=True):
    """A stream that is there and cannot be taken."""

    name: str
    detail: str


class Overflowed(Message, frozen=True):
    """So many chunks were dropped, since nobody took them."""

    chunks: int


class Seen(Message, frozen=True):
    """The answer to `Look`: the names and types of all streams."""

    streams: tuple[tuple[str, str], ...]


class Failed(Message, frozen=True):
    """The reader ends, and why."""

    reason: str


ToReader = Begin | Together | Of | Leave | Expect | Drop | Look | Crash
FromReader = Of | Alive | Found | Probe | Samples | Texts | Lost | Refused | Overflowed | Seen | Failed

_encoder = msgspec.msgpack.Encoder()
_to_reader: msgspec.msgpack.Decoder[list[ToReader]] = msgspec.msgpack.Decoder(list[ToReader])
_from_reader: msgspec.msgpack.Decoder[list[FromReader]] = msgspec.msgpack.Decoder(list[FromReader])


def frame(messages: Sequence[Message], raw: bytes = b"") -> bytes:
    """The messages as they are written; `raw` is the samples of those that carry some, in their order."""
    header = _encoder.encode(messages)
    return _LENGTHS.pack(len(header), len(raw)) + header + raw


def read_commands(stream: BinaryIO) -> list[ToReader] | None:
    """The next frame that the session sent; None at the end."""
    body = _read(stream)
    return None if body is None else _to_reader.decode(body[0])


def read_reports(stream: BinaryIO) -> "tuple[list[FromReader], bytearray] | None":
    """The next frame that the reader sent, and its raw bytes; None at the end.

    Raises msgspec.DecodeError or ValueError for anything else than a frame.
    """
    body = _read(stream)
    return None if body is None else (_from_reader.decode(body[0]), body[1])


def unpack(message: Samples, raw: bytearray, at: int) -> tuple[NDArray[np.float64], NDArray[np.float32], int]:
    """The stamps (n,) and samples (n, channels) of a message that begin at byte `at`, and where the next begin."""
    middle = at + 8 * message.count
    end = middle + 4 * message.count * message.channels
    stamps = np.frombuffer(raw[at:middle], np.float64)
    samples = np.frombuffer(raw[middle:end], np.float32).reshape(message.count, message.channels)
    return stamps, samples, end


def _read(stream: BinaryIO) -> tuple[bytearray, bytearray] | None:
    lengths = _read_exactly(stream, _LENGTHS.size)
    if lengths is None:
        return None
    header, raw = _LENGTHS.unpack(lengths)
    if header + raw > _MOST:
        raise ValueError(f"a frame of {header} + {raw} bytes")
    body = _read_exactly(stream, header + raw)
    return None if body is None else (body[:header], body[header:])


def _read_exactly(stream: BinaryIO, count: int) -> bytearray | None:
    body = bytearray(stream.read(count))
    while len(body) < count:
        more = stream.read(count - len(body))
        if not more:
            return None
        body += more
    return body
