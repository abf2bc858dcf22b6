"""How a stream describes itself in LSL's XML: the conventions of XDF, and what our own outlets add.

Of XDF: channels/channel with label, unit and type. Ours, all optional: for each channel minimum, maximum, transducer
and prefilter; for the stream

- clock "stream": the stamps are stream time, not the sender's LSL clock, so no clock offset applies to them;
- speed: how many seconds of stream time pass in one on the wall;
- start_s, start_utc, duration_s: the recording's start in stream time and on the wall, and its planned length.
"""

import math
from datetime import datetime
from typing import Final

import pylsl

from hypnostream.bridges.stream_description import Description
from hypnostream.stream.source import ChannelInfo, Source, StreamInfo

_LSL_TYPES: Final = {"eeg": "EEG", "eog": "EOG", "emg": "EMG", "ecg": "ECG", "resp": "Respiration", "spo2": "SpO2"}
_FORMATS: Final = {
    pylsl.cf_float32: "float32",
    pylsl.cf_double64: "double64",
    pylsl.cf_int8: "int8",
    pylsl.cf_int16: "int16",
    pylsl.cf_int32: "int32",
    pylsl.cf_int64: "int64",
    pylsl.cf_string: "string",
}
_MAX_CHANNELS, _MAX_RATE_HZ, _MAX_TEXT = 4096, 1e6, 200
_LEAST_BUFFER_S, _SLACK_WALL_S, _LONGEST_BUFFER_S = 360.0, 20.0, 12 * 3600.0
_MAX_BUFFER_SAMPLES = 16_000_000  # liblsl sets aside 16 bytes for each, at once


def buffer_s(speed: float, duration_s: float | None, rate_hz: float) -> int:
    """Seconds of stream time that either end of an LSL stream must be able to hold so that nothing is lost.

    A full LSL buffer drops its oldest samples without a word. So it holds twenty seconds on the wall at the sender's
    speed, six minutes at least; a sender as fast as it goes may be a whole recording ahead of its reader. Where
    `rate_hz` is 0.0 liblsl counts in hundreds of samples instead of seconds, which these are good for as well.
    """
    longest_s = _LONGEST_BUFFER_S if duration_s is None else min(duration_s + 60, _LONGEST_BUFFER_S)
    wanted_s = max(_LEAST_BUFFER_S, min(_SLACK_WALL_S * speed, longest_s))
    return max(1, math.ceil(min(wanted_s, _MAX_BUFFER_SAMPLES / (rate_hz or 100.0))))


def describe(stream: StreamInfo, source: Source, speed: float, prefix: str) -> pylsl.StreamInfo:
    """The LSL description of one stream of a source that is sent at `speed`; its name is prefix + stream_id."""
    name = prefix + stream.stream_id
    # With a source_id an inlet finds its stream again after the sender was restarted.
    info = pylsl.StreamInfo(
        name,
        _LSL_TYPES.get(stream.stream_id, "Signal"),
        len(stream.channels),
        stream.rate_hz,
        "float32",
        f"hypnostream-{name}",
    )
    description = info.desc()
    _append(description, clock="stream", speed=speed, start_s=float(source.start_s), duration_s=source.duration_s)
    _append(description, start_utc=source.start_utc.isoformat() if source.start_utc else None)
    channels = description.append_child("channels")
    for channel in stream.channels:
        _append(
            channels.append_child("channel"),
            label=channel.label,
            unit=channel.unit,
            type=_channel_type(channel, stream),
            minimum=channel.minimum,
            maximum=channel.maximum,
            transducer=channel.transducer,
            prefilter=channel.prefilter,
        )
    return info


def read_description(info: pylsl.StreamInfo, stream_id: str) -> Description:
    """What the full description of a resolved stream says; it came over the network and is believed in nothing."""
    problems = []
    rate_hz = info.nominal_srate()
    if not 0 <= rate_hz <= _MAX_RATE_HZ:
        problems.append(f"LSL stream {stream_id!r} says its rate is {rate_hz} Hz; it is taken as irregular")
        rate_hz = 0.0
    description = info.desc()
    count = min(info.channel_count(), _MAX_CHANNELS)
    channels = [_read_channel(None, index, info.type()) for index in range(count)]
    element = description.child("channels").child("channel")
    for index in range(count):
        if element.empty():
            if index:
                problems.append(f"LSL stream {stream_id!r} describes {index} of its {count} channels")
            break
        channels[index] = _read_channel(element, index, info.type())
        element = element.next_sibling("channel")
    start_utc = None
    if text := description.child_value("start_utc"):
        try:
            start_utc = datetime.fromisoformat(text)
        except ValueError:
            problems.append(f"LSL stream {stream_id!r} says it started at {text[:40]!r}, which is no ISO 8601 time")
    speed, start_s = _number(description, "speed"), _number(description, "start_s")
    duration_s = _number(description, "duration_s")
    return Description(
        stream=StreamInfo(
            stream_id, rate_hz, tuple(channels), _text(info.name()), _FORMATS.get(info.channel_format(), "")
        ),
        stream_clock=description.child_value("clock") == "stream",
        speed=speed if speed and speed > 0 else 1.0,
        start_s=start_s if start_s is not None and math.isfinite(start_s) else 0.0,
        start_utc=start_utc if start_utc is None or start_utc.tzinfo else None,
        duration_s=duration_s if duration_s is not None and 0 < duration_s < math.inf else None,
        problems=tuple(problems),
    )


def _read_channel(element: pylsl.info.XMLElement | None, index: int, stream_type: str) -> ChannelInfo:
    """A channel by its element; without a label, or with a number for one, its type says what it is."""
    if element is None:
        return ChannelInfo(f"{_text(stream_type) or 'Signal'} {index + 1}")
    label = _text(element.child_value("label"))
    if not any(character.isalpha() for character in label):
        kind = _text(element.child_value("type")) or _text(stream_type) or "Signal"
        label = f"{kind} {label or index + 1}"
    return ChannelInfo(
        label,
        _text(element.child_value("unit")),
        _number(element, "minimum"),
        _number(element, "maximum"),
        _text(element.child_value("transducer")),
        _text(element.child_value("prefilter")),
    )


def _append(element: pylsl.info.XMLElement, **values: str | float | None) -> None:
    for name, value in values.items():
        if value not in (None, ""):
            element.append_child_value(name, value if isinstance(value, str) else repr(float(value or 0.0)))


def _number(element: pylsl.info.XMLElement, name: str) -> float | None:
    try:
        value = float(element.child_value(name))
    except ValueError:
        return None
    return None if math.isnan(value) else value


def _text(value: str) -> str:
    return value.strip()[:_MAX_TEXT]


def _channel_type(channel: ChannelInfo, stream: StreamInfo) -> str:
    first_word = channel.label.split(" ")[0].split("-")[0].lower()
    return _LSL_TYPES.get(first_word, _LSL_TYPES.get(stream.stream_id, "Signal"))
