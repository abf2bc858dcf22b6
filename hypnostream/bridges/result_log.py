"""What a session said for good, on disk before it is published: an Arrow IPC stream that only ever grows.

Plain pyarrow reads it, while it grows too:

with pyarrow.OSFile("results.arrows", "rb") as file:
    table = pyarrow.ipc.open_stream(file).read_all()
messages = [msgspec.msgpack.decode(body) for body in table["body"].to_pylist()]

One record a message. `body` holds the bytes that were published, `crc32` their zlib.crc32; the other columns say again
what is in the body, for those who only look.
"""

import os
import threading
import zlib
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.messages import Message, decode
from hypnostream.bridges.result_record import Records
from hypnostream.errors import UserError

LARGEST_BYTES = 1 << 30  # a hundred nights of results; a file beyond it is something else
MOST_HELD = 4000  # messages, a night and more of final results; what a full disk cannot take beyond them is lost


class _Entry(NamedTuple):
    """Where a body is: in the file at `offset`, or among those held in memory where `held` is given."""

    seq: int
    offset: int
    length: int
    crc32: int
    held: bytes | None = None


class Page(NamedTuple):
    """Bodies of a topic in the order of their seq; all below `next_seq` that there ever was is in here."""

    bodies: list[bytes]
    next_seq: int


