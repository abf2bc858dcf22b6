"""Rows of the fault matrix: what is promised, what was seen."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen in one row: in words, in numbers, and whether the promise was kept."""

    kept: bool
    words: str
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. `short` rows make up the short form; `peer` names the same fault for peers/mne_lsl_faults.py."""

    name: str
    promised: str
    run: Callable[[Path, str], Seen]
    short: bool = False
    peer: str | None = None


ROWS: dict[str, Row] = {}


def row(
    name: str, promised: str, *, short: bool = False, peer: str | None = None
) -> Callable[[Callable[[Path, str], Seen]], Callable[[Path, str], Seen]]:
    """Enters a function of (empty folder, private LSL session) as a row."""

    def enter(run: Callable[[Path, str], Seen]) -> Callable[[Path, str], Seen]:
        ROWS[name] = Row(name, promised, run, short, peer)
        return run

    return enter


def as_json(name: str, seen: Seen, wall_s: float, peer: str | None) -> dict[str, Any]:
    """One row as JSON has it."""
    return {"fault": name, "promised": ROWS[name].promised, "wall_s": round(wall_s, 1), "mne_lsl": peer} | asdict(seen)


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The matrix as people read it."""
    lines = ["| fault | promised | seen | kept | mne-lsl 1.14 |", "|---|---|---|---|---|"]
    for each in rows:
        cells = (each["fault"], each["promised"], each["words"], "yes" if each["kept"] else "**no**")
        lines.append(f"| {' | '.join(cells)} | {each['mne_lsl'] or '–'} |")
    return "\n".join(lines) + "\n"
