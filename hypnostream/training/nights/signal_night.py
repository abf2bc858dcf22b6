"""A night of conditioned signals, second by second: what the learned front-end trains on.

The conditioning is the one that runs live. Made from a stored recording or from the simulator.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 100
FRAME_S = 4  # a frame is the last four seconds


@dataclass(frozen=True, slots=True, eq=False)
class SignalNight:
    """`signal` (T, C, 100) in each channel's unit, zeros where nothing is; `valid` (T, C); T a whole number of epochs.

    `channels` names the slots, `kinds` their modality ("eeg", "eog", "emg", "ecg", "flow", "effort"). `stage` (T/30,)
    indices of STAGES or -1. `tracks` are labels a second (T,): 1, 0 or -1. `source_sha256` is a hash of the files that
    it was made of, "" where there were none; `scoring` the rule that its stages were given by, "" where nobody says.
    """

    name: str
    subject: str
    set_name: str
    licence: str
    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    signal: NDArray[np.float32]
    valid: NDArray[np.bool_]
    stage: NDArray[np.int8]
    tracks: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    source_sha256: str = ""
    scoring: str = ""

    def frames(self, seconds: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The frames that end with these seconds: (K, C, 400), and whether all four seconds are valid (K, C)."""
        window = seconds[:, None] + np.arange(1 - FRAME_S, 1)  # (K, 4)
        there = window >= 0
        window = np.maximum(window, 0)
        valid = (self.valid[window] & there[..., None]).all(1)
        frames = self.signal[window].transpose(0, 2, 1, 3).reshape(len(seconds), len(self.channels), -1)
        return frames * valid[..., None], valid
