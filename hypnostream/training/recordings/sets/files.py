"""Where a set's files are, what is in them, and their hashes."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.training.recordings.recording import Source

_LARGEST_BYTES = 2**30  # of a file's arrays, unpacked


def set_folder(data: Path, name: str) -> Path | None:
    """The folder of the set: `data`/`name`, or `data` itself when it is called so; None when it is not there."""
    for folder in (data / name, data.resolve()):
        if folder.name == name and folder.is_dir():
            return folder
    return None


def sources(*paths: Path) -> tuple[Source, ...]:
    """The files that a recording is made of, with their hashes."""
    return tuple(Source(f"{p.parent.name}/{p.name}", hashlib.sha256(p.read_bytes()).hexdigest()) for p in paths)


def read_arrays(path: Path, *names: str) -> tuple[NDArray[Any], ...]:
    """Arrays of an .npz file. Raises UserError when it is none, lacks one, or unpacks to more than 1 GiB."""
    try:
        with zipfile.ZipFile(path) as packed:
            unpacked = sum(entry.file_size for entry in packed.infolist())
        if unpacked > _LARGEST_BYTES:
            raise UserError(f"{path} unpacks to {unpacked} bytes, more than {_LARGEST_BYTES}; split it")
        with np.load(path, allow_pickle=False) as file:
            return tuple(file[name] for name in names)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).strip("'").splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is not as this set's files are: {reason}; copy it again") from error
