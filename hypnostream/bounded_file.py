"""Reading a whole file that anyone may have put there."""

import errno
import os
from pathlib import Path


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """All of a regular file. Raises OSError for one that is larger, and for a pipe or a device, which may never end."""
    if not path.is_file() and path.exists():
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {most_bytes} bytes", os.fspath(path))
    return content
