"""WFDB annotations and signals (PhysioNet), read as their documents describe them; nothing of the wfdb package.

Formats: George Moody, "WFDB Applications Guide", annot(5) and signal(5), https://physionet.org/physiotools/wag/
"""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.bounded_file import read_bounded
from hypnostream.errors import UserError
from hypnostream.training.recordings.wfdb_header import WfdbHeader, WfdbSignal, read_wfdb_header

__all__ = ["BEATS", "WfdbAnnotation", "frames_there", "read_wfdb_annotations", "read_wfdb_header", "read_wfdb_signals"]

_LARGEST_BYTES = 64 * 2**20
_CODES = (*range(1, 15), 16, *range(18, 42))
_SYMBOLS = dict(zip(_CODES, 'NLRaVFJASEj/Q~|sT*D"=pB^t+u?![]en@xf()r', strict=True))
# What marks a heart beat, whatever kind of beat (annotation codes 1-13, 25, 30, 34, 35, 38, 41).
BEATS = frozenset("NLRaVFJASEj/QB?nfre")
_SKIP, _NUMBER, _SUBTYPE, _CHANNEL, _AUXILIARY = range(59, 64)
_RESOLUTION = re.compile(r"## time resolution: ([0-9]{1,9}(?:\.[0-9]{1,9})?)")
# Formats: bytes that some number of samples take, how many that is, and the value that says "not recorded".
_PACKED = {16: (2, 1, -(2**15)), 212: (3, 2, -(2**11))}


class WfdbAnnotation(NamedTuple):
    """`time_s` since the record's start, the standard symbol of its code ("N", '"', ...), and its text."""

    time_s: float
    symbol: str
    aux: str


def read_wfdb_annotations(path: Path, rate_hz: float | None = None) -> list[WfdbAnnotation]:
    """All annotations of a file in MIT format, in its order.

    `rate_hz` is what annotations count in; None: what the file itself says, else the `.hea` beside it.
    Raises UserError when that is not there, or the file ends within an annotation.
    """
    try:
        raw = read_bounded(path, _LARGEST_BYTES)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the name and the permissions") from error
    found = list(_annotations(raw, path.name))
    if found and found[0][0] == 0 and (said := _RESOLUTION.fullmatch(found[0][2])) and float(said[1]) > 0:
        rate_hz = rate_hz or float(said[1])
    rate_hz = rate_hz or read_wfdb_header(path.with_suffix(".hea")).rate_hz
    return [
        WfdbAnnotation(sample / rate_hz, symbol, aux)
        for sample, symbol, aux in found
        if not (symbol == '"' and aux.startswith("## "))  # the format's own remarks
    ]


def _annotations(raw: bytes, name: str) -> Iterator[tuple[int, str, str]]:
    """(sample, symbol, text) of each annotation. A word is 6 bits of code and 10 of time since the one before."""
    sample, place = 0, 0
    held: tuple[int, str, str] | None = None  # its text may follow it

    def taken(count: int) -> bytes:
        nonlocal place
        if place + count > len(raw):
            raise UserError(f"{name} ends within an annotation, at byte {len(raw)}; copy it again")
        place += count
        return raw[place - count : place]

    while place < len(raw):
        word = int.from_bytes(taken(2), "little")
        code, passed = word >> 10, word & 0x3FF
        if word == 0:
            break
        if code == _SKIP:
            high, low = (int.from_bytes(taken(2), "little") for _ in range(2))
            skipped = high << 16 | low
            sample += skipped - (skipped >> 31 << 32)
        elif code == _AUXILIARY:
            text = taken(passed + passed % 2)[:passed].rstrip(b"\0").decode("latin-1")
            if held:
                held = (held[0], held[1], text)
        elif code not in (_NUMBER, _SUBTYPE, _CHANNEL):
            if held:
                yield held
            sample += passed
            held = (sample, _SYMBOLS.get(code, f"[{code}]"), "")
    if held:
        yield held


def frames_there(header: WfdbHeader) -> int:
    """How many whole frames the signal files hold, whatever the header promises; 0 when one is not there."""
    counts = []
    for file, signals in _files(header):
        packed, samples, _ = _packing(header, signals)
        path = header.path.parent / file
        size = path.stat().st_size - signals[0].first_byte if path.is_file() else 0
        counts.append(max(size, 0) * samples // packed // sum(s.frame_samples for s in signals))
    there = min(counts, default=0)
    return there if header.frames is None else min(there, header.frames)


def read_wfdb_signals(header: WfdbHeader, first_frame: int, count: int) -> list[NDArray[np.float32]]:
    """Frames `first_frame` to before `first_frame + count`: for each signal (count * its frame_samples,), physical.

    Samples that say "not recorded" are NaN. Fewer come where the file ends. Formats 16 and 212 are read; another
    raises UserError, as does a file that cannot be read.
    """
    out: list[NDArray[np.float32]] = []
    for file, signals in _files(header):
        frame = sum(signal.frame_samples for signal in signals)
        digital = _samples(header, file, signals, first_frame * frame, count * frame)
        table = digital[: len(digital) // frame * frame].reshape(-1, frame)
        column = 0
        for signal in signals:
            values = table[:, column : column + signal.frame_samples].reshape(-1)
            column += signal.frame_samples
            physical = (values.astype(np.float64) - signal.baseline) / signal.gain
            physical[values == _PACKED[signal.layout][2]] = np.nan
            out.append(physical.astype(np.float32))
    return out


def _files(header: WfdbHeader) -> Iterator[tuple[str, list[WfdbSignal]]]:
    """The signals of each file, in order: those that lie side by side."""
    for file, signals in groupby(header.signals, lambda signal: signal.file):
        yield file, list(signals)


def _packing(header: WfdbHeader, signals: Sequence[WfdbSignal]) -> tuple[int, int, int]:
    layouts = {signal.layout for signal in signals}
    if len(layouts) > 1 or not layouts <= set(_PACKED):
        known = ", ".join(map(str, _PACKED))
        raise UserError(f"{header.path.name}: format {sorted(layouts)} of {signals[0].file} is not read; use {known}")
    return _PACKED[layouts.pop()]


def _samples(header: WfdbHeader, file: str, signals: Sequence[WfdbSignal], first: int, count: int) -> NDArray[np.int16]:
    """Samples `first` to before `first + count` of one file, fewer where it ends."""
    packed, together, _ = _packing(header, signals)
    begin = first // together
    end = -(-(first + count) // together)
    path = header.path.parent / file
    try:
        with path.open("rb") as opened:
            opened.seek(signals[0].first_byte + begin * packed)
            raw = opened.read(min((end - begin) * packed, path.stat().st_size))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; is the record complete?") from error
    octets = np.frombuffer(raw[: len(raw) // packed * packed], np.uint8)
    if packed == 2:
        return octets.view("<i2")[:count]
    low, both, high = octets.reshape(-1, 3).astype(np.int16).T
    pairs = np.stack([low | (both & 0x0F) << 8, high | (both & 0xF0) << 4], axis=1).reshape(-1)
    pairs -= (pairs >> 11) << 12  # twelve bits with a sign
    return pairs[first - begin * together :][:count]
