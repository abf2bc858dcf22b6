"""Signals in CSV: a column `time_s` and one a channel, "EEG C4-M1 [uV]", in steady steps; a file a rate.

A gap is a jump in time, or an empty cell. Only some thousand lines are in memory at once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.recordings.epoch_grid import Stretch

_BLOCK_BYTES = 2**20
_FASTEST_HZ = 1e5
_LONGEST_S = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class SignalFile:
    """What one file holds: labels and units of its channels, their rate, and when its last sample ends."""

    path: Path
    labels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    end_s: float


def look(path: Path) -> SignalFile:
    """Read the file once, for its columns, rate and length. Raises UserError when time does not go on in one step."""
    labels: tuple[str, ...] = ()
    step_s, last_s = math.nan, -math.inf
    for names, times_s, _ in _parts(path):
        labels = names
        if math.isnan(step_s) and len(times_s) > 1:
            step_s = _step(times_s)
        steps = np.diff(np.concatenate([[last_s], times_s]) if math.isfinite(last_s) else times_s)
        # Times may be rounded; what is less than half a step from the last is no step at all.
        if len(steps) and not (steps > 0.5 * step_s).all():
            near = float(times_s[min(int(np.argmin(steps)), len(times_s) - 1)])
            raise UserError(f"{path.name}: time_s does not go on in steps of {step_s:g} s near {near:g} s; mend it")
        if len(times_s):
            last_s = float(times_s[-1])
            if not 0 <= float(times_s[0]) <= last_s <= _LONGEST_S:
                raise UserError(f"{path.name}: time_s goes to {last_s:g} s; it counts from the start, to a week")
    if not (step_s > 1 / _FASTEST_HZ):
        raise UserError(f"{path.name} has no rate: it needs two lines or more, apart in time_s")
    rate_hz = _round_rate(1 / step_s)
    said = [_label(name) for name in labels]
    return SignalFile(path, tuple(s for s, _ in said), tuple(u for _, u in said), rate_hz, last_s + 1 / rate_hz)


def stretches(files: Sequence[SignalFile]) -> Iterator[Stretch]:
    """The samples of all files together, the one that is behind first."""
    parts = [_parts(file.path) for file in files]
    until = [0.0] * len(files)
    while any(math.isfinite(each) for each in until):
        stream = int(np.argmin(until))
        following = next(parts[stream], None)
        if following is None:
            until[stream] = math.inf
            yield Stretch(stream, np.empty((0, len(files[stream].labels)), np.float32), np.empty(0))
        elif len(following[1]):
            until[stream] = float(following[1][-1])
            yield Stretch(stream, following[2], following[1])


def _parts(path: Path) -> Iterator[tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.float32]]]:
    """(column names without time_s, times (n,), samples (n, columns)) piece by piece."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        names = _header(path)
        types = dict.fromkeys(names, pa.float64())
        with csv.open_csv(
            path,
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False),
            convert_options=csv.ConvertOptions(column_types=types, null_values=["", "NaN", "nan"]),
        ) as reader:
            for batch in reader:
                times_s = batch.column("time_s").to_numpy(zero_copy_only=False)
                if not np.isfinite(times_s).all():
                    raise UserError(f"{path.name} has a line without time_s; give each line its time")
                columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in names[1:]]
                yield tuple(names[1:]), times_s, np.stack(columns, axis=1).astype(np.float32)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} is no CSV of signals: {' '.join(str(error).split())[:200]}; mend it") from error


def _header(path: Path) -> list[str]:
    import csv

    with path.open(newline="", encoding="utf-8-sig") as file:
        names = next(csv.reader([file.readline(2**16)]), [])
    if len(names) < 2 or names[0] != "time_s" or len(set(names)) < len(names):
        raise UserError(f"{path.name}: its first line must be time_s and then a name for each channel, none twice")
    return names


def _step(times_s: NDArray[np.float64]) -> float:
    """The step of times (n,), from the longest piece without a gap: one step alone has too few digits."""
    steps = np.diff(times_s)
    gaps = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1
    edges = np.concatenate([[0], gaps, [len(times_s)]])
    longest = int(np.argmax(np.diff(edges)))
    piece = times_s[edges[longest] : edges[longest + 1]]
    return float((piece[-1] - piece[0]) / (len(piece) - 1)) if len(piece) > 1 else float(np.median(steps))


def _label(name: str) -> tuple[str, str]:
    """Label and unit of "EEG C4-M1 [uV]"."""
    label, bracket, unit = name.rpartition("[")
    return (label.strip(), unit.rstrip("] ").strip()) if bracket and name.rstrip().endswith("]") else (name.strip(), "")


def _round_rate(rate_hz: float) -> float:
    """Times have few digits: a rate within a thousandth of a whole one is that."""
    whole = round(rate_hz)
    return float(whole) if whole and abs(rate_hz - whole) <= 0.001 * rate_hz else rate_hz
