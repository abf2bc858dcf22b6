"""The raw signals of a night, gaps and all, as Parquet: what came in, when, in which order.

One file for each life of a stream (`EEG.parquet`; `EEG-2.parquet` after it came back with another rate): its samples
as columns by label, `stamp_s` on the session's clock, and the `step` and `chunk` in which they came. `steps.parquet`
has each step's `now_s`, and whatever else came in it. From these the same steps are had again, bit for bit.

An EDF+ file could not hold them: it has one clock, whole records, and 16 bits a sample.
"""

import json
from collections import deque
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hypnostream.bridges.journal import journaled_steps
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation, Arrival, Chunk, Notice, Step, StreamInfo

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

# What is held in memory of each stream until it is a row group: samples (two minutes at 256 Hz), and chunks (of a slow
# stream each may be a sample).
_ROWS, _CHUNKS = 1 << 15, 1 << 12
_STEPS = 1 << 14
_MOST_FILES = 10_000


class _Other(msgspec.Struct, frozen=True):
    """What else came in a step: `after` so many of its chunks. A `stream` goes on in `file`."""

    after: int
    file: str | None = None
    annotation: Annotation | None = None
    notice: Notice | None = None


def write_recording(journal: Path, out: Path) -> None:
    """Turn the journal's steps, from its first segment on, into a recording in the new folder `out`.

    A recording that is there stays until this one is whole. Raises OSError when the disk is full.
    """
    beside = out.with_name(f".{out.name}.part")
    beside.mkdir(parents=True, exist_ok=True)
    for file in beside.iterdir():
        file.unlink()
    with _Writer(beside) as writer:
        for step in journaled_steps(journal, past_holes=True):
            writer.add(step)
    if out.exists():
        for file in out.iterdir():
            file.unlink()
        out.rmdir()
    beside.replace(out)


def read_recording(folder: Path) -> Iterator[Step]:
    """The steps of a recording. Raises UserError when it cannot be read."""
    import pyarrow
    import pyarrow.parquet as parquet

    streams: dict[str, _StreamReader] = {}
    try:
        with parquet.ParquetFile(_regular(folder / "steps.parquet")) as steps:
            number = 0
            for batch in steps.iter_batches(_STEPS):
                for now_s, chunk_streams, others in zip(
                    *(batch.column(name).to_pylist() for name in ("now_s", "chunks", "others")), strict=True
                ):
                    yield Step(now_s, tuple(_arrivals(folder, streams, number, chunk_streams, others)))
                    number += 1
    except (OSError, pyarrow.ArrowException, ValueError, KeyError, StopIteration, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{folder} cannot be read as recorded signals: {reason}") from error
    finally:
        for reader in streams.values():
            reader.close()


def _regular(path: Path) -> Path:
    """The path, if it is a file: a pipe would be waited for."""
    if not path.is_file():
        raise ValueError(f"{path.name} is not there, or no file")
    return path


def _arrivals(
    folder: Path, streams: "dict[str, _StreamReader]", number: int, chunks: str, others: str | None
) -> Iterator[Arrival]:
    names = json.loads(chunks) if chunks else []
    rest = msgspec.json.decode(others, type=list[_Other]) if others else []
    for place in range(len(names) + 1):
        while rest and rest[0].after == place:
            other = rest.pop(0)
            if other.file is not None:
                if len(streams) >= _MOST_FILES or Path(other.file).name != other.file:
                    raise ValueError(f"stream file {other.file[:80]!r}")
                reader = _StreamReader(folder / other.file)
                if (before := streams.pop(reader.info.stream_id, None)) is not None:
                    before.close()
                streams[reader.info.stream_id] = reader
                yield reader.info
            elif other.annotation is not None:
                yield other.annotation
            elif other.notice is not None:
                yield other.notice
        if place < len(names):
            yield streams[names[place]].chunk(number)


class _Writer:
    def __init__(self, folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        self._folder = folder
        fields: list[pa.Field[Any]] = [
            pa.field("now_s", pa.float64()),
            pa.field("chunks", pa.string()),
            pa.field("others", pa.string()),
        ]
        self._schema = pa.schema(fields)
        self._steps = parquet.ParquetWriter(folder / "steps.parquet", self._schema, compression="zstd")
        self._rows: list[tuple[float, str, str | None]] = []
        self._number = 0
        self._streams: dict[str, _StreamWriter] = {}
        self._taken: set[str] = set()

    def add(self, step: Step) -> None:
        names: list[str] = []
        others: list[_Other] = []
        for arrival in step.arrivals:
            if isinstance(arrival, Chunk):
                if arrival.stream_id in self._streams and len(arrival.timestamps):
                    self._streams[arrival.stream_id].add(self._number, len(names), arrival)
                    names.append(arrival.stream_id)
            elif isinstance(arrival, StreamInfo):
                others.append(_Other(len(names), file=self._open(arrival)))
            elif isinstance(arrival, Annotation):
                others.append(_Other(len(names), annotation=arrival))
            else:
                others.append(_Other(len(names), notice=arrival))
        row = json.dumps(names) if names else "", msgspec.json.encode(others).decode() if others else None
        self._rows.append((step.now_s, *row))
        self._number += 1
        if len(self._rows) >= _STEPS:
            self._flush()

    def _open(self, info: StreamInfo) -> str:
        if (before := self._streams.pop(info.stream_id, None)) is not None:
            before.close()
        stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in info.stream_id)[:60].strip("-") or "stream"
        name, number = f"{stem}.parquet", 2
        while name.lower() in self._taken or name == "steps.parquet":
            name, number = f"{stem}-{number}.parquet", number + 1
        self._taken.add(name.lower())
        self._streams[info.stream_id] = _StreamWriter(self._folder / name, info)
        return name

    def _flush(self) -> None:
        import pyarrow as pa

        columns = list(zip(*self._rows, strict=True)) or [(), (), ()]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._steps.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        for stream in self._streams.values():
            stream.close()
        self._steps.close()


class _StreamWriter:
    def __init__(self, path: Path, info: StreamInfo) -> None:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        labels: list[str] = []
        for channel in info.channels:
            label, number = channel.label or "channel", 2
            while label in labels or label in ("stamp_s", "step", "chunk"):
                label, number = f"{channel.label} {number}", number + 1
            labels.append(label)
        fields = [("stamp_s", pa.float64()), ("step", pa.int32()), ("chunk", pa.int32())]
        described: dict[bytes | str, bytes | str] = {"stream": msgspec.json.encode(info)}
        self._schema = pa.schema(
            [pa.field(name, kind) for name, kind in fields] + [pa.field(label, pa.float32()) for label in labels],
            metadata=described,
        )
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._chunks: list[tuple[int, int, Chunk]] = []
        self._count = 0

    def add(self, step: int, place: int, chunk: Chunk) -> None:
        self._chunks.append((step, place, chunk))
        self._count += len(chunk.timestamps)
        if self._count >= _ROWS or len(self._chunks) >= _CHUNKS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if not self._chunks:
            return
        counts = [len(chunk.timestamps) for _, _, chunk in self._chunks]
        samples = np.concatenate([chunk.samples for _, _, chunk in self._chunks])
        columns: list[Any] = [
            np.concatenate([chunk.timestamps for _, _, chunk in self._chunks]),
            np.repeat(np.array([step for step, _, _ in self._chunks], np.int32), counts),
            np.repeat(np.array([place for _, place, _ in self._chunks], np.int32), counts),
            *(np.ascontiguousarray(samples[:, channel]) for channel in range(samples.shape[1])),
        ]
        arrays = [pa.array(column) for column in columns]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))
        self._chunks, self._count = [], 0

    def close(self) -> None:
        self._flush()
        self._writer.close()


