import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream import __version__
from hypnostream.bridges.tables import REWRITE_EVERY_S, EpochTable, EpochTableHeader, read_epochs
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.stages import EPOCH_S, STAGES
from tests.bridges.nights import CHANNELS, night

HEADER = EpochTableHeader(
    session_id="a1b2", model_hash="9f" * 32, scoring_rule="AASM", t0_utc=datetime(2026, 3, 28, 22, 41, tzinfo=UTC)
)


def as_stored(result: StageResult) -> StageResult:
    """What a result becomes in the table: float32, and without its compute time."""
    p_w, p_n1, p_n2, p_n3, p_r = (float(np.float32(p)) for p in result.probabilities)
    channels = tuple(replace(state, ok_fraction=float(np.float32(state.ok_fraction))) for state in result.channels)
    return replace(result, probabilities=(p_w, p_n1, p_n2, p_n3, p_r), channels=channels, compute_s=0.0)


def write(path: Path, results: list[StageResult], channels: tuple[str, ...] = CHANNELS) -> None:
    with EpochTable(path, HEADER, channels) as table:
        for result in results:
            table.append(result)


def test_the_columns_and_the_metadata_are_exactly_these(tmp_path: Path) -> None:
    write(tmp_path / "epochs.parquet", night("w12"))
    schema = parquet.read_schema(tmp_path / "epochs.parquet")
    channel_columns = [
        (f"{column}_{name}", type_)
        for name in CHANNELS
        for column, type_ in (
            ("quality", pa.string()),
            ("ok_fraction", pa.float32()),
            ("imputed", pa.bool_()),
            ("weight", pa.float32()),
        )
    ]
    assert [(field.name, field.type) for field in schema] == [
        ("epoch", pa.int32()),
        ("t_start_s", pa.float64()),
        ("stage", pa.string()),
        ("absent_reason", pa.string()),
        ("p_w", pa.float32()),
        ("p_n1", pa.float32()),
        ("p_n2", pa.float32()),
        ("p_n3", pa.float32()),
        ("p_r", pa.float32()),
        ("confidence", pa.float32()),
        *channel_columns,
    ]
    assert schema.metadata == {
        b"session_id": b"a1b2",
        b"model_hash": b"9f" * 32,
        b"scoring_rule": b"AASM",
        b"hypnostream_version": __version__.encode(),
        b"notice": b"not a medical device",
        b"t0_utc": b"2026-03-28T22:41:00+00:00",
    }


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    results = night("ww1223.r")
    write(tmp_path / "epochs.parquet", results)
    header, rows = read_epochs(tmp_path / "epochs.parquet")
    assert header == HEADER
    assert rows == [as_stored(result) for result in results]
    stages = parquet.read_table(tmp_path / "epochs.parquet").column("stage").to_pylist()
    assert stages == ["W", "W", "N1", "N2", "N2", "N3", None, "R"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*STAGES, None]),
            st.tuples(*[st.floats(0, 1)] * 5),
            st.lists(st.sampled_from(["a", "b c", "µ"]), unique=True),
            st.sampled_from(QUALITY_NAMES),
            st.floats(0, 1),
        ),
        max_size=12,
    ),
    st.one_of(st.none(), st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3))]))),
)
def test_whatever_a_session_says_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str | None, tuple[float, float, float, float, float], list[str], str, float]],
    t0_utc: datetime | None,
) -> None:
    path = tmp_path_factory.mktemp("table") / "epochs.parquet"
    header = replace(HEADER, t0_utc=t0_utc)
    results = []
    with EpochTable(path, header, ("a", "b c", "µ")) as table:
        for epoch, (stage, probabilities, names, quality, fraction) in enumerate(rows):
            channels = tuple(ChannelState(name, quality, fraction, quality != "ok") for name in sorted(names))
            reason = "no_data" if stage is None else None
            results.append(
                StageResult(epoch, EPOCH_S * epoch + 0.1, True, EPOCH_S, stage, reason, probabilities, channels)
            )
            table.append(results[-1])
    assert read_epochs(path) == (header, [as_stored(result) for result in results])


