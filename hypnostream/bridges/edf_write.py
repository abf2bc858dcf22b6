"""Recordings out to EDF: plain EDF when it can be, EDF+C with annotations, EDF+D with gaps (which edfio cannot write).

A small writer for tests, benchmarks and exports. Every record starts where `record_onsets_s` says; what lies between
is a gap.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.source import Annotation

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DIGITAL_MINIMUM, _DIGITAL_MAXIMUM = -32768, 32767


@dataclass(frozen=True, slots=True)
class EdfSignal:
    """One channel to write: `samples` (n,) in `unit` at `rate_hz`; limits None: from the samples, rounded outwards."""

    label: str
    samples: NDArray[np.floating]
    rate_hz: float
    unit: str = "uV"
    minimum: float | None = None
    maximum: float | None = None
    transducer: str = ""
    prefilter: str = ""


def write_edf(
    path: str | os.PathLike[str],
    signals: Sequence[EdfSignal],
    *,
    record_s: float = 1.0,
    record_onsets_s: NDArray[np.floating] | None = None,
    annotations: Sequence[Annotation] = (),
    start: datetime | None = None,
) -> None:
    """Write `signals` as records of `record_s` seconds; samples outside of a channel's limits are clipped to them.

    `record_onsets_s` (records,) rises by at least `record_s` each time; None is 0, `record_s`, 2 `record_s`, ...
    The file is EDF+D when an onset leaves a gap, EDF+C with annotations, without signals or when the first onset is not
    0, else plain EDF. `start` is the recorder's local time; None is written as anonymous (1985-01-01 00:00).

    Raises ValueError when a channel does not fill the same number of whole records, has a NaN, or something does not
    fit its field of the header.
    """
    counts = {signal.label: _per_record(signal, record_s) for signal in signals}
    lengths = {len(signal.samples) / _per_record(signal, record_s) for signal in signals}
    records = len(record_onsets_s) if record_onsets_s is not None else int(min(lengths, default=1))
    if lengths - {records}:
        raise ValueError(f"every channel must fill {records} records of {record_s} s; samples a record are {counts}")
    regular = np.arange(records) * record_s
    onsets = np.asarray(regular if record_onsets_s is None else record_onsets_s, np.float64)
    if np.any(np.diff(onsets) < record_s - 1e-9) or np.any(onsets < 0):
        raise ValueError(f"record onsets must rise by at least {record_s} s from 0 or more")
    gaps = bool(np.any(np.abs(onsets - onsets[0] - regular) > 1e-9))
    plus = gaps or bool(annotations) or not signals or onsets[0] != 0
    kind = "EDF+D" if gaps or onsets[0] >= 1 else "EDF+C" if plus else ""
    blocks: list[NDArray[np.int16]] = []
    headers: list[tuple[str | float, ...]] = []
    for signal in signals:
        minimum, maximum = _limits(signal)
        blocks.append(_digital(signal, minimum, maximum).reshape(records, -1))
        limits = (minimum, maximum, _DIGITAL_MINIMUM, _DIGITAL_MAXIMUM)
        headers.append((signal.label, signal.transducer, signal.unit, *limits, signal.prefilter, blocks[-1].shape[1]))
    if plus:
        blocks.append(_tals(onsets, annotations))
        limits = (-1, 1, _DIGITAL_MINIMUM, _DIGITAL_MAXIMUM)
        headers.append(("EDF Annotations", "", "", *limits, "", blocks[-1].shape[1]))
    with Path(path).open("wb") as file:
        file.write(_fixed_header(kind, start, records, record_s if signals else 0, len(headers)))
        for field, width in enumerate((16, 80, 8, 8, 8, 8, 8, 80, 8)):
            file.write(b"".join(_field(header[field], width) for header in headers))
        file.write(b" " * (32 * len(headers)))
        np.concatenate(blocks, axis=1).tofile(file)


def _per_record(signal: EdfSignal, record_s: float) -> int:
    per_record = round(signal.rate_hz * record_s)
    if per_record < 1 or abs(per_record - signal.rate_hz * record_s) > 1e-6:
        raise ValueError(f"{signal.label}: {signal.rate_hz} Hz makes no whole number of samples in {record_s} s")
    return per_record


def _limits(signal: EdfSignal) -> tuple[float, float]:
    """Physical limits as the header will spell them, so that the scale is that of who reads it."""
    if not np.all(np.isfinite(signal.samples)):
        raise ValueError(f"{signal.label} has samples that are no number; leave their records out, as a gap")
    largest = float(np.max(np.abs(signal.samples), initial=0.0)) or 1.0
    step = 10.0 ** (math.floor(math.log10(largest)) - 1)
    outward = step * math.ceil(largest / step)  # two digits always fit their eight characters
    minimum = -outward if signal.minimum is None else signal.minimum
    maximum = outward if signal.maximum is None else signal.maximum
    return float(_spell(minimum)), float(_spell(maximum))


def _digital(signal: EdfSignal, minimum: float, maximum: float) -> NDArray[np.int16]:
    if minimum == maximum:
        raise ValueError(f"{signal.label}: its limits are both {minimum}")
    gain = (maximum - minimum) / (_DIGITAL_MAXIMUM - _DIGITAL_MINIMUM)
    digital = np.rint((signal.samples - minimum) / gain + _DIGITAL_MINIMUM)
    clipped: NDArray[np.int16] = np.clip(digital, _DIGITAL_MINIMUM, _DIGITAL_MAXIMUM).astype("<i2")
    return clipped


def _spell(number: float) -> str:
    """The most exact spelling of a number in eight characters."""
    for digits in range(10, 0, -1):
        for spelling in (f"{number:.{digits}g}", np.format_float_positional(float(f"{number:.{digits}g}"), trim="-")):
            if len(spelling) <= 8:
                return spelling
    raise ValueError(f"{number} does not fit the eight characters that EDF has for it")


def _field(value: str | float, width: int) -> bytes:
    raw = value.encode() if isinstance(value, str) else _spell(value).encode()
    if len(raw) > width:
        raise ValueError(f"{value!r} does not fit the {width} bytes that EDF has for it")
    return raw.ljust(width)


def _tals(onsets: NDArray[np.float64], annotations: Sequence[Annotation]) -> NDArray[np.int16]:
    """The annotations channel, (records, samples): each record's onset, and what was annotated from then on."""
    lists = [f"{_seconds(onset, sign=True)}\x14\x14\0".encode() for onset in onsets.tolist()]
    for annotation in annotations:
        duration = f"\x15{_seconds(annotation.duration_s)}" if annotation.duration_s else ""
        record = max(int(np.searchsorted(onsets, annotation.onset_s, side="right")) - 1, 0)
        lists[record] += f"{_seconds(annotation.onset_s, sign=True)}{duration}\x14{annotation.text}\x14\0".encode()
    width = max(len(tals) for tals in lists)
    padded = b"".join(tals.ljust(width + width % 2, b"\0") for tals in lists)
    return np.frombuffer(padded, "<i2").reshape(len(lists), -1)


def _seconds(value: float, *, sign: bool = False) -> str:
    return str(np.format_float_positional(round(value, 9), trim="-", sign=sign))


def _fixed_header(kind: str, start: datetime | None, records: int, record_s: float, channels: int) -> bytes:
    moment = start or datetime(1985, 1, 1)
    if not 1985 <= moment.year <= 2084:
        raise ValueError(f"EDF has no date before 1985 or after 2084, got {moment:%Y-%m-%d}")
    day = f"{moment.day:02}-{_MONTHS[moment.month - 1]}-{moment.year}" if start else "X"
    fields: tuple[tuple[str | float, int], ...] = (
        ("0", 8),
        ("X X X X", 80),
        (f"Startdate {day} X X X", 80),
        (f"{moment:%d.%m.%y}", 8),
        (f"{moment:%H.%M.%S}", 8),
        (256 * (channels + 1), 8),
        (kind, 44),
        (records, 8),
        (record_s, 8),
        (channels, 4),
    )
    return b"".join(_field(value, width) for value, width in fields)
