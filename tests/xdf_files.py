"""A writer of XDF files for the tests, byte by byte as the format has it, with nothing of the reader in it."""

import struct
from collections.abc import Sequence
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.source import Chunk, StreamInfo

BOUNDARY = bytes(
    (0x43, 0xA5, 0x46, 0xDC, 0xCB, 0xF5, 0x41, 0x0F, 0xB3, 0x0E, 0xD5, 0x46, 0x73, 0x83, 0xCB, 0xE4)
)  # fmt: skip
FORMATS = {"float32": "<f4", "double64": "<f8", "int8": "<i1", "int16": "<i2", "int32": "<i4", "int64": "<i8"}


def length(value: int) -> bytes:
    """A number in as few bytes as it may have."""
    if value < 256:
        return b"\x01" + struct.pack("<B", value)
    if value < 2**32:
        return b"\x04" + struct.pack("<I", value)
    return b"\x08" + struct.pack("<Q", value)


def chunk(tag: int, content: bytes) -> bytes:
    return length(len(content) + 2) + struct.pack("<H", tag) + content


def file_header(time: str = "2026-03-28T22:41:00+0100") -> bytes:
    return chunk(1, f"<?xml version='1.0'?><info><version>1.0</version><datetime>{time}</datetime></info>".encode())


def stream_header(
    number: int,
    name: str,
    rate_hz: float,
    channels: Sequence[tuple[str, str]] = (),
    count: int | None = None,
    sample_format: str = "float32",
    kind: str = "EEG",
    extra: str = "",
) -> bytes:
    """`channels` are labels and units; `extra` is more XML for the description."""
    described = "".join(
        f"<channel><label>{escape(label)}</label><unit>{escape(unit)}</unit></channel>" for label, unit in channels
    )
    xml = (
        f"<?xml version='1.0'?><info><name>{escape(name)}</name><type>{kind}</type>"
        f"<channel_count>{len(channels) if count is None else count}</channel_count>"
        f"<nominal_srate>{rate_hz}</nominal_srate><channel_format>{sample_format}</channel_format>"
        f"<source_id>{escape(name)}-1</source_id><uid>u{number}</uid>"
        f"<desc>{extra}<channels>{described}</channels></desc></info>"
    )
    return chunk(2, struct.pack("<I", number) + xml.encode())


def samples(number: int, stamps: Sequence[float | None], values: NDArray[np.generic], sample_format: str) -> bytes:
    """A chunk of numbers; a stamp of None is left out, as recorders do where it follows from the rate."""
    rows = np.asarray(values, FORMATS[sample_format])
    body = [struct.pack("<I", number), length(len(rows))]
    for stamp, row in zip(stamps, rows, strict=True):
        body += [b"\0" if stamp is None else b"\x08" + struct.pack("<d", stamp), row.tobytes()]
    return chunk(3, b"".join(body))


def texts(number: int, said: Sequence[tuple[float, str]]) -> bytes:
    body = [struct.pack("<I", number), length(len(said))]
    for stamp, text in said:
        raw = text.encode()
        body += [b"\x08", struct.pack("<d", stamp), length(len(raw)), raw]
    return chunk(3, b"".join(body))


def clock_offset(number: int, at_s: float, offset_s: float) -> bytes:
    return chunk(4, struct.pack("<Idd", number, at_s, offset_s))


def boundary() -> bytes:
    return chunk(5, BOUNDARY)


def footer(number: int) -> bytes:
    return chunk(6, struct.pack("<I", number) + b"<?xml version='1.0'?><info><sample_count>1</sample_count></info>")


class SenderClock:
    """A sender's clock beside the recorder's: `ahead_s` at the recorder's 0, and faster by `drift`."""

    def __init__(self, ahead_s: float = 0.0, drift: float = 0.0) -> None:
        self.ahead_s, self.drift = ahead_s, drift

    def of(self, recorder_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return recorder_s * (1 + self.drift) + self.ahead_s

    def measured(self, number: int, recorder_s: float, error_s: float = 0.0) -> bytes:
        """The chunk of a measurement made at a time of the recorder."""
        sender_s = float(self.of(np.array([recorder_s]))[0])
        return clock_offset(number, sender_s, recorder_s - sender_s + error_s)


RECORDER_S = 5000.0  # the recorder's clock at stream time 0


def recording(
    streams: Sequence[StreamInfo],
    chunks: Sequence[Chunk],
    clocks: Sequence[SenderClock],
    markers: Sequence[tuple[float, str]] = (),
    error_s: float = 0.0,
    sparse_stamps: bool = True,
) -> bytes:
    """A file as LabRecorder writes one: half a second of a stream in a chunk, an offset each 5 s, a boundary each 10.

    `markers` are (stream time, text). With `sparse_stamps` only the first stamp of a chunk is written.
    """
    random = np.random.default_rng(3)
    parts = [b"XDF:", file_header()]
    for number, info in enumerate(streams, 1):
        parts.append(stream_header(number, info.stream_id, info.rate_hz, [(c.label, c.unit) for c in info.channels]))
    text_number = len(streams) + 1
    parts.append(stream_header(text_number, "markers", 0.0, count=1, sample_format="string", kind="Markers"))
    end_s = max(float(each.timestamps[-1]) for each in chunks) + 0.5
    for half in range(int(end_s * 2) + 1):
        begin_s = half / 2
        for number, (each, clock) in enumerate(zip(chunks, clocks, strict=True), 1):
            if half % 10 == 0:
                parts.append(clock.measured(number, RECORDER_S + begin_s, float(random.exponential(error_s))))
            rows = slice(*np.searchsorted(each.timestamps, [begin_s, begin_s + 0.5]))
            if rows.stop > rows.start:
                stamps = clock.of(each.timestamps[rows] + RECORDER_S).tolist()
                written = [stamps[0], *[None] * (len(stamps) - 1)] if sparse_stamps else stamps
                parts.append(samples(number, written, each.samples[rows], "float32"))
        said = [(at_s + RECORDER_S, text) for at_s, text in markers if begin_s <= at_s < begin_s + 0.5]
        if said:
            parts.append(texts(text_number, said))
        if half % 20 == 19:
            parts.append(boundary())
    return b"".join([*parts, *(footer(number) for number in range(1, text_number + 1))])