def test_a_night_without_an_epoch_is_a_table_without_rows(tmp_path: Path) -> None:
    write(tmp_path / "epochs.parquet", [])
    assert read_epochs(tmp_path / "epochs.parquet") == (HEADER, [])


def test_a_table_of_before_there_were_weights_is_read(tmp_path: Path) -> None:
    path = tmp_path / "epochs.parquet"
    write(path, night("w12"))
    table = parquet.read_table(path)
    parquet.write_table(table.drop_columns([n for n in table.column_names if n.startswith("weight_")]), path)
    assert [state.weight for result in read_epochs(path)[1] for state in result.channels] == [None] * 9


def test_rows_reach_the_disk_while_the_night_goes_on(tmp_path: Path) -> None:
    now_s = 0.0
    path = tmp_path / "epochs.parquet"
    table = EpochTable(path, HEADER, CHANNELS, clock=lambda: now_s)
    results = night("w1223")
    table.append(results[0])
    assert len(read_epochs(path)[1]) == 1
    table.append(results[1])
    assert len(read_epochs(path)[1]) == 1  # not yet due: a replay at full speed writes twice
    now_s += REWRITE_EVERY_S
    table.append(results[2])
    assert len(read_epochs(path)[1]) == 3
    now_s += REWRITE_EVERY_S
    table.append(results[3])
    assert len(read_epochs(path)[1]) == 4


def test_a_killed_process_leaves_a_readable_table(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from hypnostream.bridges.tables import EpochTable, EpochTableHeader
from tests.bridges.nights import CHANNELS, night
table = EpochTable(Path(sys.argv[1]), EpochTableHeader("a1b2", "9f", "AASM"), CHANNELS)
for result in night("2" * 5000):
    table.append(result)
    if result.epoch % 50 == 49:
        table.write()
        print(result.epoch, flush=True)
"""
    path = tmp_path / "epochs.parquet"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    for _ in range(3):
        said = int(process.stdout.readline())
    process.kill()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    rows = read_epochs(path)[1]
    assert len(rows) > said
    assert [row.epoch for row in rows] == list(range(len(rows)))


def test_an_error_in_the_night_does_not_lose_its_rows(tmp_path: Path) -> None:
    def broken_off() -> None:
        with EpochTable(tmp_path / "epochs.parquet", HEADER, CHANNELS) as table:
            table.append(night("2")[0])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert len(read_epochs(tmp_path / "epochs.parquet")[1]) == 1


def test_a_write_that_failed_is_made_good_later(tmp_path: Path) -> None:
    table = EpochTable(tmp_path / "gone" / "epochs.parquet", HEADER, CHANNELS)
    with pytest.raises(OSError, match="gone"):
        table.append(night("2")[0])
    (tmp_path / "gone").mkdir()
    table.write()
    assert len(read_epochs(table.path)[1]) == 1


def test_rows_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    first, second = night("22")
    table = EpochTable(tmp_path / "epochs.parquet", HEADER, CHANNELS)
    with pytest.raises(ValueError, match="epoch 0 is provisional"):
        table.append(replace(first, final=False))
    table.append(second)
    with pytest.raises(ValueError, match="epoch 0 came after epoch 1"):
        table.append(first)
    with pytest.raises(ValueError, match="leg_emg"):
        table.append(replace(first, epoch=2, channels=(ChannelState("leg_emg", "ok", 1.0, False),)))


def test_a_file_that_is_no_epoch_table_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "epochs.parquet"
    with pytest.raises(UserError, match="cannot be read"):
        read_epochs(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="cannot be read"):
        read_epochs(path)
    parquet.write_table(pa.table({"epoch": [1, 2]}), path)
    with pytest.raises(UserError, match=r"differs at .*t_start_s"):
        read_epochs(path)
    write(path, night("w"))
    parquet.write_table(parquet.read_table(path).replace_schema_metadata({"session_id": "x"}), path)
    with pytest.raises(UserError, match="model_hash") as error:
        read_epochs(path)
    assert "\n" not in str(error.value)
