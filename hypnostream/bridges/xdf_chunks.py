"""The chunks of an XDF file and what is in them, as the format has it (github.com/sccn/xdf, Specifications, 1.0).

A file is "XDF:" and chunks: a length in 1, 4 or 8 bytes, a tag of two, and content. Every ten seconds or so a recorder
writes a boundary, sixteen fixed bytes; after damage, reading goes on behind the next one. Little endian throughout.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

MAGIC: Final = b"XDF:"
FILE_HEADER, STREAM_HEADER, SAMPLES, CLOCK_OFFSET, BOUNDARY, STREAM_FOOTER = range(1, 7)
_WITH_STREAM: Final = (STREAM_HEADER, SAMPLES, CLOCK_OFFSET, STREAM_FOOTER)
BOUNDARY_ID: Final = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
NUMBERS: Final = {
    "float32": "<f4",
    "double64": "<f8",
    "int8": "<i1",
    "int16": "<i2",
    "int32": "<i4",
    "int64": "<i8",
}
_LONGEST_XML = 16 * 2**20
_WINDOW = 2**20


@dataclass(frozen=True, slots=True)
class ChunkAt:
    """Where a chunk's content is, behind its tag and its stream's number (0 where it has none)."""

    tag: int
    stream: int
    begin: int
    end: int


class DamagedError(ValueError):
    """Bytes that are not what they should be."""


def walk(file: BinaryIO, damage: list[str]) -> Iterator[ChunkAt]:
    """All chunks that can be found, in order; what was wrong is added to `damage`, a sentence each.

    The last one of a file that was cut short ends where the file does.
    """
    size = os.fstat(file.fileno()).st_size
    at = len(MAGIC)
    while at < size:
        file.seek(at)
        try:
            begin, end, tag = _chunk_header(file.read(11), at)
        except DamagedError as error:
            begin, end, tag, why = at, size + 1, 0, str(error)
        else:
            why = f"a chunk of {end - begin} bytes reaches beyond its end" if end > size else ""
            if not why and not _chunk_may_begin(file, end, size):
                if tag not in range(FILE_HEADER, STREAM_FOOTER + 1):
                    why = f"a chunk has the unknown tag {tag}"
                elif (inside := find_boundary(file, begin)) is not None and inside < end:
                    why = f"a chunk of {end - begin} bytes holds a boundary"
        cut_short = end > size and tag in _WITH_STREAM
        if why:
            found = find_boundary(file, begin)
            if found is not None:
                damage.append(f"at byte {at} {why}; {found - at} bytes were skipped")
                at = found
                continue
            damage.append(f"at byte {at} {why}; the rest was not read")
            if not cut_short:
                return
        stream, content = 0, begin
        if tag in _WITH_STREAM:
            file.seek(begin)
            number = file.read(4)
            if len(number) < 4:
                return
            stream, content = int.from_bytes(number, "little"), begin + 4
        yield ChunkAt(tag, stream, content, max(content, min(end, size)))
        at = end


def find_boundary(file: BinaryIO, at: int) -> int | None:
    """The byte behind the first boundary at or after a byte, None where there is none."""
    while True:
        file.seek(at)
        window = file.read(_WINDOW)
        found = window.find(BOUNDARY_ID)
        if found >= 0:
            return at + found + len(BOUNDARY_ID)
        if len(window) < _WINDOW:
            return None
        at += _WINDOW - len(BOUNDARY_ID)


def content_of(file: BinaryIO, chunk: ChunkAt) -> bytes:
    """The bytes of a chunk."""
    file.seek(chunk.begin)
    return file.read(chunk.end - chunk.begin)


def parse_xml(raw: bytes) -> Element:
    """The root of an XML text; DamagedError when it is none, has a DOCTYPE (which could expand), or is huge."""
    if len(raw) > _LONGEST_XML:
        raise DamagedError(f"its description has {len(raw)} bytes")
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def doctype(*_: object) -> None:
        raise DamagedError("its description has a DOCTYPE")

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = lambda tag, attributes: builder.start(tag, attributes)
    parser.EndElementHandler = lambda tag: builder.end(tag)
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(raw.decode("utf-8", "replace").replace("\0", " "), True)
    except expat.ExpatError as error:
        raise DamagedError(f"its description is no XML ({error})") from error
    root: Element = builder.close()
    return root


def parse_clock_offset(raw: bytes) -> tuple[float, float]:
    """(when on the sender's clock, what to add to it for the recorder's), in seconds."""
    if len(raw) != 16:
        raise DamagedError(f"a clock offset has {len(raw)} bytes")
    at_s, offset_s = struct.unpack("<dd", raw)
    return at_s, offset_s


@dataclass(frozen=True, slots=True)
class Samples:
    """One chunk of samples: `stamps` (n,) is NaN where it has none; `values` gives the samples (n, channels)."""

    stamps: NDArray[np.float64]
    runs: tuple[NDArray[np.void], ...]
    whole: bool

    def values(self) -> NDArray[np.float32]:
        """The samples (n, channels)."""
        with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which no one believes
            return np.concatenate([run["values"].astype(np.float32) for run in self.runs])


def parse_samples(raw: bytes, channels: int, number: str) -> Samples:
    """The samples of a chunk in one of NUMBERS: as many as are well-formed; not `whole` where that is not all.

    Whether a sample has a stamp is said before each. Most often many in a row have one or none, so it goes run by run.
    """
    count, at = _count(raw, 0)
    flags = np.frombuffer(raw, np.uint8)
    values = (NUMBERS[number], (channels,))
    value_bytes = np.dtype(values).itemsize
    with_stamp = np.dtype(
        {"names": ["stamp", "values"], "formats": ["<f8", values], "offsets": [1, 9], "itemsize": 9 + value_bytes}
    )
    without = np.dtype({"names": ["values"], "formats": [values], "offsets": [1], "itemsize": 1 + value_bytes})
    left, stamps, runs = count, [np.empty(0)], list[NDArray[np.void]]()
    while left and at < len(raw) and flags[at] in (0, 8):
        kind = with_stamp if flags[at] == 8 else without
        possible = min(left, (len(raw) - at) // kind.itemsize)
        if not possible:
            break
        length = _leading(flags[at : at + possible * kind.itemsize : kind.itemsize])
        run = np.ndarray((length,), kind, raw, at)
        runs.append(run)
        stamps.append(run["stamp"].astype(np.float64) if kind is with_stamp else np.full(length, np.nan))
        at += length * kind.itemsize
        left -= length
    return Samples(np.concatenate(stamps), tuple(runs), left == 0 and at == len(raw))


def parse_texts(raw: bytes, channels: int) -> tuple[list[tuple[float, str]], bool]:
    """(stamp or NaN, text) of each text sample that is well-formed, and whether that was all of the chunk."""
    count, at = _count(raw, 0)
    said: list[tuple[float, str]] = []
    try:
        for _ in range(count):
            flag = raw[at : at + 1]
            if flag not in (b"\0", b"\x08"):
                return said, False
            stamp = float("nan")
            if flag == b"\x08":
                (stamp,) = struct.unpack_from("<d", raw, at + 1)
            at += 9 if flag == b"\x08" else 1
            texts = []
            for _ in range(channels):
                length, at = _count(raw, at)
                if length > len(raw) - at:
                    return said, False
                texts.append(raw[at : at + length].decode("utf-8", "replace"))
                at += length
            said.append((stamp, "; ".join(filter(None, texts))))
    except (DamagedError, struct.error):
        return said, False
    return said, at == len(raw)


def _chunk_header(raw: bytes, at: int) -> tuple[int, int, int]:
    """Where what follows the tag begins, where the chunk ends, and the tag."""
    length, used = _count(raw, 0)
    if length < 2 or len(raw) < used + 2:
        raise DamagedError(f"a chunk says that it has {length} bytes")
    tag = int.from_bytes(raw[used : used + 2], "little")
    if tag in _WITH_STREAM and length < 6:
        raise DamagedError(f"a chunk of tag {tag} says that it has {length} bytes")
    return at + used + 2, at + used + length, tag


def _count(raw: bytes, at: int) -> tuple[int, int]:
    """A number of 1, 4 or 8 bytes, the first byte saying how many; and the byte behind it."""
    used = raw[at] if at < len(raw) else 0
    if used not in (1, 4, 8) or len(raw) < at + 1 + used:
        raise DamagedError(f"a length is said to have {used} bytes")
    return int.from_bytes(raw[at + 1 : at + 1 + used], "little"), at + 1 + used


def _chunk_may_begin(file: BinaryIO, at: int, size: int) -> bool:
    file.seek(at)
    return at == size or file.read(1) in (b"\x01", b"\x04", b"\x08")


def _leading(flags: NDArray[np.uint8]) -> int:
    """How many at the front are as the first is; looks no further than it must."""
    stop = 64
    while True:
        differs = flags[:stop] != flags[0]
        if differs.any():
            return int(differs.argmax())
        if stop >= len(flags):
            return len(flags)
        stop *= 4
