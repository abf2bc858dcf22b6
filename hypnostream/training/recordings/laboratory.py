"""A laboratory's own recordings: EDF or CSV signals, with stages and events beside them under the same name.

NAME.edf, or NAME.signals.csv (and NAME.signals.slow.csv, ... one a rate); NAME.xml (NSRR or Compumedics) or
NAME.stages.csv (a column `stage`, a line an epoch) and NAME.events.csv (onset_s, duration_s, label, and where there are
any kind, channel, value). `subjects.csv` (recording, subject) says who is who: without a line in it each recording is
taken for another person, and says so in its notes. Its column `scoring`, if there is one, says by which rule it was
staged, AASM or R&K; empty, nobody knows.
"""

import csv
import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.references import read_reference
from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.csv_signals import SignalFile, look, stretches
from hypnostream.training.recordings.edf_night import channel_kinds, event_tracks, read_edf_night
from hypnostream.training.recordings.epoch_grid import on_epoch_grid
from hypnostream.training.recordings.job import Job
from hypnostream.training.recordings.nsrr import scorings
from hypnostream.training.recordings.recording import Block, Channel, Recording
from hypnostream.training.recordings.scored_events import read_events
from hypnostream.training.recordings.subjects import person

SUBJECTS = "subjects.csv"
_LARGEST_BYTES = 64 * 2**20
_VERSION = "laboratory 1"
_RULES = ("AASM", "R&K")


class _Known(NamedTuple):
    """What `subjects.csv` says of a recording; "" where nothing."""

    subject: str = ""
    scoring: str = ""


def found(data: Path, claimed: Collection[Path] = ()) -> list[Job]:
    """A job a recording of which no file is in `claimed`. Raises UserError when `subjects.csv` cannot be read."""
    who = _subjects(data / SUBJECTS)
    xml = scorings(data)
    jobs = []
    for path in sorted(data.rglob("*")):
        name = path.name.casefold()
        if path.resolve() in claimed or not name.endswith((".edf", ".signals.csv")) or name.endswith("-hypnogram.edf"):
            continue
        own = path.name[: -len(".edf" if name.endswith(".edf") else ".signals.csv")]
        stages = next((p for p in (path.with_name(f"{own}.stages.csv"), xml.get(own)) if p and p.is_file()), None)
        events = next((p for p in (path.with_name(f"{own}.events.csv"), xml.get(own)) if p and p.is_file()), None)
        slower = [] if name.endswith(".edf") else sorted(path.parent.glob(f"{own}.signals.*.csv"))
        files = tuple(dict.fromkeys(p for p in (path, *slower, stages, events) if p is not None))
        signals = (path, *slower)
        known = who.get(own, _Known())
        read = partial(_read, own, signals, stages, events, known, data.resolve().name)
        scored = f", scored by {known.scoring}" if known.scoring else ""
        jobs.append(Job(own, read, files, f"{_VERSION} of {known.subject or 'nobody known'}{scored}"))
    return jobs


def _read(
    name: str, signals: tuple[Path, ...], stages: Path | None, events: Path | None, known: _Known, laboratory: str
) -> Recording:
    subject = person(laboratory, known.subject or name)
    if signals[0].suffix.casefold() == ".edf":
        recording = read_edf_night(
            signals[0], stages=stages, events=events, subject=subject, set_name=laboratory, licence=""
        )
    else:
        recording = read_csv_night(name, signals, stages, events, subject, laboratory)
    if recording.stages is not None:
        recording = replace(recording, scoring=known.scoring)
    if not known.subject:
        nobody = f"{SUBJECTS} does not say who this is; taken for a person of its own"
        recording = replace(recording, notes=(*recording.notes, nobody))
    return recording


def read_csv_night(
    name: str, signals: tuple[Path, ...], stages: Path | None, events: Path | None, subject: str, set_name: str
) -> Recording:
    """The night in one CSV of signals or several. Raises UserError, naming the file, when one cannot be read."""
    files = tuple(look(path) for path in signals)
    duration_s = max(file.end_s for file in files)
    epochs = math.ceil(duration_s / EPOCH_S - 1e-6)
    labels = [label for file in files for label in file.labels]
    units = [unit for file in files for unit in file.units]
    rates_hz = [file.rate_hz for file in files for _ in file.labels]
    reference = read_reference(stages, epochs) if stages is not None else None
    scored = reference.stages if reference else None
    found, odd = read_events(events, None) if events is not None else ((), ())
    return Recording(
        name=name,
        subject=subject,
        set_name=set_name,
        licence="",
        sources=(),
        epochs=epochs,
        channels=tuple(map(Channel, labels, channel_kinds(labels), units, rates_hz)),
        blocks=partial(_blocks, files, epochs),
        stages=scored,
        events=found,
        tracks=event_tracks(found, epochs, scored) if events is not None else {},
        notes=(*(reference.notes if reference else ()), *odd),
    )


def _blocks(files: tuple[SignalFile, ...], epochs: int) -> Iterator[Block]:
    yield from on_epoch_grid([(file.rate_hz, len(file.labels)) for file in files], stretches(files), epochs)


def _subjects(path: Path) -> dict[str, _Known]:
    """What is said of each recording, {} without the file."""
    if not path.is_file():
        return {}
    try:
        rows = csv.DictReader(read_bounded(path, _LARGEST_BYTES).decode("utf-8-sig").splitlines(), strict=True)
        if not {"recording", "subject"} <= set(rows.fieldnames or ()):
            raise UserError(f"{path} needs the columns recording and subject in its first line")
        out: dict[str, _Known] = {}
        for row in rows:
            if not row["recording"] or not row["subject"]:
                raise UserError(f"{path}, line {rows.line_num}: names no recording or no subject; fill it in")
            scoring = row.get("scoring") or ""
            if scoring not in ("", *_RULES):
                raise UserError(
                    f"{path}, line {rows.line_num}: scoring is {scoring!r}; write {' or '.join(_RULES)}, or nothing "
                    "when it is not known"
                )
            known = _Known(row["subject"], scoring)
            if out.setdefault(row["recording"], known).subject != known.subject:
                raise UserError(f"{path}, line {rows.line_num}: {row['recording']} is two people; keep one of them")
            if out[row["recording"]] != known:
                raise UserError(f"{path}, line {rows.line_num}: {row['recording']} is scored by two rules; keep one")
        return out
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV in UTF-8: {error}") from error
