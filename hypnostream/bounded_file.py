"""Reading a whole file that anyone may have put there."""

import errno
import os
import stat
from pathlib import Path


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """All of a regular file. Raises OSError for one that is larger, and for a pipe or a device, which may never end."""
    if not stat.S_ISREG(path.stat().st_mode):  # before it is opened, as opening a pipe waits for its other end
        raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(min(size, most_bytes) + 1)  # as much memory as asked for is set aside
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"larger than {most_bytes} bytes", os.fspath(path))
    return content
