"""Files that are whole or not there: written beside their place, then renamed into it."""

import os
from pathlib import Path


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path`; whoever opens it, also after a power cut, finds the old file or the new one, whole.

    Raises:
        OSError: the folder is not there or not writable, or the disk is full; the old file is then as it was. Or what
            is at `path` is no file: a device would be replaced by one.
    """
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no file")
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.unlink(missing_ok=True)  # left by a process of the same number that was killed
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
