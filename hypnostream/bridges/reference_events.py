"""Events of breathing that people scored, on a recording's time, to measure ours by: EDF+ annotations or NSRR XML."""

import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from hypnostream.bridges.edf import read_annotations
from hypnostream.bridges.event_names import named_event
from hypnostream.bridges.references import is_edf, is_xml, read_scoring, scoring_offset_s
from hypnostream.bridges.scored_xml import read_scored_events
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.event_agreement import EventAgreement

RULE = "reference"


@dataclass(frozen=True, slots=True)
class ReferenceEvents:
    """`events` by onset, final all; `kind` is how they were read, `notes` what was odd.

    Without any event there is nothing to compare with: the file may be a hypnogram only.
    """

    events: tuple[Event, ...]
    kind: str
    notes: tuple[str, ...] = ()


def read_reference_events(
    path: str | os.PathLike[str],
    *,
    t0_s: float = 0.0,
    offset_s: float | None = None,
    recording_start_utc: datetime | None = None,
    timezone: tzinfo = UTC,
) -> ReferenceEvents:
    """The apneas, hypopneas, desaturations and arousals that `path` holds, in stream seconds.

    `t0_s` is the recording's start on the stream clock. `offset_s` and `recording_start_utc` say how long after it the
    scoring starts, as for stages (`references.read_reference`). A CSV of stages has no events.

    Raises UserError when the file cannot be read.
    """
    path = Path(path)
    raw = read_scoring(path)
    notes: list[str] = []
    found: list[tuple[float, float, str, str]] = []  # onset, duration, words, channel
    if is_edf(raw):
        kind = "EDF+ annotations"
        annotations, start_utc, odd = read_annotations(path, timezone)
        notes += odd
        found = [(each.onset_s, each.duration_s, each.text, "") for each in annotations]
        if offset_s is None:
            offset_s = scoring_offset_s(start_utc, recording_start_utc, notes)
    elif is_xml(raw):
        kind = "NSRR XML"
        scored, odd_events = read_scored_events(raw, path.name)
        notes += odd_events
        found = [(each.onset_s, each.duration_s, each.concept.partition("|")[0], each.channel) for each in scored]
    else:
        kind = "CSV"
    begin_s = t0_s + (offset_s or 0.0)
    named = [(onset_s, length_s, named_event(words), where) for onset_s, length_s, words, where in found]
    events = [
        Event("", 0, kind_, "final", begin_s + onset_s, begin_s + onset_s + length_s, 1.0, RULE, (where,) * bool(where))
        for onset_s, length_s, kind_, where in named
        if kind_ is not None and length_s > 0
    ]
    points = sum(kind_ is not None and length_s <= 0 for _, length_s, kind_, _ in named)
    if points:
        notes.append(f"{points} reference events have no duration; left out")
    if not events:
        notes.append(f"{path.name} names no event of breathing; no event is compared")
    return ReferenceEvents(_numbered(events), kind, tuple(notes))


def event_agreement_line(agreement: EventAgreement) -> str:
    """The figures of the apneas and hypopneas, in one line; a dash where one is not defined."""
    matches = agreement.groups.get("respiratory", ())
    told = [f"F1 {_figure(match.f1, '.2f')} at IoU {match.iou:g}" for match in matches]
    theirs, ours = _figure(agreement.reference_per_hour, ".1f"), _figure(agreement.detected_per_hour, ".1f")
    return "   ".join(["events against the reference:", *told, f"index {ours}, reference {theirs} /h"])


def _numbered(events: list[Event]) -> tuple[Event, ...]:
    events.sort(key=lambda event: event.start_s)
    return tuple(replace(event, event_id=f"reference-{number}") for number, event in enumerate(events))


def _figure(value: float | None, spelling: str) -> str:
    return "–" if value is None else format(value, spelling)