class ResultLog:
    """Appends messages and gives them again by topic and seq. One thread appends, any may read.

    When `append` has returned, the message is on the disk (`fsync`: not only in the operating system's memory, so that
    a power cut does not cost it either). If the disk does not take it, `failure` says why; the message is then held
    in memory, where reading finds it, and is written, in its order, by a later `append` or `retry`.

    Opening repairs: a record that is torn or garbled is taken out, and `repaired` says what was.

    UserError: the path cannot be read or written, or is another sort of file.
    """

    def __init__(self, path: Path, fsync: bool = True) -> None:
        self.path = path
        self.failure: str | None = None
        self.repaired: str | None = None
        self.last_seq: dict[str, int] = {}
        self.session_id: str | None = None
        self._fsync = fsync
        self._records = Records()
        self._index: dict[str, list[_Entry]] = {}
        self._held: deque[tuple[str, int, bytes]] = deque()  # topic, seq, record
        self._lock = threading.Lock()  # of the index
        self._reading_lock = threading.Lock()  # of the position of `_reading`
        try:
            self._end = self._open()
            self._file = path.open("r+b", buffering=0)
            self._reading = path.open("rb", buffering=0)
        except OSError as error:
            raise UserError(
                f"results cannot be kept in {path}: {error.strerror or error}; choose a folder that can be written"
            ) from error
        self._torn = False  # whether something may be in the file beyond `_end`

    def append(self, message: Message, body: bytes) -> None:
        """Puts a message at the end, on disk or in memory; `body` is what `messages.encode` made of it.

        A topic's messages come in the order of their seq; one that is here already is not put in again.
        """
        if self.last_seq.get(message.topic, -1) >= message.seq:
            return
        record = self._records.write(message, body)
        if len(self._held) >= MOST_HELD:
            topic, seq, _ = self._held.popleft()
            self._replace(topic, seq, None)
        self._held.append((message.topic, message.seq, record))
        self._enter(message.topic, _Entry(message.seq, -1, len(body), zlib.crc32(body), body))
        self.session_id = message.origin.session_id
        self.retry()

    def retry(self) -> bool:
        """Writes what is held in memory, if anything; whether all is on disk now."""
        while self._held:
            topic, seq, record = self._held[0]
            entry = self._find(topic, seq)
            try:
                self._write(record)
            except OSError as error:
                self.failure = error.strerror or str(error)
                return False
            self._held.popleft()
            written = entry._replace(offset=self._end - len(record) + record.find(entry.held or b""), held=None)
            self._replace(topic, seq, written)
        self.failure = None
        return True

    def read(self, topic: str, from_seq: int, to_seq: int, most_bytes: int, most: int = 1000) -> Page:
        """The bodies of a topic from one seq to another, both included: as many as fit, but at least one.

        A body that the disk gives back garbled is left out. OSError: the disk does not give anything.
        """
        with self._lock:
            entries = self._index.get(topic, [])
            first = bisect_left(entries, from_seq, key=lambda entry: entry.seq)
            wanted = entries[first : first + most + 1]
        bodies: list[bytes] = []
        for number, entry in enumerate(wanted):
            most_bytes -= entry.length
            if entry.seq > to_seq:
                break
            if number and (most_bytes < 0 or number == most):
                return Page(bodies, entry.seq)
            body = self._body(entry)
            if zlib.crc32(body) == entry.crc32:
                bodies.append(body)
        return Page(bodies, max(from_seq, to_seq + 1))

    @property
    def size(self) -> int:
        """How long the file is, in bytes."""
        return self._end

    def latest(self, topic: str) -> bytes | None:
        """The newest body of a topic, None where there is none."""
        seq = self.last_seq.get(topic)
        return None if seq is None else next(iter(self.read(topic, seq, seq, 0).bodies), None)

    def messages(self) -> Iterator[Message]:
        """All messages, in the order in which they were said."""
        with self._lock:
            entries = [entry for entries in self._index.values() for entry in entries]
        for entry in sorted(entries, key=lambda entry: entry.offset if entry.held is None else LARGEST_BYTES):
            body = self._body(entry)
            if zlib.crc32(body) == entry.crc32:
                yield decode(body)

    def close(self) -> None:
        """Tries once more to write what is held, and closes the file."""
        if not self._file.closed:
            self.retry()
            self._file.close()
            self._reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> int:
        """Reads what is there, repairs it, and gives the length of the file."""
        content = b""
        if self.path.exists():
            content = read_bounded(self.path, LARGEST_BYTES)
        header = self._records.header
        begin = self._records.header_length(content)
        if begin is None and not header.startswith(content):
            begin = 0  # a beginning that is garbled, if records follow
        found = [] if begin is None else list(self._records.scan(content, begin))
        if begin == 0 and not found:
            raise UserError(f"{self.path} is not a result log; move it away or choose another path")
        pieces: list[bytes] = [content[:begin] if begin else header]
        end = len(pieces[0])
        for record in found:
            message, body = record.message, content[record.body_start : record.body_end]
            if message.seq <= self.last_seq.get(message.topic, -1):
                continue  # a piece of the file that is in it twice
            pieces.append(content[record.start : record.end])
            offset = end + record.body_start - record.start
            end += record.end - record.start
            self._enter(message.topic, _Entry(message.seq, offset, len(body), zlib.crc32(body)))
            self.session_id = message.origin.session_id
        self._repair(content, pieces, end)
        return end

    def _repair(self, content: bytes, pieces: Sequence[bytes], end: int) -> None:
        whole = b"".join(pieces)
        if whole == content:
            return
        if content.startswith(whole):
            with self.path.open("r+b") as file:
                file.truncate(end)
                os.fsync(file.fileno())
        else:
            write_atomically(self.path, whole)
        if content:
            self.repaired = (
                f"{self.path.name} was damaged: {max(len(content) - end, 0)} torn or garbled bytes were taken out, "
                f"{len(pieces) - 1} whole records kept"
            )

    def _write(self, record: bytes) -> None:
        """All of a record at the end of the file, or nothing of it and OSError."""
        if self._torn:
            self._file.truncate(self._end)
        self._torn = True
        try:
            self._file.seek(self._end)
            view = memoryview(record)
            while view:
                view = view[self._file.write(view) :]
            if self._fsync:
                os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._end)
            self._torn = False
            raise
        self._torn = False
        self._end += len(record)

    def _body(self, entry: _Entry) -> bytes:
        if entry.held is not None:
            return entry.held
        with self._reading_lock:
            self._reading.seek(entry.offset)
            return self._reading.read(entry.length)

    def _enter(self, topic: str, entry: _Entry) -> None:
        with self._lock:
            self._index.setdefault(topic, []).append(entry)
            self.last_seq = self.last_seq | {topic: entry.seq}

    def _find(self, topic: str, seq: int) -> _Entry:
        entries = self._index[topic]
        return entries[bisect_left(entries, seq, key=lambda entry: entry.seq)]

    def _replace(self, topic: str, seq: int, entry: _Entry | None) -> None:
        with self._lock:
            entries = self._index[topic]
            at = bisect_left(entries, seq, key=lambda entry: entry.seq)
            entries[at : at + 1] = [] if entry is None else [entry]
