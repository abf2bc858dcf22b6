"""What came in, on disk before it is processed: so that a session that was killed is taken up where it was.

One file a segment, `000012.steps`; with each checkpoint a new segment begins, and those before it are not needed any
more (unless the night is recorded). A step is written with one call to the operating system, so it outlives the
process; it is not forced to the disk, so a power cut may cost the last seconds, which are then a gap.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.step_bytes import read_steps, write_step
from hypnostream.stream.source import Step

_HEADER = b"hypnostream steps 1\n"
LARGEST_SEGMENT_BYTES = 1 << 31


class Journal:
    """Writes steps into the segments of `folder`, from segment `segment` on. One thread uses it.

    `failure` says why steps are not being written: the disk is full, say. None are then until the next segment: a
    segment with a hole would be taken up wrongly, one that ends early is a gap and no more.
    """

    def __init__(self, folder: Path, segment: int) -> None:
        self.folder, self.segment = folder, segment
        self.failure: str | None = None
        self.bytes = 0
        self._file: int | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self._open()

    def append(self, step: Step) -> None:
        """Write a step. What cannot be written is said by `failure`."""
        if self._file is not None:
            try:
                self._write(write_step(step))
            except OSError as error:
                self._fail(error)

    def begin(self, segment: int) -> None:
        """Begin a new segment."""
        self.close()
        self.segment = segment
        self._open()

    def forget(self, before: int) -> None:
        """Remove the segments before `before`."""
        for number, path in _segments(self.folder):
            if number < before:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.open(segment_path(self.folder, self.segment), flags, 0o600)
            self.failure = None
            self._write(_HEADER)
        except OSError as error:
            self._fail(error)

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.bytes += len(data)

    def _fail(self, error: OSError) -> None:
        self.failure = error.strerror or str(error)
        self.close()


def segment_path(folder: Path, segment: int) -> Path:
    """Where a segment is."""
    return folder / f"{segment:06d}.steps"


def last_segment(folder: Path) -> int:
    """The number of the last segment in `folder`, -1 where there is none."""
    return max((number for number, _ in _segments(folder)), default=-1)


def journaled_steps(folder: Path, from_segment: int = 0, past_holes: bool = False) -> Iterator[Step]:
    """The steps of all segments from `from_segment` on, in order; what is torn is left out.

    A segment that is not there, as the disk was full, ends it, or with `past_holes` is passed over.
    """
    expected = from_segment
    for number, path in _segments(folder):
        if number < from_segment:
            continue
        try:
            data = read_bounded(path, LARGEST_SEGMENT_BYTES)
        except OSError:
            data = b""
        if (number != expected or not data.startswith(_HEADER)) and not past_holes:
            return
        if data.startswith(_HEADER):
            yield from read_steps(data[len(_HEADER) :])
        expected = number + 1


def _segments(folder: Path) -> list[tuple[int, Path]]:
    named = [(path.stem, path) for path in folder.glob("*.steps")]
    return sorted((int(stem), path) for stem, path in named if stem.isascii() and stem.isdecimal() and len(stem) < 10)
