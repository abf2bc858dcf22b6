"""A scored night for other programs: EDF+ annotations, NSRR's XML, and the `.annot` of Luna.

All three hold the stages, a line or an annotation for each run of one stage, and the events that are settled (see
`engine.respiration.revisions`): these formats have no word for what may still change. Seconds count from the
beginning of epoch 0.

EDF+: Kemp and Olivan 2003, https://www.edfplus.info/specs/edfplus.html, an EDF+C of annotations only as Sleep-EDF has
them. NSRR: `PSGAnnotation` as the National Sleep Research Resource publishes it with its EDFs, stages by Rechtschaffen
and Kales's numbers. Luna: https://zzz.bwh.harvard.edu/luna/ref/annotations/, six columns with tabs between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from hypnostream import __version__
from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.edf_write import write_edf
from hypnostream.bridges.event_names import EVENT_NAMES
from hypnostream.bridges.tables import NOTICE
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.revisions import settled
from hypnostream.stream.source import Annotation
from hypnostream.stream.stages import EPOCH_S, STAGES

_EDF_YEARS: Final = range(1985, 2085)
_NSRR_STAGES: Final = ("Wake|0", "Stage 1 sleep|1", "Stage 2 sleep|2", "Stage 3 sleep|3", "REM sleep|5", "Unscored|9")
_LUNA_COLUMNS: Final = ("class", "instance", "channel", "start", "stop", "meta")


@dataclass(frozen=True, slots=True)
class ScoredNight:
    """What is written. `stages` (epochs,) are indices into STAGES, UNSCORED where there is none.

    `events` are revisions in any order, on the stream clock, on which epoch 0 begins at `t0_s`. `start` is the wall
    time of epoch 0 where it is known; it is written as the clock that it shows, for these formats have no time zone.
    """

    stages: NDArray[np.integer]
    events: Sequence[Event] = ()
    t0_s: float = 0.0
    start: datetime | None = None


def write_scored_edf(path: Path, night: ScoredNight) -> None:
    """An EDF+C of annotations only, atomically. Raises OSError."""
    start = night.start if night.start is not None and night.start.year in _EDF_YEARS else None
    # The header's clock has whole seconds; what is left is the onset of the first record.
    fraction_s = 0.0 if start is None else start.microsecond / 1e6
    annotations = [Annotation(start_s + fraction_s, end_s - start_s, text) for start_s, end_s, text in _words(night)]
    with TemporaryDirectory() as folder:
        beside = Path(folder) / "scored.edf"
        write_edf(beside, [], record_onsets_s=np.array([fraction_s]), annotations=annotations, start=start)
        write_atomically(path, beside.read_bytes())


def write_scored_xml(path: Path, night: ScoredNight) -> None:
    """NSRR XML, atomically. Raises OSError."""
    clock = "" if night.start is None else f"<ClockTime>{night.start:%d.%m.%y %H.%M.%S}</ClockTime>"
    whole = _scored_event("", "Recording Start Time", 0.0, len(night.stages) * EPOCH_S, clock)
    stages = [
        _scored_event("Stages|Stages", _NSRR_STAGES[stage], start_s, end_s) for start_s, end_s, stage in _runs(night)
    ]
    events = []
    for start_s, end_s, event in _events(night):
        names = EVENT_NAMES[event.kind]
        where = f"<SignalLocation>{escape(_printable(', '.join(event.signals)))}</SignalLocation>"
        events.append(_scored_event(names.nsrr_type, names.nsrr_concept, start_s, end_s, where))
    lines = (
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<!-- {NOTICE} -->",
        "<PSGAnnotation>",
        f"<SoftwareVersion>hypnostream {__version__}</SoftwareVersion>",
        f"<EpochLength>{EPOCH_S}</EpochLength>",
        "<ScoredEvents>",
        *(whole, *stages, *events),
        "</ScoredEvents>",
        "</PSGAnnotation>",
    )
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def write_luna_annot(path: Path, night: ScoredNight) -> None:
    """Luna's `.annot`, atomically; an event's rule, status and confidence are its meta-data. Raises OSError."""
    rows: list[tuple[str, ...]] = [_LUNA_COLUMNS]
    for start_s, end_s, stage in _runs(night):
        rows.append((_stage_name(stage), ".", ".", f"{start_s:.3f}", f"{end_s:.3f}", "."))
    for start_s, end_s, event in _events(night):
        meta = {"status": event.status, "confidence": f"{event.confidence:.3f}", "rule": event.rule}
        said = ";".join(f"{key}={_plain(value)}" for key, value in meta.items() if value)
        channel = _plain(",".join(event.signals)) or "."
        luna_class = EVENT_NAMES[event.kind].luna_class
        rows.append((luna_class, _plain(event.event_id), channel, f"{start_s:.3f}", f"{end_s:.3f}", said))
    write_atomically(path, "".join("\t".join(row) + "\n" for row in rows).encode())


def _words(night: ScoredNight) -> Iterator[tuple[float, float, str]]:
    """Start, end and text of every annotation of an EDF+."""
    for start_s, end_s, stage in _runs(night):
        yield start_s, end_s, f"Sleep stage {_stage_name(stage)}"
    for start_s, end_s, event in _events(night):
        yield start_s, end_s, EVENT_NAMES[event.kind].annotation


def _runs(night: ScoredNight) -> Iterator[tuple[float, float, int]]:
    """Start, end and stage of each run of one stage."""
    borders = np.flatnonzero(np.diff(night.stages, prepend=-9, append=-9)).tolist()
    for begin, end in pairwise(borders):
        yield float(begin * EPOCH_S), float(end * EPOCH_S), int(night.stages[begin])


def _events(night: ScoredNight) -> Iterator[tuple[float, float, Event]]:
    """Start, end and the event, of those that are settled and began within the night."""
    for event in settled(night.events):
        start_s = event.start_s - night.t0_s
        if event.end_s is not None and start_s >= 0:
            yield start_s, event.end_s - night.t0_s, event


def _stage_name(stage: int) -> str:
    return STAGES[stage] if stage >= 0 else "?"


def _scored_event(group: str, concept: str, start_s: float, end_s: float, more: str = "") -> str:
    return (
        f"<ScoredEvent><EventType>{group}</EventType><EventConcept>{concept}</EventConcept>"
        f"<Start>{start_s:.3f}</Start><Duration>{end_s - start_s:.3f}</Duration>{more}</ScoredEvent>"
    )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _plain(text: str) -> str:
    """Without what separates columns and values in an `.annot`."""
    return "".join("_" if character in " =;|\"'" else character for character in _printable(text))
