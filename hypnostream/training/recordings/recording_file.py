"""`recording.json`: what a stored recording is, where it came from, and the hashes of the tables beside it."""

import hashlib
from pathlib import Path

import msgspec

from hypnostream import __version__
from hypnostream.bounded_file import read_bounded
from hypnostream.errors import UserError
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.recording import Channel, Source

FORMAT = "hypnostream-recording-1"
FILE = "recording.json"
_LARGEST_BYTES = 64 * 2**20
_MOST_EPOCHS = 366 * 86400 // EPOCH_S


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Parquet file of the folder."""

    rows: int
    bytes: int
    sha256: str


class RecordingFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of `recording.json`. `reader` is what read the sources; `tables` are by file name.

    `tracks` maps a track to its resolution in seconds, `features` one to its shape in an epoch.
    """

    format: str = FORMAT
    name: str
    subject: str
    set_name: str
    licence: str
    sources: tuple[Source, ...]
    reader: str
    epochs: int
    start_utc: str
    scoring: str
    channels: tuple[Channel, ...]
    tracks: dict[str, int]
    features: dict[str, tuple[int, ...]]
    notes: tuple[str, ...]
    tables: dict[str, Table]
    hypnostream: str = __version__


def read_recording_file(folder: Path) -> RecordingFile:
    """The folder's `recording.json`. Raises UserError when it is not there, or none that the store wrote."""
    path = folder / FILE
    try:
        raw = read_bounded(path, _LARGEST_BYTES)
    except OSError as error:
        raise UserError(f"{folder} holds no recording: {FILE} cannot be read ({error.strerror}); ingest it") from error
    try:
        found = msgspec.json.decode(raw, type=RecordingFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not as the store writes it: {error}; ingest it again") from error
    if found.format != FORMAT:
        raise UserError(f"{path}: format is {found.format!r}, {FORMAT!r} is needed; ingest it again")
    if not 0 <= found.epochs <= _MOST_EPOCHS:
        raise UserError(f"{path}: {found.epochs} epochs are not 0 to {_MOST_EPOCHS}; ingest it again")
    bad = [channel.label for channel in found.channels if not 0 < channel.rate_hz <= 1e6]
    if bad:
        raise UserError(f"{path}: channel {bad[0]!r} has no rate above 0; ingest it again")
    return found


def write_recording_file(folder: Path, content: RecordingFile) -> None:
    """Write it; the folder is not yet where anybody looks."""
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2))


def sha256_of(path: Path) -> str:
    """The hash of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
