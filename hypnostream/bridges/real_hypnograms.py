"""Hypnograms of real nights for the simulator to follow, where the data is; without it the simulator draws one.

The set is BOAS (OpenNeuro ds005555, CC0): whole nights scored by the consensus of three people, column 0 of each.
"""

import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError

# What numpy raises for a file that is empty, of another kind, cut short, or of other arrays.
_UNREADABLE = (OSError, EOFError, TypeError, ValueError, IndexError, ZeroDivisionError, zipfile.BadZipFile)


def real_hypnogram(data: Path, seed: int) -> tuple[str, NDArray[np.int8]] | None:
    """A night's name and its stages (epochs,) as indices into STAGES, below 0 or above 4 where nobody scored.

    The same `seed` takes the same night; None when `data` has no BOAS hypnograms. Raises UserError when the file is
    there and cannot be read.
    """
    path = data / "boas_hypnograms" / "boas_hypnograms.npz"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as nights:
            names = sorted(nights.files)
            name = names[seed % len(names)]
            return name, np.asarray(nights[name][:, 0], np.int8)
    except _UNREADABLE as error:
        raise UserError(f"{path} holds no hypnograms that can be read: {error}; name other data") from error
