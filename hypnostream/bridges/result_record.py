"""One message as one record of an Arrow IPC stream, and finding whole records among bytes that may be damaged."""

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hypnostream.bridges.messages import MAX_BYTES, EpochMessage, EventMessage, Message, MessageError, decode

if TYPE_CHECKING:
    import pyarrow

FORMAT: Final[dict[bytes | str, bytes | str]] = {"schema": "hypnostream.results", "version": "1.0"}
MOST_RECORD_BYTES: Final = 2 * MAX_BYTES
_MARK: Final = b"\xff\xff\xff\xff"  # begins every message of an Arrow IPC stream; the length of its metadata follows


class Record(NamedTuple):
    """A whole record among bytes: where it is, where its body is, and what that says."""

    start: int
    end: int
    body_start: int
    body_end: int
    message: Message


class Records:
    """Writes and finds records; holds the Arrow schema, so that pyarrow is imported only when it is needed."""

    def __init__(self) -> None:
        import pyarrow

        columns: list[tuple[str, pyarrow.DataType]] = [
            ("topic", pyarrow.string()),
            ("seq", pyarrow.int64()),
            ("published_utc_s", pyarrow.float64()),
            ("kind", pyarrow.string()),
            ("t_start_s", pyarrow.float64()),
            ("body", pyarrow.binary()),
            ("crc32", pyarrow.uint32()),
        ]
        self._schema = pyarrow.schema(columns, metadata=FORMAT)
        self.header: bytes = self._schema.serialize().to_pybytes()

    def write(self, message: Message, body: bytes) -> bytes:
        """The record of a message and of the bytes that it was published as."""
        import pyarrow

        row = _row(message, body)
        batch = pyarrow.record_batch([pyarrow.array([row[f.name]], f.type) for f in self._schema], schema=self._schema)
        return bytes(batch.serialize().to_pybytes())

    def header_length(self, content: bytes) -> int | None:
        """How long the beginning of a log is, None where the bytes do not begin as one."""
        if content.startswith(self.header):
            return len(self.header)
        import pyarrow

        try:  # another version of pyarrow may have written the same schema in other bytes
            length = 8 + struct.unpack_from("<I", content, 4)[0]
            schema = pyarrow.ipc.read_schema(pyarrow.py_buffer(content[: min(length, MOST_RECORD_BYTES)]))
            return length if schema.equals(self._schema, check_metadata=True) else None
        except (pyarrow.ArrowException, struct.error, ValueError, OSError, MemoryError):
            return None

    def scan(self, content: bytes, start: int) -> Iterator[Record]:
        """The whole records from `start` on, what is between them left out."""
        import pyarrow

        buffer = pyarrow.py_buffer(content)
        while (start := content.find(_MARK, start)) >= 0:
            record = self._record_at(content, buffer, start)
            if record is not None:
                yield record
            start = start + 1 if record is None else record.end

    def _record_at(self, content: bytes, buffer: "pyarrow.Buffer", start: int) -> Record | None:
        import pyarrow

        if not 0 < int.from_bytes(content[start + 4 : start + 8], "little", signed=True) <= MOST_RECORD_BYTES:
            return None
        try:
            reader = pyarrow.BufferReader(buffer.slice(start, min(MOST_RECORD_BYTES, len(content) - start)))
            batch = pyarrow.ipc.read_record_batch(pyarrow.ipc.read_message(reader), self._schema)
            batch.validate(full=True)
            (row,) = batch.to_pylist()
            body = row["body"]
            message = decode(body)
            if row != _row(message, body):
                return None
            end = start + int(reader.tell())
            body_start = content.index(body, start, end)
        # What pyarrow makes of garbage is any of these; a garbled length may ask for more memory than there is.
        except (pyarrow.ArrowException, MessageError, ValueError, OSError, TypeError, LookupError, MemoryError):
            return None
        return Record(start, end, body_start, body_start + len(body), message)


def _row(message: Message, body: bytes) -> dict[str, Any]:
    return {
        "topic": message.topic,
        "seq": message.seq,
        "published_utc_s": message.time.published_utc_s,
        "kind": message.kind,
        "t_start_s": message.t_start_s if isinstance(message, EpochMessage | EventMessage) else None,
        "body": body,
        "crc32": zlib.crc32(body),
    }
