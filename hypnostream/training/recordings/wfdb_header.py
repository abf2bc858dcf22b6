"""The header of a WFDB record: rate, length, and how each signal lies in which file.

Format: George Moody, "WFDB Applications Guide", header(5), https://physionet.org/physiotools/wag/header-5.htm
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, time
from pathlib import Path

from hypnostream.bounded_file import read_bounded
from hypnostream.errors import UserError

_LARGEST_BYTES = 2**20
_MOST_SIGNALS = 1024
_LAYOUT = re.compile(r"(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?")
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,2})?"
_GAIN = re.compile(rf"([+-]?{_NUMBER})(?:\(([+-]?\d+)\))?(?:/(\S+))?")
_RATE = re.compile(rf"({_NUMBER})(?:/\S+)?")
_DEFAULT_GAIN = 200.0
_DEFAULT_RATE_HZ = 250.0


@dataclass(frozen=True, slots=True)
class WfdbSignal:
    """One signal: `file` in the record's folder, `layout` its format number, `first_byte` where the file's data begins.

    A physical value is (digital - baseline) / gain, in `unit`. There are `frame_samples` of it in each frame.
    """

    label: str
    file: str
    layout: int
    frame_samples: int
    first_byte: int
    gain: float
    baseline: float
    unit: str


@dataclass(frozen=True, slots=True)
class WfdbHeader:
    """`rate_hz` counts frames, which are what annotations count in too; `frames` is what the header promises or None.

    `start` is the recorder's local time, None where the header does not know date and time; `comments` are the lines
    after a #.
    """

    path: Path
    record: str
    rate_hz: float
    frames: int | None
    start: datetime | None
    signals: tuple[WfdbSignal, ...]
    comments: tuple[str, ...]


def read_wfdb_header(path: Path) -> WfdbHeader:
    """The header in `path`, a `.hea` file. Raises UserError, naming the line, when it is none or has segments."""
    try:
        text = read_bounded(path, _LARGEST_BYTES).decode("latin-1")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the name and the permissions") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    comments = tuple(line[1:].strip() for _, line in lines if line.startswith("#"))
    said = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not said:
        raise UserError(f"{path} is no WFDB header: it has no line; copy it again")
    fields = said[0][1].split()
    where = f"{path.name}, line {said[0][0]}"
    if "/" in fields[0]:
        raise UserError(f"{where}: the record has segments, which are not read; join them into one record")
    count = _whole(fields[1] if len(fields) > 1 else "", "number of signals", where)
    rate = _RATE.fullmatch(fields[2]) if len(fields) > 2 else None
    rate_hz = float(rate[1]) if rate else _DEFAULT_RATE_HZ
    if len(fields) > 2 and not (rate and math.isfinite(rate_hz) and rate_hz > 0):
        raise UserError(f"{where}: rate {fields[2]!r} is not a number of Hz above 0; mend the header")
    if count > _MOST_SIGNALS or len(said) < 1 + count:
        raise UserError(f"{where}: claims {count} signals, {len(said) - 1} are described; copy the header again")
    frames = _whole(fields[3], "number of samples", where) if len(fields) > 3 else 0
    return WfdbHeader(
        path=path,
        record=fields[0],
        rate_hz=rate_hz,
        frames=frames or None,
        start=_start(fields[4:6]),
        signals=tuple(_signal(line.split(maxsplit=8), f"{path.name}, line {n}") for n, line in said[1 : 1 + count]),
        comments=comments,
    )


def _signal(fields: list[str], where: str) -> WfdbSignal:
    layout = _LAYOUT.fullmatch(fields[1]) if len(fields) > 1 else None
    if layout is None:
        raise UserError(f"{where}: {' '.join(fields[:2])!r} is no file and format; mend the header")
    if Path(fields[0]).name != fields[0]:  # a header from outside names files beside it, nothing else
        raise UserError(f"{where}: the signal's file {fields[0]!r} is not beside the header; move it there")
    if layout[3]:
        raise UserError(f"{where}: format {fields[1]!r} is skewed, which is not read; rewrite the record without")
    gain = _GAIN.fullmatch(fields[2]) if len(fields) > 2 else None
    if len(fields) > 2 and gain is None:
        raise UserError(f"{where}: gain {fields[2]!r} is no number; mend the header")
    zero = float(fields[4]) if len(fields) > 4 and fields[4].lstrip("+-").isdecimal() else 0.0
    return WfdbSignal(
        label=fields[8].strip() if len(fields) > 8 else "",
        file=fields[0],
        layout=int(layout[1][:6]),
        frame_samples=max(int((layout[2] or "1")[:6]), 1),
        first_byte=int((layout[4] or "0")[:18]),
        gain=float(gain[1] if gain else 0) or _DEFAULT_GAIN,
        baseline=float(gain[2]) if gain and gain[2] else zero,
        unit=(gain[3] if gain and gain[3] else "mV"),
    )


def _whole(text: str, what: str, where: str) -> int:
    if not (text.isdecimal() and len(text) < 16):
        raise UserError(f"{where}: {what} {text!r} is no whole number; is this a WFDB header?")
    return int(text)


def _start(fields: list[str]) -> datetime | None:
    """The start from "23:07:00 19/1/1989", seconds alone and hours left out as the format allows."""
    if len(fields) < 2:
        return None
    try:
        clock = [float(part) for part in fields[0].split(":")]
        day, month, year = (int(part) for part in fields[1].split("/"))
        hour, minute, second = [0.0] * (3 - len(clock)) + clock
        return datetime.combine(datetime(year, month, day), time(int(hour), int(minute), int(second)), UTC)
    except ValueError:
        return None
