"""One process at a time is at work in a folder; the lock of one that was killed is free at once."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hypnostream.errors import UserError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made if need be, within the `with`; if nothing came to lie in it, it is removed then.

    Raises UserError when another process holds it.
    """
    lock = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("ab")
    except OSError as error:
        raise UserError(f"{folder} cannot be worked in: {error.strerror}; choose one that can be written") from error
    with file:
        if not _taken(file):
            raise UserError(f"another process is at work in {folder}; stop it, or give this bed a name of its own")
        try:
            yield
        finally:
            with suppress(OSError):  # some systems remove no file that is open
                lock.unlink()
                folder.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether another process is at work in the folder."""
    try:
        with (folder / "lock").open("rb+") as file:
            return not _taken(file)
    except OSError:
        return False


def _taken(file: IO[bytes]) -> bool:
    """Whether the lock was free; it is ours until the file is closed."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
