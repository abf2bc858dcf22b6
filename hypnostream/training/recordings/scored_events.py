"""The raw event table of a night, from whichever file it was scored in: NSRR or Compumedics XML, EDF+, or CSV."""

import csv
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.edf import read_annotations
from hypnostream.bridges.event_names import event_kind
from hypnostream.bridges.scored_xml import ScoredEvent, read_scored_events
from hypnostream.bridges.stage_names import named_stage
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation
from hypnostream.training.recordings.recording import EVENT_KINDS, Event

_LARGEST_BYTES = 64 * 2**20
_DAY_S = 86400.0


def read_events(path: Path, recording_start_utc: datetime | None) -> tuple[tuple[Event, ...], tuple[str, ...]]:
    """All events of a scoring file by onset, in seconds since the recording's start, and notes on what was odd.

    Stages are no events. An EDF+ that knows when it starts is moved to the recording's start; the others count from it.
    Raises UserError, naming the file, when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(256)
        is_edf = beginning.startswith(b"0       ")
        raw = b"" if is_edf else read_bounded(path, _LARGEST_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the name and the permissions") from error
    if is_edf:
        annotations, start_utc, _ = read_annotations(path)
        return _sorted(events_of(annotations, _apart(start_utc, recording_start_utc))), ()
    if beginning.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"<"):
        scored, notes = read_scored_events(raw, path.name)
        return _sorted([_of_xml(event) for event in scored]), tuple(notes)
    return _sorted(_of_csv(raw, path.name)), ()


def events_of(annotations: Sequence[Annotation], offset_s: float = 0.0) -> list[Event]:
    """The EDF+ annotations that name no stage."""
    return [
        Event(each.onset_s + offset_s, each.duration_s, event_kind(each.text), each.text)
        for each in annotations
        if named_stage(each.text) is None
    ]


def _sorted(events: Sequence[Event]) -> tuple[Event, ...]:
    return tuple(sorted(events, key=lambda event: event.onset_s))


def _apart(start_utc: datetime | None, recording_start_utc: datetime | None) -> float:
    """How long after the recording its scoring starts; dates more than a day apart are not believed."""
    if start_utc is None or recording_start_utc is None:
        return 0.0
    apart_s = (start_utc - recording_start_utc).total_seconds()
    return apart_s if abs(apart_s) < _DAY_S else 0.0


def _of_xml(event: ScoredEvent) -> Event:
    words = event.concept.partition("|")[0]
    kind = event_kind(words)
    value = _depth(event.texts) if kind == "desaturation" else None
    return Event(event.onset_s, event.duration_s, kind, event.concept, event.channel, value=value)


def _depth(texts: dict[str, str]) -> float | None:
    """How deep a desaturation is, where the file says both ends; Compumedics calls them LowestSpO2 and Desaturation."""
    try:
        if "Desaturation" in texts:
            depth = float(texts["Desaturation"])
        else:
            depth = float(texts["SpO2Baseline"]) - float(texts["SpO2Nadir"])
    except (KeyError, ValueError):
        return None
    return depth if 0 <= depth <= 100 else None


def _of_csv(raw: bytes, name: str) -> list[Event]:
    """Columns onset_s, duration_s, label, and where there are any kind, channel, value."""
    try:
        rows = csv.DictReader(raw.decode("utf-8-sig").splitlines(), strict=True)
        absent = {"onset_s", "duration_s", "label"} - set(rows.fieldnames or ())
        if absent:
            raise UserError(f"{name} lacks the columns {', '.join(sorted(absent))} in its first line; add them")
        return [_of_row(row, f"{name}, line {rows.line_num}") for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name} is no CSV in UTF-8: {error}; export it again") from error


def _of_row(row: dict[str, str], where: str) -> Event:
    kind = (row.get("kind") or "").strip() or event_kind(row["label"] or "")
    if kind not in EVENT_KINDS:
        raise UserError(f"{where}: kind {kind!r} is none of {', '.join(EVENT_KINDS)}")
    value = row.get("value") or ""
    return Event(
        onset_s=_number(row["onset_s"], "onset_s", where),
        duration_s=_number(row["duration_s"], "duration_s", where),
        kind=kind,
        label=row["label"] or "",
        channel=row.get("channel") or "",
        value=_number(value, "value", where) if value else None,
    )


def _number(text: str | None, column: str, where: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise UserError(f"{where}: {column} {text!r} is no number from 0 up; mend it")
    return number
