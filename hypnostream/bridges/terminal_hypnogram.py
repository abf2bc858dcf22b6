"""A night in five lines of a terminal, drawn in half cells: 80 cells hold 160 columns."""

from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Final

from rich.text import Text

from hypnostream.stream.stages import EPOCH_S

ROWS: Final = ("W", "R", "N1", "N2", "N3")  # from awake down, as hypnograms are drawn
COLOURS: Final = {"W": "#f2b134", "R": "#e0628a", "N1": "#7fd1de", "N2": "#4a9be8", "N3": "#6a6cf0"}
ABSENT: Final = "-"  # a column whose epochs came without a stage
DIM: Final = "#7d8590"
GUIDE: Final = "#3d444d"

_EPOCHS_AN_HOUR: Final = 3600 // EPOCH_S
_HOURS: Final = (1, 2, 4, 6, 8, 10, 12, 16, 24)  # what a picture spans, so that it is redrawn to scale only seldom
MOST_EPOCHS: Final = _HOURS[-1] * _EPOCHS_AN_HOUR


def hypnogram(stages: Mapping[int, str | None], width: int, provisional: tuple[int, str] | None = None) -> Text:
    """The epochs `stages` (None: absent) and the one that is forming, `width` cells wide, with hours below.

    The picture begins with a whole hour and spans the least of 1, 2, 4 ... 24 hours that holds the night, or the last
    24 of it. Where several epochs share a column, the commonest stage is shown; an epoch that never came stays blank.
    """
    cells = max(1, width - 3)
    first, span = _window(stages, provisional)
    columns = ["", *_columns(stages, first, span, 2 * cells)]
    forming, forming_row = (
        (-1, "") if provisional is None else ((provisional[0] - first) * cells // span, provisional[1])
    )
    ticks = _ticks(span, cells)
    text = Text(no_wrap=True)
    for row in ROWS:
        text.append(f"{row:<3}", style=f"bold {COLOURS[row]}")
        drawn = [_cell(row, *columns[2 * c : 2 * c + 3], tick=c in ticks) for c in range(cells)]
        if row == forming_row and forming >= 0:  # not when it is older than the picture
            drawn[forming] = "▒", f"bold {COLOURS[row]}"
        for style, run in groupby(drawn, key=itemgetter(1)):
            text.append("".join(character for character, _ in run), style=style)
        text.append("\n")
    return text.append(_axis(first // _EPOCHS_AN_HOUR, ticks, cells))


def _cell(row: str, before: str, left: str, right: str, *, tick: bool) -> tuple[str, str]:
    """The character and style of a row's cell, from its two columns and the one before them."""
    if row in (left, right):
        return "█" if left == right else "▌" if left == row else "▐", COLOURS[row]
    if ABSENT in (left, right):
        return "░", DIM
    if _passes(row, left, right):
        return "│", DIM
    if _passes(row, before, left):
        return "▏", DIM
    return "┊" if tick else " ", GUIDE


def _passes(row: str, before: str, after: str) -> bool:
    """Whether the way from one stage to the next leads through a row."""
    if before not in ROWS or after not in ROWS:
        return False
    ends = ROWS.index(before), ROWS.index(after)
    return min(ends) < ROWS.index(row) < max(ends)


def _window(stages: Mapping[int, str | None], provisional: tuple[int, str] | None) -> tuple[int, int]:
    """The first epoch of the picture and how many it spans."""
    last = max(max(stages, default=0), provisional[0] if provisional else 0)
    earliest = min(stages, default=last)
    first = max(earliest, last + 1 - MOST_EPOCHS + _EPOCHS_AN_HOUR) // _EPOCHS_AN_HOUR * _EPOCHS_AN_HOUR
    hours = next(h for h in _HOURS if first + h * _EPOCHS_AN_HOUR > last)
    return first, hours * _EPOCHS_AN_HOUR


def _columns(stages: Mapping[int, str | None], first: int, span: int, count: int) -> list[str]:
    """The stage of each column, ABSENT, or "" where nothing came; an epoch covers all the columns of its time."""
    columns = []
    for column in range(count):
        begin = first + column * span // count
        end = max(begin + 1, first + (column + 1) * span // count)
        known = Counter(stages[epoch] or ABSENT for epoch in range(begin, end) if epoch in stages)
        columns.append(known.most_common(1)[0][0] if known else "")
    return columns


def _ticks(span: int, cells: int) -> dict[int, int]:
    """Cells where an hour begins, to that hour's number in the picture; no closer than their labels are wide."""
    hours = span // _EPOCHS_AN_HOUR
    step = next((s for s in (1, 2, 4, 6, 12) if cells * s // hours >= 7), 24)
    return {cells * hour // hours: hour for hour in range(0, hours, step)}


def _axis(first_hour: int, ticks: Mapping[int, int], cells: int) -> Text:
    line = [" "] * (cells + 3)
    for cell, hour in ticks.items():
        label = f"{first_hour + hour} h"
        line[3 + cell : 3 + cell + len(label)] = label
    return Text("".join(line)[: cells + 3].rstrip(), style=DIM)
