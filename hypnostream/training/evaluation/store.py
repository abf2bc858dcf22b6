"""`predictions.parquet`: what a model said of many nights, one row an epoch, for us and for pandas, R and DuckDB.

Columns: `set`, `night`, `subject`, `epoch`, `reference`, `p_W` ... `p_R` (null where nothing was said), `provisional`
(150 numbers: five after each of 30 seconds), and for each yes-or-no task NAME the lists `NAME_reference` and
`NAME_probability` of the answers that begin in the epoch, one each `binary_s` seconds. One row group a night.
"""

from dataclasses import dataclass
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.training.evaluation.prediction_rows import MOST_NAME, TASK, nights_of, rows_of, schema_of
from hypnostream.training.evaluation.predictions import NightPrediction

FORMAT = "hypnostream-predictions-1"
MOST_TASKS = 16
MOST_ROWS = 20_000_000  # 20 000 nights
MOST_NIGHT_ROWS = 1_000_000  # most of a year
MOST_GROUP_BYTES = 1 << 31


@dataclass(frozen=True, slots=True)
class PredictionSet:
    """What one model said. `model` is what to call it, `causal` whether it saw nothing of the future."""

    nights: tuple[NightPrediction, ...]
    model: str
    causal: bool = True


def write_predictions(path: Path, predictions: PredictionSet) -> None:
    """Write whole or not at all. Raises UserError for a night that is not what its docstring says."""
    import pyarrow.parquet as pq

    tasks = sorted({task for night in predictions.nights for task in night.binary})
    metadata = {
        "format": FORMAT,
        "model": predictions.model,
        "causal": "yes" if predictions.causal else "no",
        "tasks": ",".join(tasks),
    }
    schema = schema_of(tasks).with_metadata(metadata)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            for night in predictions.nights:
                writer.write_table(rows_of(night, tasks).cast(schema))
        partial.replace(path)
    except ValueError as error:
        raise UserError(f"{path} is not written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def read_predictions(path: Path) -> PredictionSet:
    """Read what `write_predictions` wrote. Raises UserError when the file is none, or says what cannot be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            metadata = {k.decode(): v.decode() for k, v in (file.schema_arrow.metadata or {}).items()}
            if metadata.get("format") != FORMAT:
                raise UserError(f"{path}: its format is {metadata.get('format')!r}, {FORMAT!r} is needed")
            tasks = metadata.get("tasks", "").split(",") if metadata.get("tasks") else []
            if len(tasks) > MOST_TASKS or not all(TASK.fullmatch(task) for task in tasks):
                raise UserError(f"{path}: its tasks {metadata['tasks'][:MOST_NAME]!r} cannot be")
            if file.schema_arrow.remove_metadata() != schema_of(tasks):
                raise UserError(f"{path}: its columns are not those of {FORMAT}; write the predictions again")
            if file.metadata.num_rows > MOST_ROWS:
                raise UserError(f"{path}: {file.metadata.num_rows} rows, {MOST_ROWS} are the most that is read")
            for group in map(file.metadata.row_group, range(file.num_row_groups)):
                if group.num_rows > MOST_NIGHT_ROWS or group.total_byte_size > MOST_GROUP_BYTES:
                    raise UserError(f"{path}: a row group of {group.num_rows} rows is no night's")
            groups = (file.read_row_group(group) for group in range(file.num_row_groups))
            nights = tuple(night for group in groups for night in nights_of(group, tasks))
    except (pa.ArrowException, OSError, ValueError, KeyError, UnicodeDecodeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} holds no predictions: {reason}") from error
    return PredictionSet(nights, metadata.get("model", "")[:MOST_NAME], metadata.get("causal") == "yes")
