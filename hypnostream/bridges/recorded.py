"""Recordings of any format that is read here, by what their first bytes say."""

from datetime import UTC, tzinfo
from pathlib import Path
from typing import Protocol

from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation, Source

_XDF_BEGINS = (b"XDF:", b"\x1f\x8b")  # gzip is how XDF is compressed; its reader says what to do


class Recording(Source, Protocol):
    """A source that is a file: it has a length, and may have annotations."""

    @property
    def duration_s(self) -> float:
        """From stream time 0 to the end, gaps included."""
        ...

    @property
    def annotations(self) -> tuple[Annotation, ...]:
        """What was annotated, by onset; () when nothing was."""
        ...


def open_recording(path: Path, chunk_s: float = 30.0, timezone: tzinfo = UTC) -> Recording:
    """A recording in EDF, EDF+ or XDF as a source. Raises UserError when it is none that can be read."""
    try:
        if path.exists() and not path.is_file():
            what = "is a folder; name a recording in it" if path.is_dir() else "is not a regular file; copy it to one"
            raise UserError(f"{path} {what}")
        with path.open("rb") as file:
            begin = file.read(4)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; check the name and the permissions") from error
    if begin.startswith(_XDF_BEGINS):
        from hypnostream.bridges.xdf import XdfSource

        return XdfSource(path, chunk_s, timezone)
    from hypnostream.bridges.edf import EdfSource

    return EdfSource(path, chunk_s, timezone)
