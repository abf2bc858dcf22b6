"""`epochs.parquet`: one row an epoch, for pandas, polars, R and DuckDB.

A night has about a thousand rows, so the file is rewritten whole, atomically: with the first epoch, then at most every
five minutes, and at the end. Whenever the process dies a readable file is left, and the result log has what is not in
it. Oftener is not for free: each time there are a few rows more, for which the allocator needs room anew, 1.2 MiB an
hour with every epoch.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from hypnostream import __version__
from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S, STAGES

if TYPE_CHECKING:
    import pyarrow

NOTICE = "not a medical device"
REWRITE_EVERY_S = 300.0


@dataclass(frozen=True, slots=True)
class EpochTableHeader:
    """What the rows of one table of a night share; kept as the file's key-value metadata under these names.

    `model_hash` is the bundle's hash, `scoring_rule` the rules that the model was taught. `t0_utc` is the
    wall time of the beginning of epoch 0, where it is known.
    """

    session_id: str
    model_hash: str
    scoring_rule: str
    t0_utc: datetime | None = None
    hypnostream_version: str = __version__
    notice: str = NOTICE

    def metadata(self) -> dict[str, str]:
        """As a file's key-value metadata."""
        stated = {
            "session_id": self.session_id,
            "model_hash": self.model_hash,
            "scoring_rule": self.scoring_rule,
            "hypnostream_version": self.hypnostream_version,
            "notice": self.notice,
        }
        return stated if self.t0_utc is None else stated | {"t0_utc": self.t0_utc.isoformat()}

    @classmethod
    def of_metadata(cls, metadata: Mapping[bytes, bytes]) -> Self:
        """The inverse of `metadata`, from what a file has. Raises KeyError or ValueError where one is not so."""
        keys = {key.decode(): value.decode() for key, value in metadata.items()}
        return cls(
            session_id=keys["session_id"],
            model_hash=keys["model_hash"],
            scoring_rule=keys["scoring_rule"],
            t0_utc=datetime.fromisoformat(keys["t0_utc"]) if "t0_utc" in keys else None,
            hypnostream_version=keys["hypnostream_version"],
            notice=keys["notice"],
        )


