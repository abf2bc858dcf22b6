"""What `hypnostream inspect` tells: what every channel of a source is taken for or why not, and what is missing."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from hypnostream.stream.channels import ChannelSpec, Montage
from hypnostream.stream.labels import printable
from hypnostream.stream.montage import resolve
from hypnostream.stream.parts import RawChannel, part_of, raw_channels
from hypnostream.stream.source import Source


class InspectedChannel(msgspec.Struct, frozen=True):
    """One channel as it is there: its canonical name `reads_as` ("" unknown) and the inputs that it is part of."""

    stream: str
    index: int
    label: str
    unit: str
    rate_hz: float
    reads_as: str
    taken_for: tuple[str, ...]
    why: str


class InspectedInput(msgspec.Struct, frozen=True):
    """One input of the model. `derivation` is None when nothing serves it; `why` says how it is had or why not."""

    name: str
    kind: str
    derivation: str | None
    why: str


class Inspection(msgspec.Struct, frozen=True):
    """The whole answer. `notes` are the ambiguities and assumptions, `warnings` what was wrong in the input."""

    channels: tuple[InspectedChannel, ...]
    inputs: tuple[InspectedInput, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def inspect(source: Source, specs: Sequence[ChannelSpec], overrides: Mapping[str, str] | None = None) -> Inspection:
    """What a model with `specs` would make of the streams that `source` knows now.

    Errors: `UserError` for an override that cannot be had, as in `resolve`.
    """
    montage = resolve(source.streams, specs, overrides)
    missing = dict(montage.missing)
    had = {derivation.spec.name: derivation for derivation in montage.derivations}
    inputs = tuple(
        InspectedInput(spec.name, spec.kind, had[spec.name].label, had[spec.name].why)
        if spec.name in had
        else InspectedInput(spec.name, spec.kind, None, missing[spec.name])
        for spec in specs
    )
    channels = tuple(_inspected(channel, montage) for channel in raw_channels(source.streams))
    return Inspection(channels, inputs, montage.notes, tuple(printable(warning) for warning in source.warnings))


def _inspected(channel: RawChannel, montage: Montage) -> InspectedChannel:
    serves = [
        derivation
        for derivation in montage.derivations
        if derivation.stream_id == channel.stream.stream_id
        and any(term.channel_index == channel.index for term in derivation.terms)
    ]
    return InspectedChannel(
        stream=printable(channel.stream.stream_id),
        index=channel.index,
        label=printable(channel.info.label),
        unit=printable(channel.info.unit),
        rate_hz=channel.stream.rate_hz,
        reads_as=channel.reading.name,
        taken_for=tuple(derivation.spec.name for derivation in serves),
        why="; ".join(derivation.why for derivation in serves) or _why_not(channel, montage),
    )


def _why_not(channel: RawChannel, montage: Montage) -> str:
    """Why a channel serves nothing."""
    reading = channel.reading
    if not reading.kind:
        return "its label names no sensor that is known"
    if reading.kind == "other":
        return f"{reading.name.lower()}, which no input is made of"
    if reading.kind == "reference":
        return "a reference that no derivation here needs"
    kin = [spec for spec in montage.specs if spec.kind == reading.kind]
    if not kin:
        return f"this model has no {reading.kind} input"
    refusals = [part for spec in kin if isinstance(part := part_of(channel, spec), str)]
    if len(refusals) == len(kin):
        return f"cannot serve: {refusals[0]}"
    taken = [f"{d.spec.name} has {d.label}" for d in montage.derivations if d.spec.kind == reading.kind]
    return f"not needed: {', '.join(taken)}" if taken else f"no {reading.kind} input asks for {reading.name}"


def to_builtins(inspection: Inspection) -> dict[str, Any]:
    """The inspection as plain dicts, lists and numbers, for `--json`."""
    plain: dict[str, Any] = msgspec.to_builtins(inspection)
    return plain


def to_text(inspection: Inspection, width: int = 120, color: bool = False) -> str:
    """The inspection as tables for a terminal of `width` columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    inputs = Table("input", "taken from", "why", title="Inputs of the model and of breathing", title_justify="left")
    for wanted in inspection.inputs:
        style = "" if wanted.derivation else "yellow"
        inputs.add_row(*(Text(cell, style) for cell in (wanted.name, wanted.derivation or "missing", wanted.why)))
    # A file has one stream a rate; live, two streams may share one, and then their names tell them apart.
    several = len({c.stream for c in inspection.channels}) > len({c.rate_hz for c in inspection.channels})
    headings = ("label", "unit", "Hz", "reads as", "taken for", "why not")
    channels = Table(*(["stream"] if several else []), *headings, title="Channels", title_justify="left")
    for channel in inspection.channels:
        cells = (
            channel.label,
            channel.unit,
            f"{channel.rate_hz:g}" if channel.rate_hz else "irregular",
            channel.reads_as,
            ", ".join(channel.taken_for),
        )
        style = "green" if channel.taken_for else ""
        reason = "" if channel.taken_for else channel.why
        channels.add_row(*(Text(cell, style) for cell in (*([channel.stream] if several else []), *cells, reason)))
    text = io.StringIO()
    console = Console(file=text, width=width, force_terminal=color, color_system="standard" if color else None)
    console.print(inputs)
    for title, lines in (("Ambiguous or assumed", inspection.notes), ("Warnings", inspection.warnings)):
        if lines:
            console.print(Text(title, "italic"))
            for line in lines:
                console.print(Text(f"  {line}"))
    console.print(channels)
    return text.getvalue()
