"""`events.parquet`: one row an event of breathing, as its latest revision has it.

Written as `epochs.parquet` is (see tables.py): whole, atomically, with the first event, then at most every five
minutes, and at the end. A night in which breathing could be judged and nothing happened leaves a table without rows.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hypnostream.bridges.tables import REWRITE_EVERY_S, EpochTableHeader, read_table, write_table
from hypnostream.engine.respiration.event import Event

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class TableEvent:
    """One row: the latest revision of an event, and how many there were of it."""

    event: Event
    revisions: int


class EventTable:
    """The table while it grows. Not thread-safe."""

    def __init__(self, path: Path, header: EpochTableHeader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.header = header
        self._rows: dict[str, TableEvent] = {}
        self._clock = clock
        self._written_s = -math.inf

    @property
    def events(self) -> tuple[Event, ...]:
        """The latest revision of each event, by when it began; those that were withdrawn are among them."""
        return tuple(row.event for row in self._sorted())

    def append(self, event: Event) -> None:
        """Keep a revision, and rewrite the file if that is due.

        Raises:
            OSError: the file could not be written; no row is lost, and a later call tries again.
        """
        if self.keep(event) and self._clock() - self._written_s >= REWRITE_EVERY_S:
            self.write()

    def keep(self, event: Event) -> bool:
        """Keep a revision, in memory alone. One that is known already (a session that was taken up again says it once
        more) changes nothing; whether it was news.
        """
        known = self._rows.get(event.event_id)
        if known is not None and event.revision <= known.event.revision:
            return False
        self._rows[event.event_id] = TableEvent(event, 1 if known is None else known.revisions + 1)
        return True

    def write(self) -> None:
        """Write all rows so far."""
        self._written_s = self._clock()  # a full disk is not tried again with every event of a fast replay
        write_table(self.path, lambda: _to_table(self._sorted(), self.header))

    def _sorted(self) -> list[TableEvent]:
        return sorted(self._rows.values(), key=lambda row: (row.event.start_s, row.event.event_id))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Write what there is, also when an error ends the recording."""
        self.write()


def read_events_table(path: Path) -> tuple[EpochTableHeader, list[TableEvent]]:
    """The header and rows of an `events.parquet`, by onset; confidences come back rounded to float32.

    Raises UserError as `read_table` does.
    """
    wanted = set(map(str, _schema()))
    header, rows = read_table(path, "events.parquet", lambda schema: wanted ^ set(map(str, schema)))
    return header, [_to_row(row) for row in rows]


def _schema() -> "pyarrow.Schema":
    import pyarrow as pa

    columns: list[pa.Field[Any]] = [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("revision", pa.int32(), nullable=False),
        pa.field("revisions", pa.int32(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64()),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("signals", pa.list_(pa.field("element", pa.string())), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
    return pa.schema(columns)


def _to_table(rows: Sequence[TableEvent], header: EpochTableHeader) -> "pyarrow.Table":
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        each.name: [getattr(row.event, each.name) for row in rows] for each in fields(Event)
    }
    columns["revisions"] = [row.revisions for row in rows]
    return pa.table(columns, schema=_schema().with_metadata(header.metadata()))


def _to_row(row: dict[str, Any]) -> TableEvent:
    revisions = row.pop("revisions")
    return TableEvent(Event(**row | {"signals": tuple(row["signals"])}), revisions)
