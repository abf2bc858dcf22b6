"""`signals.parquet`: one row an epoch, two columns a channel: its samples at its own rate, and which seconds are valid.

Rows are written as they come and read as they are asked for, half an hour or 8 MiB of samples at most in memory.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.labels import words
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import Block, Channel, epoch_samples

ROW_GROUP_EPOCHS = 60  # what one read of one channel costs, at most
_ROW_GROUP_BYTES = 2**23
SIGNALS = "signals.parquet"


def signal_columns(channels: Sequence[Channel]) -> list[str]:
    """The name of each channel's column: its place, then its label as far as letters and digits go ("00_eeg_fpz_cz").

    Its valid seconds are in the column of that name and "_valid".
    """
    return ["_".join((f"{place:02d}", *words(channel.label))) for place, channel in enumerate(channels)]


def write_signals(path: Path, channels: Sequence[Channel], blocks: Iterable[Block]) -> int:
    """Write all blocks, and say how many they were. Raises ValueError when one does not have the channels' shapes."""
    schema = _schema(channels)
    written = 0
    epoch_bytes = 4 * sum(epoch_samples(channel.rate_hz) for channel in channels)
    together = min(max(_ROW_GROUP_BYTES // max(epoch_bytes, 1), 1), ROW_GROUP_EPOCHS)
    # A night's samples are few distinct numbers (the recorder's steps), so a dictionary of them packs best.
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=True, dictionary_pagesize_limit=2**20, write_page_checksum=True
    ) as writer:
        held: list[Block] = []
        for block in blocks:
            held.append(_checked(block, channels, written + len(held)))
            if len(held) == together:
                writer.write_table(_table(held, schema))
                written += len(held)
                held = []
        if held:
            writer.write_table(_table(held, schema))
            written += len(held)
    return written


def read_signals(path: Path, channels: Sequence[Channel]) -> Iterator[Block]:
    """The blocks again, in order. Raises UserError when the file is damaged or holds other channels."""
    file = _open(path, channels)
    try:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            columns = [_array(table.column(place)) for place in range(table.num_columns)]
            for row in range(table.num_rows):
                yield Block(tuple(c[row] for c in columns[::2]), tuple(c[row] for c in columns[1::2]))
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    finally:
        file.close()


def read_signal(
    path: Path, channels: Sequence[Channel], label: str, first_epoch: int, count: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """One channel's epochs `first_epoch` to before `first_epoch + count`, as many as are there.

    Samples (epochs, places) and valid seconds (epochs, 30). Only this channel's columns are read. Of several channels
    of one label it is the first. Raises UserError when there is none, or the file is damaged.
    """
    names = [channel.label for channel in channels]
    if label not in names:
        raise UserError(f"{path.parent} has no channel {label!r}; it has {', '.join(names) or 'none'}")
    place = names.index(label)
    column = signal_columns(channels)[place]
    file = _open(path, channels)
    try:
        rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
        ends = np.cumsum([0, *rows])
        first, last = max(first_epoch, 0), min(first_epoch + count, int(ends[-1]))
        groups = [g for g in range(len(rows)) if ends[g] < last and ends[g + 1] > first]
        table = file.read_row_groups(groups, columns=[column, f"{column}_valid"])
        cut = slice(first - int(ends[groups[0]]), last - int(ends[groups[0]])) if groups else slice(0, 0)
        return _array(table.column(0))[cut], _array(table.column(1))[cut]
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    finally:
        file.close()


def signals_wrong(path: Path, channels: Sequence[Channel], epochs: int) -> str:
    """What is wrong with the file's columns and rows, "" when nothing is."""
    try:
        file = _open(path, channels)
    except UserError as error:
        return str(error)
    with file:
        rows = file.metadata.num_rows
    return f"{SIGNALS} has {rows} epochs, the recording {epochs}" if rows != epochs else ""


def _schema(channels: Sequence[Channel]) -> pa.Schema:
    fields: list[pa.Field[Any]] = []
    for name, channel in zip(signal_columns(channels), channels, strict=True):
        said = {
            "label": channel.label,
            "kind": channel.kind,
            "unit": channel.unit,
            "rate_hz": f"{channel.rate_hz:.17g}",
        }
        samples = pa.list_(pa.field("element", pa.float32(), False), epoch_samples(channel.rate_hz))
        seconds = pa.list_(pa.field("element", pa.bool_(), False), EPOCH_S)
        fields += [pa.field(name, samples, False, said), pa.field(f"{name}_valid", seconds, False)]
    return pa.schema(fields)


def _checked(block: Block, channels: Sequence[Channel], epoch: int) -> Block:
    shapes = [samples.shape for samples in block.samples], [valid.shape for valid in block.valid]
    wanted = [(epoch_samples(channel.rate_hz),) for channel in channels], [(EPOCH_S,)] * len(channels)
    if shapes != wanted:
        raise ValueError(f"epoch {epoch} has samples and valid seconds of {shapes}, its channels need {wanted}")
    for channel, samples in zip(channels, block.samples, strict=True):
        if not np.isfinite(samples).all():
            raise ValueError(f"epoch {epoch}, {channel.label}: a sample is no number; make its second invalid and it 0")
    return block


def _table(blocks: Sequence[Block], schema: pa.Schema) -> pa.Table:
    columns: list[pa.Array[Any]] = []
    for place in range(len(schema) // 2):
        samples = np.concatenate([block.samples[place] for block in blocks]).astype(np.float32)
        valid = np.concatenate([block.valid[place] for block in blocks]).astype(np.bool_)
        for flat in (samples, valid):
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), type=schema.field(len(columns)).type))
    return pa.table(columns, schema=schema)


def _array(column: "pa.ChunkedArray[Any]") -> NDArray[Any]:
    values = pc.list_flatten(column).to_numpy()
    return values.reshape(-1, column.type.list_size)


def _open(path: Path, channels: Sequence[Channel]) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    if not file.schema_arrow.equals(_schema(channels)):
        file.close()
        raise UserError(f"{path} does not hold the channels that its recording.json names; ingest it again")
    return file


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path} is damaged: {' '.join(str(error).split())[:200]}; ingest it again")
