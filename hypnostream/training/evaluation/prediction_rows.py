"""A night's predictions as rows of a table and back: what the columns of `predictions.parquet` hold."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S, STAGES
from hypnostream.training.evaluation.binary import check_binary
from hypnostream.training.evaluation.predictions import NightPrediction

if TYPE_CHECKING:
    import pyarrow as pa

TASK = re.compile("[a-z][a-z0-9_]{0,40}")  # "apnea", "hypopnea"
MOST_NAME = 200
MOST_BINARY_S = 3600
PER_EPOCH = EPOCH_S * len(STAGES)
SUM_TOLERANCE = 1e-3


def schema_of(tasks: Sequence[str]) -> "pa.Schema":
    """The columns of a table, with those of its tasks."""
    import pyarrow as pa

    names = [pa.field(name, pa.dictionary(pa.int32(), pa.string())) for name in ("set", "night", "subject")]
    stages = [pa.field(f"p_{stage}", pa.float32()) for stage in STAGES]
    kinds: dict[str, Any] = {"reference": pa.list_(pa.int8()), "probability": pa.list_(pa.float32())}
    lists = [pa.field(f"{task}_{part}", kind) for task in tasks for part, kind in kinds.items()]
    whole = [pa.field("epoch", pa.int32()), pa.field("reference", pa.int8())]
    provisional = pa.field("provisional", pa.list_(pa.float32(), PER_EPOCH))
    return pa.schema([*names, *whole, *stages, provisional, pa.field("binary_s", pa.int32()), *lists])


def rows_of(night: NightPrediction, tasks: Sequence[str]) -> "pa.Table":
    """A night's rows. Those beyond the last staged epoch, which a task's answers may need, have no reference.

    Raises ValueError, naming the night, when it is not what its docstring says.
    """
    import pyarrow as pa

    check_night(night)
    staged, rows = len(night.reference), _row_count(night)
    beyond = rows - staged
    columns: list[Any] = [
        pa.array([name] * rows, pa.string()).dictionary_encode() for name in (night.set_name, night.name, night.subject)
    ]
    columns += [pa.array(range(rows), pa.int32()), pa.array([*night.reference.tolist(), *[None] * beyond], pa.int8())]
    for column in night.probabilities.T:
        values = [None if np.isnan(value) else value for value in column.tolist()]
        columns.append(pa.array([*values, *[None] * beyond], pa.float32()))
    each: Sequence[Any] = [None] * staged if night.provisional is None else list(night.provisional.reshape(staged, -1))
    columns.append(pa.array([*each, *[None] * beyond], pa.list_(pa.float32(), PER_EPOCH)))
    columns.append(pa.array([night.binary_s] * rows, pa.int32()))
    for task in tasks:
        kinds: tuple[Any, ...] = (pa.list_(pa.int8()), pa.list_(pa.float32()))
        for kind, answers in zip(kinds, night.binary.get(task, (None, None)), strict=True):
            parts: Sequence[Any] = [None] * rows
            if answers is not None:
                parts = np.split(answers, _begins(rows, night.binary_s, len(answers))[1:-1])
            columns.append(pa.array(parts, kind))
    return pa.Table.from_arrays(columns, schema=schema_of(tasks))


def _row_count(night: NightPrediction) -> int:
    longest = max([-(-len(y) * night.binary_s // EPOCH_S) for y, _ in night.binary.values()], default=0)
    return max(len(night.reference), longest)


def _begins(rows: int, binary_s: int, count: int) -> NDArray[np.int64]:
    """Which of `count` answers, one each `binary_s` seconds, is the first that begins in each row; the end last."""
    return np.minimum(-(-(np.arange(rows + 1) * EPOCH_S) // binary_s), count)


def nights_of(table: "pa.Table", tasks: Sequence[str]) -> Iterator[NightPrediction]:
    """The nights of one row group, which keep together."""
    import pyarrow.compute as pc

    keys = list(zip(*(table.column(name).to_pylist() for name in ("set", "night", "subject")), strict=True))
    first = 0
    for (set_name, name, subject), run in itertools.groupby(keys):
        count = sum(1 for _ in run)
        rows = table.slice(first, count)
        first += count
        if not np.array_equal(rows.column("epoch").to_numpy(), np.arange(count)):
            raise ValueError(f"the epochs of night {str(name)[:MOST_NAME]!r} are not in order from 0 on")
        staged = count - rows.column("reference").null_count
        within = rows.slice(0, staged)
        if within.column("reference").null_count:
            raise ValueError(f"night {str(name)[:MOST_NAME]!r} has an epoch without a reference among others")
        provisional = within.column("provisional")
        every_s = rows.column("binary_s")[0].as_py()
        if None in (set_name, name, subject, every_s) or rows.column("binary_s").to_pylist() != [every_s] * count:
            raise ValueError("a night has no name, subject or set, or more than one binary_s")
        night = NightPrediction(
            name=name,
            subject=subject,
            set_name=set_name,
            reference=np.asarray(within.column("reference").to_numpy(), np.int8),
            probabilities=_stack([within.column(f"p_{stage}") for stage in STAGES], staged),
            provisional=None
            if provisional.null_count or not staged
            else np.asarray(pc.list_flatten(provisional).to_numpy(), np.float32).reshape(staged, EPOCH_S, len(STAGES)),
            binary={task: pair for task in tasks if (pair := _pair(rows, task, every_s)) is not None},
            binary_s=every_s,
        )
        check_night(night)
        yield night


def _stack(columns: Sequence["pa.ChunkedArray[Any]"], count: int) -> NDArray[np.float32]:
    values = [np.asarray(column.to_numpy(), np.float32) for column in columns]  # null becomes NaN
    return np.stack(values, 1) if count else np.zeros((0, len(columns)), np.float32)


def _pair(rows: "pa.Table", task: str, every_s: int) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    import pyarrow.compute as pc

    columns = [rows.column(f"{task}_{part}") for part in ("reference", "probability")]
    if all(column.null_count == len(rows) for column in columns):
        return None
    flat = [pc.list_flatten(column) for column in columns]
    for column, values in zip(columns, flat, strict=True):
        begins = _begins(len(rows), max(every_s, 1), len(values))
        if values.null_count or pc.list_value_length(column).to_pylist() != np.diff(begins).tolist():
            raise ValueError(f"{task} has not one answer each {every_s} s")
    reference, probability = (values.to_numpy() for values in flat)
    return np.asarray(reference, np.int8), np.asarray(probability, np.float32)


def check_night(night: NightPrediction) -> None:
    """Raise ValueError, naming the night, unless it is what its docstring says."""
    try:
        _check(night)
    except ValueError as error:
        raise ValueError(f"night {night.name[:MOST_NAME]!r}: {error}") from error


def _check(night: NightPrediction) -> None:
    for what, name in (("name", night.name), ("subject", night.subject), ("set", night.set_name)):
        if not name or len(name) > MOST_NAME or not name.isprintable():
            raise ValueError(f"its {what} is empty, unprintable or longer than {MOST_NAME} characters")
    count = len(night.reference)
    if not 1 <= night.binary_s <= MOST_BINARY_S:
        raise ValueError(f"binary_s is {night.binary_s}, 1 to {MOST_BINARY_S} is possible")
    if not _row_count(night):
        raise ValueError("it has no epoch")
    if night.reference.ndim != 1 or not np.isin(night.reference, np.arange(-1, len(STAGES))).all():
        raise ValueError(f"a reference stage is not in -1 to {len(STAGES) - 1}")
    _check_probabilities(night.probabilities, (count, len(STAGES)), "probabilities")
    if night.provisional is not None:
        _check_probabilities(night.provisional, (count, EPOCH_S, len(STAGES)), "provisional")
        if not np.allclose(night.provisional[:, -1], night.probabilities, atol=SUM_TOLERANCE, equal_nan=True):
            raise ValueError("what is said after the last second is not the final answer")
    for task, (reference, probability) in night.binary.items():
        if not TASK.fullmatch(task):
            raise ValueError(f"task {task[:MOST_NAME]!r} is no lower-case name of letters, digits and _")
        check_binary(reference, probability)


def _check_probabilities(values: NDArray[np.float32], shape: tuple[int, ...], what: str) -> None:
    if values.shape != shape:
        raise ValueError(f"{what} has shape {values.shape}, {shape} goes with the reference")
    silent = np.isnan(values)
    if (silent.any(-1) != silent.all(-1)).any():
        raise ValueError(f"{what} has some of an epoch's stages and not all")
    said = values[~silent.any(-1)]
    if not ((said >= 0).all() and np.allclose(said.sum(-1), 1, atol=SUM_TOLERANCE)):
        raise ValueError(f"{what} are not between 0 and 1 with sum 1")