class _StreamReader:
    """The chunks of one stream's file, in the order in which they were written."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as parquet

        self._file: pyarrow.parquet.ParquetFile = parquet.ParquetFile(_regular(path))
        described = (self._file.schema_arrow.metadata or {}).get(b"stream")
        if described is None:
            raise ValueError(f"{path.name} does not say which stream it is of")
        self.info = msgspec.json.decode(described, type=StreamInfo)
        if len(self._file.schema_arrow.names) != 3 + len(self.info.channels):
            raise ValueError(f"{path.name} has not the columns of its channels")
        self._batches = self._file.iter_batches(_ROWS)
        self._stamps = np.zeros(0)
        self._places = np.zeros((0, 2), np.int32)
        self._samples = np.zeros((0, len(self.info.channels)), np.float32)
        self._cuts: deque[tuple[int, int]] = deque()  # where the chunks at hand begin and end

    def chunk(self, step: int) -> Chunk:
        """The next chunk, which must be of `step`."""
        while len(self._cuts) < 2 and self._read():  # the last one at hand may go on in the next row group
            pass
        if not self._cuts or self._places[self._cuts[0][0], 0] != step:
            raise ValueError(f"stream {self.info.stream_id!r} lacks the samples of step {step}")
        part = slice(*self._cuts.popleft())
        return Chunk(self.info.stream_id, self._samples[part], self._stamps[part])

    def _read(self) -> bool:
        """Take in another row group, behind what is left; False when there is none."""
        batch = next(self._batches, None)
        if batch is None:
            return False
        first = self._cuts[0][0] if self._cuts else len(self._stamps)
        columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
        self._stamps = np.concatenate((self._stamps[first:], columns[0]))
        self._places = np.concatenate((self._places[first:], np.column_stack(columns[1:3])))
        samples = np.column_stack(columns[3:]).astype(np.float32, copy=False)
        self._samples = np.concatenate((self._samples[first:], samples))
        borders = np.flatnonzero((self._places[1:] != self._places[:-1]).any(axis=1)) + 1
        edges = [0, *borders.tolist(), len(self._stamps)]
        self._cuts = deque(pairwise(edges)) if len(self._stamps) else deque()
        return True

    def close(self) -> None:
        self._file.close()
