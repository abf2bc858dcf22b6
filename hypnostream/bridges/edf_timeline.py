"""When each data record of an EDF file began, and what was annotated: from the TALs (time-stamped annotation lists).

In EDF+ each record's first TAL is empty and its onset is the record's, in seconds since the start in the header.
An EDF+D recording was paused wherever a record begins later than the one before ended.

Stream time 0 is the start in the header. Two cases of a first record that begins later: under 1 s it is the fraction
of the start time, for which the header has no room, and stream time 0 is the first record's begin; 1 s or more is a
gap at the start of the recording.
"""

import math
import os
import re
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.edf_header import EdfHeader
from hypnostream.bridges.edf_text import decode
from hypnostream.stream.source import Annotation

_ONSET = re.compile(rb"[+-][0-9]+(\.[0-9]*)?")
_DURATION = re.compile(rb"[0-9]+(\.[0-9]*)?")

# All pauses of one recording together; an onset beyond is a damaged one, and believing it would make years of epochs.
LONGEST_PAUSE_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Timeline:
    """`onsets_s` (records,) rises by at least a record's duration each time; `fraction_s` was taken off everything."""

    onsets_s: NDArray[np.float64]
    fraction_s: float
    annotations: tuple[Annotation, ...]
    warnings: tuple[str, ...]


def read_timeline(path: str | os.PathLike[str], header: EdfHeader) -> Timeline:
    """The onsets of all records and the annotations, both on the stream's clock, annotations by onset."""
    warnings: list[str] = []
    stated, annotations, malformed = _read_tals(path, header)
    if malformed:
        warnings.append(f"{malformed} annotations could not be read and were left out")
    if not any(signal.is_annotations for signal in header.signals):
        if header.discontinuous:
            warnings.append(
                "the file is EDF+D but has no annotations channel; read as continuous, its gaps are unknown"
            )
        stated = np.arange(header.records, dtype=np.float64) * header.record_s
    fastest = max((s.samples_per_record for s in header.signals if not s.is_annotations), default=0)
    tolerance_s = 0.5 * header.record_s / fastest if fastest else 1e-6  # less than half a sample is rounding
    onsets = believable_onsets(stated, header.record_s, tolerance_s)
    doubted = int(np.sum(~(np.abs(onsets - stated) <= tolerance_s + 1e-9)))
    if doubted:
        warnings.append(
            f"{doubted} of {header.records} data records have no believable onset; "
            "each was taken to follow the one before"
        )
    jumps = int(np.sum(np.diff(onsets) > header.record_s + tolerance_s))
    if jumps and not header.discontinuous:
        warnings.append(
            f"the file is not marked EDF+D, but its records jump {jumps} times; the jumps are taken as gaps"
        )
    fraction_s = float(onsets[0]) if onsets[0] < 1.0 else 0.0
    on_stream = sorted((Annotation(a.onset_s - fraction_s, a.duration_s, a.text) for a in annotations), key=_onset)
    return Timeline(onsets - fraction_s, fraction_s, tuple(on_stream), tuple(warnings))


def _onset(annotation: Annotation) -> float:
    return annotation.onset_s


def parse_tals(raw: bytes) -> tuple[float, list[Annotation], int]:
    """One record's annotations channel: the record's onset (NaN without one), what it annotates, how many are broken.

    A TAL is: onset, then 0x15 and a duration if it has one, then each text between 0x14; a NUL ends it.
    """
    record_onset = math.nan
    annotations: list[Annotation] = []
    malformed = 0
    for place, tal in enumerate(filter(None, raw.split(b"\0"))):
        timing, *texts = tal.split(b"\x14")
        onset_text, _, duration_text = timing.partition(b"\x15")
        onset = float(onset_text) if _ONSET.fullmatch(onset_text) else math.inf
        duration = float(duration_text) if _DURATION.fullmatch(duration_text) else 0.0
        if not math.isfinite(onset) or not math.isfinite(duration) or not texts:
            malformed += 1
            continue
        if place == 0 and not texts[0]:
            record_onset = onset
        annotations.extend(Annotation(onset, duration, decode(text)) for text in texts if text)
    return record_onset, annotations, malformed


def _read_tals(path: str | os.PathLike[str], header: EdfHeader) -> tuple[NDArray[np.float64], list[Annotation], int]:
    onsets = np.full(header.records, np.nan)
    annotations: list[Annotation] = []
    malformed = 0
    channels = [signal for signal in header.signals if signal.is_annotations and signal.samples_per_record]
    record_bytes = 2 * header.record_samples
    with Path(path).open("rb", buffering=0) as file:
        for place, channel in enumerate(channels):
            for record in range(header.records):
                file.seek(header.header_bytes + record * record_bytes + 2 * channel.offset)
                onset, found, broken = parse_tals(file.read(2 * channel.samples_per_record))
                if place == 0:
                    onsets[record] = onset
                annotations += found
                malformed += broken
    return onsets, annotations, malformed


def believable_onsets(stated: NDArray[np.float64], record_s: float, tolerance_s: float) -> NDArray[np.float64]:
    """When the records began, given what they state (NaN where unread), so that none begins before the last one ended.

    A record's onset less the duration of all records before it is the pause until then, which can only grow. We believe
    the longest chain of records whose pauses grow, so that one damaged onset, too early or too late, moves no
    other record; the rest, and growth under `tolerance_s`, follow the record before.
    """
    regular: NDArray[np.float64] = np.arange(len(stated), dtype=np.float64) * record_s
    pauses = stated - regular
    believable = np.flatnonzero((pauses >= -tolerance_s) & (pauses <= LONGEST_PAUSE_S))
    if len(believable) == 0:
        return regular
    values = np.maximum(pauses[believable], 0.0)
    if np.ptp(values) <= tolerance_s:
        return regular + float(values[0])
    believed = np.zeros(len(stated))
    pause = 0.0
    following = 0
    for place in longest_rising(values):
        record = int(believable[place])
        believed[following:record] = pause
        if following == 0 or values[place] - pause > tolerance_s:
            pause = float(values[place])
        following = record
    believed[following:] = pause
    return regular + believed


def longest_rising(values: NDArray[np.float64]) -> list[int]:
    """Indices of the longest subsequence that never falls (patience sorting, n log n)."""
    if bool(np.all(np.diff(values) >= 0)):
        return list(range(len(values)))
    tops: list[float] = []  # the least value that a chain of each length can end in
    ends: list[int] = []  # and where that value is
    before: list[int] = []  # the element that precedes each in its chain
    for i, value in enumerate(values.tolist()):
        length = bisect_right(tops, value)
        before.append(ends[length - 1] if length else -1)
        if length == len(tops):
            tops.append(value)
            ends.append(i)
        else:
            tops[length] = value
            ends[length] = i
    chain: list[int] = []
    i = ends[-1]
    while i >= 0:
        chain.append(i)
        i = before[i]
    return chain[::-1]
