"""All that a session remembers, on disk with each epoch: whole or as it was before, never between."""

import zlib
from dataclasses import dataclass
from pathlib import Path

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.engine.bed_state import BedState
from hypnostream.engine.written_state import read_state, write_state

_HEADER = b"hypnostream checkpoint 2\n"
LARGEST_BYTES = 1 << 28


@dataclass(slots=True)
class Checkpoint:
    """A session after its last closed epoch; the journal's steps from `segment` on come after it.

    `last_seq` is the publisher's, `now_s` the session's clock, and `written_utc_s` this machine's at that moment.
    """

    session_id: str
    segment: int
    now_s: float
    written_utc_s: float
    last_seq: dict[str, int]
    bed: BedState


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Put it in the place of the last one. Raises OSError when the disk does not take it; the last one then stays."""
    body = write_state(checkpoint)
    write_atomically(path, _HEADER + zlib.crc32(body).to_bytes(4, "little") + body)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint at `path`. Raises ValueError when it is none, OSError when it cannot be read."""
    data = read_bounded(path, LARGEST_BYTES)
    if not data.startswith(_HEADER):
        raise ValueError("not a checkpoint of this version")
    crc, body = data[len(_HEADER) : len(_HEADER) + 4], data[len(_HEADER) + 4 :]
    if zlib.crc32(body).to_bytes(4, "little") != crc:
        raise ValueError("the checkpoint is damaged")
    return read_state(body, Checkpoint)
