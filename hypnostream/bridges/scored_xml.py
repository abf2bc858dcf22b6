"""Stages and events out of the XML of the National Sleep Research Resource and of Compumedics, its export's origin.

Two lists of stages are in use: `ScoredEvents` with an event per run of a stage (type "Stages|Stages", concept "Stage 2
sleep|2"), and `SleepStages` with a number per epoch, which are Rechtschaffen and Kales's (0 W, 1-4, 5 REM, 9 unscored).

Parsed with expat and nothing above it: it knows the line of everything, and a DOCTYPE, without which no entity can be
declared, expanded or fetched, ends the parse.
"""

import math
from dataclasses import dataclass, field
from xml.parsers import expat

from hypnostream.bridges.stage_names import RECHTSCHAFFEN_KALES, UNSCORED_NUMBERS, named_stage
from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S, UNSCORED


@dataclass(frozen=True, slots=True)
class ScoredStretch:
    """A stretch of one stage: seconds since the hypnogram's start, and an index of STAGES or UNSCORED."""

    onset_s: float
    duration_s: float
    stage: int


@dataclass(frozen=True, slots=True)
class ScoredEvent:
    """Anything that is no stage, in the file's own words. Times are as `Start` and `Duration` have them, in seconds.

    `texts` are all of its fields by their tags ("SpO2Nadir", ...), as they are written.
    """

    onset_s: float
    duration_s: float
    group: str
    concept: str
    channel: str
    texts: dict[str, str]


@dataclass(slots=True)
class _Reading:
    """What was read so far. `texts` are the children of the event that is open."""

    open_tags: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    events: list[ScoredStretch] = field(default_factory=list)
    others: list[dict[str, str]] = field(default_factory=list)
    listed: list[int] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    epoch_s: float = float(EPOCH_S)


def read_scored_xml(raw: bytes, name: str) -> tuple[list[ScoredStretch], list[str]]:
    """The scored stretches of an XML file, and notes on what was odd in it.

    Raises UserError, with the line, when it is no well-formed XML, has a DOCTYPE, or a number in it is none.
    """
    reading = _read(raw, name)
    notes = [f"stage {text!r} is not known; left unscored" for text in sorted(reading.unknown)]
    if reading.events:
        return reading.events, notes
    epoch_s = reading.epoch_s
    return [ScoredStretch(i * epoch_s, epoch_s, stage) for i, stage in enumerate(reading.listed)], notes


def read_scored_events(raw: bytes, name: str) -> tuple[list[ScoredEvent], list[str]]:
    """Every scored event that is no stage, in the file's order, and notes on what was left out.

    One whose onset or duration is no number of seconds is left out, and noted. Raises as `read_scored_xml`.
    """
    events: list[ScoredEvent] = []
    timeless = 0
    for texts in _read(raw, name).others:
        try:
            onset_s, duration_s = (_seconds(texts.get(tag, ""), tag, name) for tag in ("Start", "Duration"))
        except UserError:
            timeless += 1
            continue
        concept = texts.get("EventConcept") or texts.get("Name", "")
        channel = texts.get("SignalLocation") or texts.get("Input", "")
        events.append(ScoredEvent(onset_s, duration_s, texts.get("EventType", ""), concept, channel, texts))
    return events, [f"{timeless} events have no onset or duration that can be read; left out"] if timeless else []


def _read(raw: bytes, name: str) -> _Reading:
    reading = _Reading()
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def doctype(*_: object) -> None:
        raise UserError(f"{name}, line {parser.CurrentLineNumber}: has a DOCTYPE, which is not read; remove it")

    def begin(tag: str, _: object) -> None:
        reading.open_tags.append(tag)
        reading.text.clear()
        if tag == "ScoredEvent":
            reading.texts = {}

    def end(tag: str) -> None:
        reading.open_tags.pop()
        where = f"{name}, line {parser.CurrentLineNumber}"
        parent = reading.open_tags[-1] if reading.open_tags else ""
        text = "".join(reading.text).strip()
        reading.text.clear()
        if parent == "ScoredEvent":
            reading.texts[tag] = text
        elif tag == "ScoredEvent" and reading.texts.get("EventType", "").startswith("Stages"):
            reading.events.append(_event(reading, where))
        elif tag == "ScoredEvent":
            reading.others.append(reading.texts)
        elif tag == "SleepStage" and parent == "SleepStages":
            reading.listed.append(_listed_stage(text, where))
        elif tag == "EpochLength":
            reading.epoch_s = _seconds(text, tag, where) or float(EPOCH_S)

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = reading.text.append
    try:
        parser.Parse(raw, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: an encoding that expat has not
        raise UserError(f"{name} is no well-formed XML: {error}; export it again") from error
    return reading


def _event(reading: _Reading, where: str) -> ScoredStretch:
    concept = reading.texts.get("EventConcept", "")
    stage = named_stage(concept.partition("|")[0])
    if stage is None:
        reading.unknown.add(concept)
        stage = UNSCORED
    onset_s, duration_s = (_seconds(reading.texts.get(tag, ""), tag, where) for tag in ("Start", "Duration"))
    return ScoredStretch(onset_s, duration_s, stage)


def _listed_stage(text: str, where: str) -> int:
    number = int(text) if text.removeprefix("-").isdecimal() and len(text) < 9 else None
    if number in UNSCORED_NUMBERS:
        return UNSCORED
    if number is None or number not in RECHTSCHAFFEN_KALES:
        raise UserError(f"{where}: SleepStage {text!r} is no stage; write 0 (W), 1-4, 5 (REM) or 9 (unscored)")
    return RECHTSCHAFFEN_KALES[number]


def _seconds(text: str, tag: str, where: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UserError(f"{where}: {tag} {text!r} is not a number of seconds; mend it")
    return seconds
