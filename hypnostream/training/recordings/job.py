"""One recording that is there to be read: what it is called, what reads it, and of which files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypnostream.training.recordings.recording import Recording


@dataclass(frozen=True, slots=True)
class Job:
    """`read` makes the recording; `files` are all that it reads, and their hashes say whether it must be read again.

    Jobs go to other processes, so `read` is a function of a module, or a `functools.partial` of one. `name` is that
    of the recording and of its folder in the store. `reader` is the reader's own name and version ("nsrr 1"): raised
    when the same files would be read differently, which makes ingest read them again.
    """

    name: str
    read: Callable[[], Recording]
    files: tuple[Path, ...]
    reader: str = "1"
