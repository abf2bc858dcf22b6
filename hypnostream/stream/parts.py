"""A raw channel as a part of what a model wants: whether rate, limits and unit allow it, and what must be assumed."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.irregular import HOLD_S, SLOWEST_STEADY_HZ, IrregularSettings, steady
from hypnostream.stream.labels import Reading, printable, read_labels
from hypnostream.stream.source import ChannelInfo, StreamInfo
from hypnostream.stream.units import convert

# Below this a sensor cannot show what it is for, whatever the filters: spindles, blinks, muscle, QRS, a breath. Values
# that are held until the next one may come as seldom as the last says.
MINIMUM_RATE_HZ: Final = {
    "eeg": 50.0,
    "eog": 20.0,
    "emg": 50.0,
    "ecg": 50.0,
    "flow": 4.0,
    "effort": 4.0,
    **dict.fromkeys(HOLD_S, 0.2),
}

_PREFILTER_LOWPASS: Final = re.compile(r"LP:?\s*(\d+(?:\.\d+)?)\s*(?:Hz|$|\s)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RawChannel:
    """One channel as it is there, and what its label says. `index` is its column in the stream."""

    stream: StreamInfo
    index: int
    info: ChannelInfo
    reading: Reading

    @property
    def quoted(self) -> str:
        """The sender's own label, for people."""
        return f"'{printable(self.info.label)}'"


@dataclass(frozen=True, slots=True)
class Part:
    """A raw channel that a spec can use: `factor` turns its unit into the spec's, `remarks` say what was assumed."""

    channel: RawChannel
    factor: float
    remarks: tuple[str, ...]
    preference: tuple[tuple[str, float], ...]  # smaller is better, with the reason for people


def rate_of(stream: StreamInfo) -> str:
    """How often a stream's samples come, for people."""
    return f"at {stream.rate_hz:g} Hz" if stream.rate_hz else "at no fixed rate"


def raw_channels(streams: Sequence[StreamInfo]) -> list[RawChannel]:
    """Every channel of every stream, read. The conventions of labels.py are looked for over all streams together."""
    places = [(stream, index, info) for stream in streams for index, info in enumerate(stream.channels)]
    readings = read_labels([info.label for _, _, info in places])
    return [RawChannel(*place, reading) for place, reading in zip(places, readings, strict=True)]


def part_of(channel: RawChannel, spec: ChannelSpec) -> Part | str:
    """`channel` as a part of `spec`, or the clause that says why it cannot be."""
    rate, info = channel.stream.rate_hz, channel.info
    if not (math.isfinite(rate) and rate >= 0):
        return "its rate is not known"
    # What is filtered needs to know how far apart samples are; to guess it from their stamps would be to trust those.
    if rate == 0 and spec.kind not in HOLD_S:
        return f"its rate is irregular, and {spec.kind} is only had at a rate that the sender states"
    slowest = min(float(spec.rate_hz), MINIMUM_RATE_HZ.get(spec.kind, SLOWEST_STEADY_HZ))
    if 0 < rate < slowest:
        return f"{rate:g} Hz is too slow for {spec.kind} (at least {slowest:g} Hz)"
    if info.minimum is not None and info.minimum == info.maximum:
        return f"its limits are equal ({info.minimum:g}), so it carries nothing"
    conversion = convert(info.unit, spec.unit, spec.kind)
    if conversion.factor is None:
        return printable(conversion.remark)
    remarks = [printable(conversion.remark)] if conversion.remark else []
    if channel.reading.assumption:
        remarks.append(channel.reading.assumption)
    wanted_hz = spec.lowpass_hz or 0.0
    lowpass = _PREFILTER_LOWPASS.search(info.prefilter)
    recorded_hz = float(lowpass[1]) if lowpass else math.inf
    if not steady(channel.stream):
        hold_s = IrregularSettings().hold_of(spec.kind, rate)
        remarks.append(f"comes {rate_of(channel.stream)}; each value is taken to hold for {hold_s:g} s at most")
    elif rate < 2 * wanted_hz:
        remarks.append(f"{rate:g} Hz shows only the band below {rate / 2:g} Hz of the {wanted_hz:g} Hz looked at")
    elif recorded_hz < wanted_hz:
        remarks.append(f"was recorded with a lowpass of {recorded_hz:g} Hz, below the {wanted_hz:g} Hz looked at")
    treatment = ("raw", "", "filtered").index(channel.reading.treatment)
    preference = (
        ("its rate is high enough", float(rate < max(2 * wanted_hz, spec.rate_hz))),
        ("it is less filtered", float(treatment)),
        ("its recorded band is wider", -min(recorded_hz, wanted_hz or math.inf)),
        ("its unit is stated", float(bool(conversion.remark))),
        ("its label says more", float(bool(channel.reading.assumption))),
        ("its rate is nearer", abs(rate - spec.rate_hz)),
    )
    return Part(channel, conversion.factor, tuple(remarks), preference)


def usable(channels: Iterable[RawChannel], spec: ChannelSpec) -> list[Part]:
    """The channels that are fit to be parts of `spec`, best first."""
    parts = [part for channel in channels if isinstance(part := part_of(channel, spec), Part)]
    return sorted(parts, key=order)


def order(part: Part) -> tuple[object, ...]:
    """A total order that does not depend on where a channel stands in its stream, unless two are alike in all."""
    channel, info = part.channel, part.channel.info
    limits = tuple(math.inf if limit is None else limit for limit in (info.minimum, info.maximum))
    told = (info.label.casefold(), info.label, info.unit, info.transducer, info.prefilter)
    return (*(value for _, value in part.preference), *told, limits, channel.stream.stream_id, channel.index)
