"""Hypnograms that people scored, on the grid of a recording, to measure ours by.

From EDF+ annotations, NSRR XML or a CSV of one stage a line; which of them a file is, its first bytes say. An epoch of
the grid gets the stage that covers most of it, when that is half of it or more.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.edf import read_annotations
from hypnostream.bridges.scored_xml import ScoredStretch, read_scored_xml
from hypnostream.bridges.stage_names import NUMBERINGS, UNSCORED_NUMBERS, named_stage, numbering_of
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation
from hypnostream.stream.stages import EPOCH_S, STAGES, UNSCORED

_LARGEST_BYTES = 64 * 2**20
_LONGEST_EPOCHS = 7 * 86400 // EPOCH_S
_COLUMN_NAMES = ("stage", "hypnogram", "label", "score")
_NUMBERS_MEAN = {"rk": "R&K: 0 W, 1-4 S1-S4, 5 REM", "aasm": "AASM: 0 W, 1-3 N1-N3, 4 REM"}


@dataclass(frozen=True, slots=True)
class Reference:
    """`stages` (epochs,): per 30 s an index of STAGES or UNSCORED; `kind` is how it was read, `notes` what was odd."""

    stages: NDArray[np.int8]
    kind: str
    notes: tuple[str, ...] = ()


def read_reference(
    path: str | os.PathLike[str],
    epochs: int | None = None,
    *,
    offset_s: float | None = None,
    recording_start_utc: datetime | None = None,
    numbering: str | None = None,
    timezone: tzinfo = UTC,
) -> Reference:
    """The stages that `path` holds, on the grid of a recording of `epochs` epochs (None: as many as are scored).

    `offset_s` is how long after the recording's start the hypnogram starts. None: for EDF+ the difference of its
    start to `recording_start_utc` where both are known and less than a day apart, else 0. `numbering` says what
    numerals mean, "rk" or "aasm"; None: as the CSV's header says (`stage_rk`, `stage_aasm`), or by the
    numbers themselves: a 5 makes them R&K, and a 4 without a 5 is refused, being S4 to one and REM to the other.

    Raises UserError, naming the line where there is one, when the file cannot be read or no epoch in it is scored.
    """
    path = Path(path)
    raw = read_scoring(path)
    notes: list[str] = []
    if is_edf(raw):
        kind = "EDF+ annotations"
        annotations, start_utc, odd = read_annotations(path, timezone)
        notes += odd
        stretches = _annotated(annotations, path.name)
        if offset_s is None:
            offset_s = scoring_offset_s(start_utc, recording_start_utc, notes)
    elif is_xml(raw):
        kind = "NSRR XML"
        stretches, odd_stages = read_scored_xml(raw, path.name)
        notes += odd_stages
    else:
        stages, meaning = _read_csv(_decoded(raw, path.name), path.name, numbering)
        kind = f"CSV of {meaning}"
        stretches = [ScoredStretch(float(i * EPOCH_S), float(EPOCH_S), stage) for i, stage in enumerate(stages)]
    stages_on_grid = _on_grid(stretches, offset_s or 0.0, epochs, path.name, notes)
    if not np.any(stages_on_grid != UNSCORED):
        within = "" if epochs is None else f" within the recording's {epochs} epochs"
        raise UserError(f"{path.name} scores no sleep stage{within}; check that it belongs to this recording")
    return Reference(stages_on_grid, kind, tuple(notes))


def is_edf(raw: bytes) -> bool:
    """Whether a scoring file is EDF, by its first bytes."""
    return raw.startswith(b"0       ")


def is_xml(raw: bytes) -> bool:
    """Whether a scoring file is XML, by its first bytes."""
    return raw.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"<")


def read_scoring(path: Path) -> bytes:
    """The whole of a file that people scored, of an EDF only its beginning. Raises UserError."""
    try:
        if not path.is_file():
            raise UserError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; name a hypnogram's file")
        with path.open("rb") as file:
            raw = file.read(256)
            if not is_edf(raw):
                raw += file.read(_LARGEST_BYTES)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise UserError(f"cannot read {path}: {error}; check the name and the permissions") from error
    if len(raw) > _LARGEST_BYTES:
        raise UserError(f"{path.name} is larger than {_LARGEST_BYTES // 2**20} MiB; that is no hypnogram")
    return raw


def _annotated(annotations: Sequence[Annotation], name: str) -> list[ScoredStretch]:
    """The annotations that name a stage. One without a duration lasts until the next, the last one an epoch."""
    named = [(annotation, named_stage(annotation.text)) for annotation in annotations]
    scored = [(annotation, stage) for annotation, stage in named if stage is not None]
    if not scored:
        raise UserError(f"{name} names no sleep stage in its {len(annotations)} annotations; give the hypnogram's file")
    followers = [annotation.onset_s for annotation, _ in scored[1:]] + [scored[-1][0].onset_s + EPOCH_S]
    return [
        ScoredStretch(annotation.onset_s, annotation.duration_s or follower - annotation.onset_s, stage)
        for (annotation, stage), follower in zip(scored, followers, strict=True)
    ]


def scoring_offset_s(start_utc: datetime | None, recording_start_utc: datetime | None, notes: list[str]) -> float:
    """How long after the recording its scoring starts, by their clocks; what was made of that goes to `notes`."""
    if start_utc is None or recording_start_utc is None:
        return 0.0
    offset_s = (start_utc - recording_start_utc).total_seconds()
    if abs(offset_s) >= 86400:
        notes.append(
            f"by its date the hypnogram starts {offset_s / 86400:.1f} days from the recording; taken to start with it"
        )
        return 0.0
    if offset_s:
        notes.append(f"the hypnogram starts {offset_s:g} s from the recording's start; shifted by that")
    return offset_s


def _on_grid(
    stretches: Sequence[ScoredStretch], offset_s: float, epochs: int | None, name: str, notes: list[str]
) -> NDArray[np.int8]:
    end_s = max((s.onset_s + s.duration_s + offset_s for s in stretches), default=0.0)
    scored = max(math.ceil(end_s / EPOCH_S - 1e-6), 0) if math.isfinite(end_s) else _LONGEST_EPOCHS + 1
    if epochs is None and scored > _LONGEST_EPOCHS:
        raise UserError(f"{name} scores up to {end_s:g} s, more than a week; check its onsets and durations")
    count = scored if epochs is None else epochs
    if scored != count:
        notes.append(f"the hypnogram ends after {scored} epochs, the recording after {count}")
    covered_s = np.zeros((count, len(STAGES)))
    for stretch in stretches:
        begin_s = max(stretch.onset_s + offset_s, 0.0)
        until_s = min(stretch.onset_s + stretch.duration_s + offset_s, float(count * EPOCH_S))
        if stretch.stage != UNSCORED and until_s > begin_s:
            epoch = np.arange(int(begin_s // EPOCH_S), min(math.ceil(until_s / EPOCH_S), count))
            seconds = np.minimum(until_s, (epoch + 1) * EPOCH_S) - np.maximum(begin_s, epoch * EPOCH_S)
            covered_s[epoch, stretch.stage] += seconds
    twice = int(np.sum(covered_s.sum(axis=1) > EPOCH_S + 1e-3))
    if twice:
        notes.append(f"{twice} epochs are scored more than once; took the stage that covers most")
    most = np.where(covered_s.max(axis=1, initial=0.0) >= EPOCH_S / 2 - 1e-6, covered_s.argmax(axis=1), UNSCORED)
    return most.astype(np.int8)


def _decoded(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text:
        raise UserError(f"{name} is no hypnogram: neither EDF+, nor XML, nor text")
    return text


def _read_csv(text: str, name: str, numbering: str | None) -> tuple[list[int], str]:
    """The stage of each line, and what was taken for what. Lines that begin with # are left out."""
    if numbering is not None and numbering not in NUMBERINGS:
        raise UserError(f"numbering {numbering!r} is not known; give one of {', '.join(NUMBERINGS)}")
    lines = [(number, line) for number, line in enumerate(text.rstrip().splitlines(), 1) if not line.startswith("#")]
    first = lines[0][1] if lines else ""
    separator = next((character for character in "\t;," if character in first), ",")
    rows = [(number, [cell.strip(" \"'") for cell in line.split(separator)]) for number, line in lines]
    column = 0
    if rows:
        headings = [cell.lower() if named_stage(cell) is None else "" for cell in rows[0][1]]
        named = [i for i, heading in enumerate(headings) if any(word in heading for word in _COLUMN_NAMES)]
        if len(named) == 1:
            column = named[0]
            numbering = numbering or next((n for n in NUMBERINGS if headings[column].endswith(f"_{n}")), None)
            rows = rows[1:]
        elif sum(1 for cell in rows[0][1] if cell) > 1:
            raise UserError(
                f"{name}, line {rows[0][0]}: has {len(headings)} columns; head exactly one of them 'stage', "
                "or keep one stage a line"
            )
    if len(rows) > _LONGEST_EPOCHS:
        raise UserError(f"{name} has {len(rows)} lines, more than a week of epochs; check that it is a hypnogram")
    spelled = [(number, cells[column] if column < len(cells) else "") for number, cells in rows]
    numbers = {number: value for number, cell in spelled if (value := _whole(cell)) is not None}
    if not numbers:
        return [_named(cell, f"{name}, line {number}") for number, cell in spelled], "stage names"
    return _numbered(spelled, numbers, name, numbering)