class EpochTable:
    """The table while it grows. Not thread-safe.

    `channels` are the names of the bundle's channels; each has the columns `quality_NAME`, `ok_fraction_NAME`,
    `imputed_NAME` and `weight_NAME`, null in an epoch whose result does not speak of it.
    """

    def __init__(
        self,
        path: Path,
        header: EpochTableHeader,
        channels: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self.header = header
        self.channels = tuple(channels)
        self._results: list[StageResult] = []
        self._clock = clock
        self._written_s = -math.inf

    def append(self, result: StageResult) -> None:
        """Add the final result of an epoch, and rewrite the file if that is due.

        Raises:
            ValueError: the result is provisional, its epoch is not after the last one, or it has a channel that the
                table has no columns for.
            OSError: the file could not be written; no row is lost, and a later call tries again.
        """
        if not result.final:
            raise ValueError(f"epoch {result.epoch} is provisional: only final results are rows")
        if self._results and result.epoch <= self._results[-1].epoch:
            raise ValueError(f"epoch {result.epoch} came after epoch {self._results[-1].epoch}: rows go forward")
        unknown = {state.name for state in result.channels} - set(self.channels)
        if unknown:
            raise ValueError(f"epoch {result.epoch} has channels that the table has not: {sorted(unknown)}")
        self._results.append(result)
        if self._clock() - self._written_s >= REWRITE_EVERY_S:
            self.write()

    def write(self) -> None:
        """Write all rows so far."""
        self._written_s = self._clock()  # a full disk is not tried again with every epoch of a fast replay
        write_table(self.path, lambda: _to_table(self._results, self.channels, self.header))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Write what there is, also when an error ends the recording."""
        self.write()


def write_table(path: Path, make: Callable[[], "pyarrow.Table"]) -> None:
    """Write the table that `make` gives as Parquet, atomically, and keep nothing of its memory. Raises OSError."""
    import pyarrow
    import pyarrow.parquet as parquet

    content = BytesIO()
    parquet.write_table(make(), content)
    write_atomically(path, content.getvalue())
    # What it took would stay with the process: each time a little more than before.
    for pool in (pyarrow.default_memory_pool(), pyarrow.system_memory_pool()):
        pool.release_unused()


def read_table(
    path: Path, what: str, differs: Callable[["pyarrow.Schema"], set[str]]
) -> tuple[EpochTableHeader, list[dict[str, Any]]]:
    """The header and rows of `what` ("epochs.parquet") that `write_table` wrote; `differs` names wrong columns.

    Raises:
        UserError: the file cannot be read, is no Parquet, or lacks a column or a key.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        file = parquet.ParquetFile(path)
        if wrong := differs(file.schema_arrow):
            raise UserError(f"{path} is no {what} of Hypnostream: it differs at {', '.join(sorted(wrong))}")
        return EpochTableHeader.of_metadata(file.metadata.metadata or {}), file.read().to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as a Parquet file: {reason}") from error
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is no {what} of Hypnostream: its metadata lacks or garbles {error}") from error


def read_epochs(path: Path) -> tuple[EpochTableHeader, list[StageResult]]:
    """The header and rows of an `epochs.parquet`; probabilities come back rounded to float32, `compute_s` as 0.

    Raises UserError as `read_table` does.
    """
    channels: tuple[str, ...] = ()

    def differs(schema: "pyarrow.Schema") -> set[str]:
        nonlocal channels
        channels = tuple(name.removeprefix("quality_") for name in schema.names if name.startswith("quality_"))
        before_weights = {f"pyarrow.Field<weight_{name}: float>" for name in channels}
        return (set(map(str, _schema(channels))) ^ set(map(str, schema))) - before_weights

    header, rows = read_table(path, "epochs.parquet", differs)
    return header, [_to_result(row, channels) for row in rows]


def _schema(channels: Sequence[str]) -> "pyarrow.Schema":
    import pyarrow as pa

    fields: list[pa.Field[Any]] = [
        pa.field("epoch", pa.int32(), nullable=False),
        pa.field("t_start_s", pa.float64(), nullable=False),
        pa.field("stage", pa.string()),
        pa.field("absent_reason", pa.string()),
        *(pa.field(f"p_{stage.lower()}", pa.float32(), nullable=False) for stage in STAGES),
        pa.field("confidence", pa.float32(), nullable=False),
    ]
    for name in channels:
        fields += [
            pa.field(f"quality_{name}", pa.string()),
            pa.field(f"ok_fraction_{name}", pa.float32()),
            pa.field(f"imputed_{name}", pa.bool_()),
            pa.field(f"weight_{name}", pa.float32()),
        ]
    return pa.schema(fields)


def _to_table(results: Sequence[StageResult], channels: Sequence[str], header: EpochTableHeader) -> "pyarrow.Table":
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        "epoch": [result.epoch for result in results],
        "t_start_s": [result.t_start_s for result in results],
        "stage": [result.stage for result in results],
        "absent_reason": [result.absent_reason for result in results],
        **{f"p_{stage.lower()}": [result.probability(stage) for result in results] for stage in STAGES},
        "confidence": [result.confidence for result in results],
    }
    by_name = [{state.name: state for state in result.channels} for result in results]
    for name in channels:
        states = [each.get(name) for each in by_name]
        columns[f"quality_{name}"] = [state and state.quality for state in states]
        columns[f"ok_fraction_{name}"] = [state and state.ok_fraction for state in states]
        columns[f"imputed_{name}"] = [state and state.imputed for state in states]
        columns[f"weight_{name}"] = [state and state.weight for state in states]
    return pa.table(columns, schema=_schema(channels).with_metadata(header.metadata()))


def _to_result(row: dict[str, Any], channels: Sequence[str]) -> StageResult:
    states = (
        ChannelState(
            name,
            row[f"quality_{name}"],
            row[f"ok_fraction_{name}"],
            row[f"imputed_{name}"],
            row.get(f"weight_{name}"),
        )
        for name in channels
        if row[f"quality_{name}"] is not None
    )
    p_w, p_n1, p_n2, p_n3, p_r = (row[f"p_{stage.lower()}"] for stage in STAGES)
    return StageResult(
        epoch=row["epoch"],
        t_start_s=row["t_start_s"],
        final=True,
        seconds=EPOCH_S,
        stage=row["stage"],
        absent_reason=row["absent_reason"],
        probabilities=(p_w, p_n1, p_n2, p_n3, p_r),
        channels=tuple(states),
    )
