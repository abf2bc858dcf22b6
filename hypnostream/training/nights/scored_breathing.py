"""The stored recordings that somebody scored for apnea, each made into a night once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from hypnostream.errors import UserError
from hypnostream.training.recordings.recording import Recording
from hypnostream.training.recordings.recording_file import read_recording_file
from hypnostream.training.recordings.store import read_recording, recordings_in
from hypnostream.training.recordings.validate import how_to_go_on

Progress = Callable[[int, int, str], None]
Night = TypeVar("Night")


def make_nights(
    store: Path,
    file_of: Callable[[str], Path],
    sources_of: Callable[[Path], str],
    make: Callable[[Recording], Night | None],
    write: Callable[[Night], None],
    progress: Progress,
) -> list[str]:
    """Write the night of each stored recording that is one (`make` says None of others); returns their names.

    A night that is in its file (`file_of` its name) already, made of sources of the same hash (`sources_of` the file),
    is left as it is. Raises UserError when there is no recording, or one cannot be read.
    """
    folders = recordings_in(store)
    if not folders:
        raise UserError(f"{store} holds no stored recording; make them with `hypnostream train ingest`.")
    wanted = []
    for folder in folders:
        with _reading(folder):
            if any("apnea" in track for track in read_recording_file(folder).tracks):
                wanted.append(folder)
    names = []
    for done, folder in enumerate(wanted):
        progress(done, len(wanted), folder.name)
        path = file_of(folder.name)
        with _reading(folder):
            recording = read_recording(folder)
            if not path.exists() or sources_of(path) != recording.source_sha256:
                night = make(recording)
                if night is None:
                    continue
                write(night)
        names.append(folder.name)
    progress(len(wanted), len(wanted), "")
    return names


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """A damaged recording is not left out in silence: a table would be of others than it says."""
    try:
        yield
    except UserError as error:
        raise UserError(f"recording {folder.name} cannot be read: {error}; {how_to_go_on(folder.parent)}") from error