def _numbered(
    spelled: Sequence[tuple[int, str]], numbers: dict[int, int], name: str, numbering: str | None
) -> tuple[list[int], str]:
    """The stages of a CSV of numerals; `numbers` by line. A cell that names no number must be an unscored epoch."""
    numbering = numbering or numbering_of(numbers.values())
    if numbering is None:
        line = next(line for line, number in numbers.items() if number == 4)
        raise UserError(
            f"{name}, line {line}: 4 is REM to the AASM's numbers and S4 to R&K's, and no 5 tells which these are; "
            "head the column stage_aasm or stage_rk, or write names"
        )
    meaning = NUMBERINGS[numbering]
    stages: list[int] = []
    for line, cell in spelled:
        where = f"{name}, line {line}"
        if line not in numbers:
            stages.append(_named(cell, where))
            if stages[-1] != UNSCORED:
                raise UserError(f"{where}: {cell!r} is a name where other lines have numbers; use one of the two")
        elif numbers[line] in meaning:
            stages.append(meaning[numbers[line]])
        elif numbers[line] in UNSCORED_NUMBERS:
            stages.append(UNSCORED)
        else:
            raise UserError(f"{where}: {cell} is no stage; the numbers were read as {_NUMBERS_MEAN[numbering]}")
    return stages, f"numbers ({_NUMBERS_MEAN[numbering]})"


def _whole(cell: str) -> int | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return int(value) if value.is_integer() else None


def _named(cell: str, where: str) -> int:
    stage = named_stage(cell)
    if stage is None:
        shown = cell[:40]
        raise UserError(f"{where}: {shown!r} is no sleep stage; write W, N1, N2, N3, R, or ? for an unscored epoch")
    return stage
