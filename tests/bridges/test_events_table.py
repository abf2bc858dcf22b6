"""`events.parquet`: the latest revision of each event, whole whenever it is looked at."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream import __version__
from hypnostream.bridges.events_table import EventTable, TableEvent, read_events_table
from hypnostream.bridges.tables import REWRITE_EVERY_S, EpochTable, EpochTableHeader
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.revisions import latest
from hypnostream.errors import UserError
from tests.bridges.respiratory_events import event, events

HEADER = EpochTableHeader(
    session_id="a1b2", model_hash="9f" * 32, scoring_rule="AASM", t0_utc=datetime(2026, 3, 28, 22, 41, tzinfo=UTC)
)


def write(path: Path, *revisions: Event) -> list[TableEvent]:
    with EventTable(path, HEADER) as table:
        for revision in revisions:
            table.append(revision)
    header, rows = read_events_table(path)
    assert header == HEADER
    return rows


def test_the_columns_and_the_metadata_are_exactly_these(tmp_path: Path) -> None:
    write(tmp_path / "events.parquet", event())
    schema = parquet.read_schema(tmp_path / "events.parquet")
    assert [(field.name, field.type) for field in schema] == [
        ("event_id", pa.string()),
        ("revision", pa.int32()),
        ("revisions", pa.int32()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("confidence", pa.float32()),
        ("rule", pa.string()),
        ("signals", pa.list_(pa.field("element", pa.string()))),
        ("reason", pa.string()),
    ]
    assert schema.metadata == {
        b"session_id": b"a1b2",
        b"model_hash": b"9f" * 32,
        b"scoring_rule": b"AASM",
        b"hypnostream_version": __version__.encode(),
        b"notice": b"not a medical device",
        b"t0_utc": b"2026-03-28T22:41:00+00:00",
    }


def test_the_latest_revision_is_the_row_and_the_others_are_counted(tmp_path: Path) -> None:
    early = event("b", start_s=50.0, end_s=62.0)
    first = event("a", status="preliminary", end_s=None)
    rows = write(tmp_path / "e.parquet", first, early, replace(first, revision=1), event("a", revision=2))
    assert rows == [TableEvent(early, 1), TableEvent(event("a", revision=2), 3)]


def test_what_is_said_again_after_a_resume_is_no_revision(tmp_path: Path) -> None:
    final = event(revision=1)
    assert write(tmp_path / "e.parquet", event(), final, event(), final) == [TableEvent(final, 2)]


def test_a_withdrawn_event_stays_to_be_seen(tmp_path: Path) -> None:
    rows = write(tmp_path / "e.parquet", event(), event(revision=1, status="withdrawn"))
    assert [row.event.status for row in rows] == ["withdrawn"]


def test_a_night_without_events_leaves_a_table_without_rows(tmp_path: Path) -> None:
    assert write(tmp_path / "e.parquet") == []


@given(st.lists(events, max_size=12))
@settings(max_examples=25, deadline=None)
def test_rows_are_the_latest_revisions_whatever_came(
    tmp_path_factory: pytest.TempPathFactory, revisions: list[Event]
) -> None:
    told: dict[tuple[str, int], Event] = {}
    for each in revisions:
        told.setdefault((each.event_id, each.revision), each)  # the same revision twice says the same twice
    rows = write(tmp_path_factory.getbasetemp() / "any.parquet", *told.values())
    assert tuple(row.event for row in rows) == latest(told.values())


def test_the_file_is_there_with_the_first_event_and_rewritten_each_five_minutes(tmp_path: Path) -> None:
    path, now = tmp_path / "events.parquet", [0.0]
    table = EventTable(path, HEADER, clock=lambda: now[0])
    table.append(event("a"))
    assert [row.event.event_id for row in read_events_table(path)[1]] == ["a"]
    now[0] = REWRITE_EVERY_S - 1
    table.append(event("b"))
    assert len(read_events_table(path)[1]) == 1
    now[0] = REWRITE_EVERY_S
    table.append(event("c"))
    assert [row.event.event_id for row in read_events_table(path)[1]] == ["a", "b", "c"]
    assert table.events == tuple(row.event for row in read_events_table(path)[1])


def test_no_row_is_lost_on_a_disk_that_does_not_take_it(tmp_path: Path) -> None:
    path = tmp_path / "away" / "events.parquet"
    table = EventTable(path, HEADER)
    with pytest.raises(OSError, match="away"):
        table.append(event())
    path.parent.mkdir()
    table.write()
    assert len(read_events_table(path)[1]) == 1


def test_an_error_that_ends_the_night_leaves_what_there_was(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"

    def interrupted() -> None:
        with EventTable(path, HEADER) as table:
            table.append(event("a"))
            table.append(event("b"))
            raise RuntimeError("the night ended")

    with pytest.raises(RuntimeError, match="the night ended"):
        interrupted()
    assert len(read_events_table(path)[1]) == 2


def test_what_is_no_such_table_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.parquet cannot be read"):
        read_events_table(tmp_path / "none.parquet")
    (tmp_path / "bytes.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match=r"bytes.parquet cannot be read as a Parquet file"):
        read_events_table(tmp_path / "bytes.parquet")
    with EpochTable(tmp_path / "epochs.parquet", HEADER, ()):
        pass
    with pytest.raises(UserError, match=r"no events.parquet of Hypnostream: it differs at .*event_id"):
        read_events_table(tmp_path / "epochs.parquet")
    parquet.write_table(parquet.read_table(_written(tmp_path)).replace_schema_metadata({}), tmp_path / "bare.parquet")
    with pytest.raises(UserError, match="session_id"):
        read_events_table(tmp_path / "bare.parquet")


def _written(folder: Path) -> Path:
    write(folder / "events.parquet", event())
    return folder / "events.parquet"
