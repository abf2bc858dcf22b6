"""Sleep stages by their AASM names, and the order that every array of probabilities keeps."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

STAGES: Final = ("W", "N1", "N2", "N3", "R")
UNSCORED: Final = -1
EPOCH_S: Final = 30


def stage_codes(stages: Iterable[str | None]) -> NDArray[np.int8]:
    """The hypnogram (epochs,) as indices into STAGES; UNSCORED where there is no stage.

    Raises:
        ValueError: a name is not in STAGES.
    """
    return np.array([UNSCORED if stage is None else STAGES.index(stage) for stage in stages], dtype=np.int8)


def check_stage_codes(codes: NDArray[np.integer], what: str) -> None:
    """Raise ValueError, naming `what`, unless `codes` is one-dimensional and of indices into STAGES or UNSCORED."""
    if codes.ndim != 1:
        raise ValueError(f"{what} has {codes.ndim} dimensions: give one stage code an epoch")
    if codes.size and not (codes.min() >= UNSCORED and codes.max() < len(STAGES)):
        raise ValueError(f"{what} has a code outside {UNSCORED}..{len(STAGES) - 1}: map it to STAGES or UNSCORED")
