"""What an XDF file says of itself and of each stream; it is believed in nothing."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from xml.etree.ElementTree import Element

from hypnostream.bridges.xdf_chunks import NUMBERS, DamagedError, parse_xml
from hypnostream.stream.source import ChannelInfo

TEXT: Final = "string"
_MOST_CHANNELS, _FASTEST_HZ, _LONGEST = 4096, 1e6, 200


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """One stream. `number` is the type of its samples, one of NUMBERS or TEXT; `rate_hz` 0.0 when it is irregular.

    `stream_clock`: its stamps are stream time, not a sender's clock. `results`: it is what a session of ours said.
    """

    name: str
    identity: tuple[str, ...]
    number: str
    rate_hz: float
    channels: tuple[ChannelInfo, ...]
    stream_clock: bool
    results: bool
    start_utc: datetime | None


def read_stream_header(raw: bytes) -> StreamHeader:
    """A stream's header. Raises DamagedError when the stream cannot be read by it."""
    info = parse_xml(raw)
    name = _text(info, "name")
    number = _text(info, "channel_format")
    if number not in NUMBERS and number != TEXT:
        raise DamagedError(f"{name!r} has samples of an unknown kind {number!r}")
    count = _number(info, "channel_count")
    if count is None or not 1 <= count <= _MOST_CHANNELS or not count.is_integer():
        raise DamagedError(f"{name!r} says that it has {_text(info, 'channel_count')!r} channels")
    rate_hz = _number(info, "nominal_srate") or 0.0
    if not 0 <= rate_hz <= _FASTEST_HZ:
        raise DamagedError(f"{name!r} says that its rate is {rate_hz} Hz")
    description = info.find("desc")
    stream_type = _text(info, "type")
    described = [] if description is None else description.findall("channels/channel")
    channels = [
        _channel(described[index] if index < len(described) else None, index, stream_type)
        for index in range(int(count))
    ]
    return StreamHeader(
        name=name,
        identity=(name, _text(info, "source_id"), _text(info, "uid")),
        number=number,
        rate_hz=rate_hz,
        channels=tuple(channels),
        stream_clock=description is not None and _text(description, "clock") == "stream",
        results=description is not None and bool(_text(description, "results_of")),
        start_utc=None if description is None else read_time(_text(description, "start_utc"), None),
    )


def read_recording_time(raw: bytes, timezone: tzinfo = UTC) -> datetime | None:
    """When the recording began, by the file's header; None where that says nothing. Raises DamagedError."""
    return read_time(_text(parse_xml(raw), "datetime"), timezone)


def read_time(text: str, timezone: tzinfo | None) -> datetime | None:
    """UTC of an ISO 8601 time; one without a zone is in `timezone`, and nothing where that is None."""
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            if timezone is None:
                return None
            time = time.replace(tzinfo=timezone)
        return time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _channel(element: Element | None, index: int, stream_type: str) -> ChannelInfo:
    """A channel by its element; without a label, or with a number for one, its type says what it is (as live)."""
    if element is None:
        return ChannelInfo(f"{stream_type or 'Signal'} {index + 1}")
    label = _text(element, "label")
    if not any(character.isalpha() for character in label):
        label = f"{_text(element, 'type') or stream_type or 'Signal'} {label or index + 1}"
    return ChannelInfo(
        label,
        _text(element, "unit"),
        _number(element, "minimum"),
        _number(element, "maximum"),
        _text(element, "transducer"),
        _text(element, "prefilter"),
    )


def _text(element: Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()[:_LONGEST]


def _number(element: Element, tag: str) -> float | None:
    try:
        value = float(_text(element, tag))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
