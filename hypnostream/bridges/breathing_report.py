"""Breathing in the report: its part of the summary, and of the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hypnostream.bridges.breathing_words import counts_line, indices_line, severity_words
from hypnostream.bridges.picture_breathing import Breathing as Drawn
from hypnostream.bridges.reference_events import ReferenceEvents, event_agreement_line
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.event_agreement import EventAgreement, event_agreement
from hypnostream.engine.respiration.index import Index, Severity
from hypnostream.engine.respiration.indices import Count
from hypnostream.stream.channels import Montage
from hypnostream.stream.source import StreamInfo


class SensorSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A sensor of breathing that was found: what it was taken from; `ok_fraction` is of all seconds of the night."""

    name: str
    label: str
    why: str
    stream_id: str
    rate_hz: float | None
    ok_fraction: float


class BreathingSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Breathing in numbers; see `engine.respiration.indices`. `agreement` is there when a reference held events."""

    sensors: list[SensorSummary]
    indices: list[Index]
    severity: Severity | None
    events: dict[str, Count]
    sleep_hours: float
    staged_hours: float
    recorded_hours: float
    in_wake: int
    without_stage: int
    agreement: EventAgreement | None = None


@dataclass(frozen=True, slots=True)
class BreathingReport:
    """Both parts, and the lines that a terminal shows."""

    summary: BreathingSummary
    drawn: Drawn


def breathing_report(
    breathing: Breathing,
    events: Sequence[Event],
    montage: Montage,
    streams: Sequence[StreamInfo],
    reference: ReferenceEvents | None = None,
) -> BreathingReport:
    """What is to be told of a night whose `events` (all revisions) these are; times are on the stream clock."""
    indices, saturation = breathing.indices, breathing.saturation
    scored = () if reference is None else reference.events
    agreed = None
    if scored:
        agreed = event_agreement(scored, events, indices.recorded_hours, indices.recorded_hours)
    rates = {stream.stream_id: stream.rate_hz for stream in streams}
    good, found = breathing.good_fraction, {each.spec.name for each in montage.derivations}
    summary = BreathingSummary(
        sensors=[
            SensorSummary(
                name=each.spec.name,
                label=each.label,
                why=each.why,
                stream_id=each.stream_id,
                rate_hz=rates.get(each.stream_id),
                ok_fraction=good[each.spec.name],
            )
            for each in montage.derivations
            if each.spec.name in good
        ],
        indices=list(indices.indices),
        severity=indices.severity,
        events=indices.counts,
        sleep_hours=indices.sleep_hours,
        staged_hours=indices.staged_hours,
        recorded_hours=indices.recorded_hours,
        in_wake=indices.in_wake,
        without_stage=indices.without_stage,
        agreement=agreed,
    )
    drawn = Drawn(
        events=tuple(events),
        spo2=saturation if len(saturation) else None,
        indices=indices_line(indices.indices),
        reference=scored,
        agreement="" if agreed is None else event_agreement_line(agreed),
        t0_s=breathing.t0_s,
        sensors=tuple(each for each in breathing.sensors if each.name in found),
    )
    return BreathingReport(summary, drawn)


def breathing_lines(summary: BreathingSummary) -> list[str]:
    """Breathing in a few lines for a terminal."""
    lines = [f"{each.name}: {each.label}" for each in summary.sensors]
    lines += [counts_line(summary.events), indices_line(summary.indices)]
    if summary.severity is not None:
        lines.append(severity_words(summary.severity))
    if summary.agreement is not None:
        lines.append(event_agreement_line(summary.agreement))
    return lines
