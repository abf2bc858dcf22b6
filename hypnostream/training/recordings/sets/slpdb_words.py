"""The words that the MIT-BIH Polysomnographic Database labels 30 s with: a stage, then what else happened.

https://www.physionet.org/content/slpdb/1.0.0/README.st: H hypopnea, OA and X obstructive apnea, CA and CAA central
apnea, L leg movements, A arousal; HA, X, CAA and LA are with an arousal; MT is movement time.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.training.recordings.recording import UNKNOWN

STAGES = {"W": 0, "1": 1, "2": 2, "3": 3, "4": 3, "R": 4, "M": UNKNOWN, "MT": UNKNOWN}
_OBSTRUCTIVE, _CENTRAL, _HYPOPNEA = {"OA", "X"}, {"CA", "CAA"}, {"H", "HA"}
_TRACKS = {
    "apnea_obstructive": _OBSTRUCTIVE,
    "apnea_central": _CENTRAL,
    "apnea": _OBSTRUCTIVE | _CENTRAL,
    "hypopnea": _HYPOPNEA,
    "apnea_or_hypopnea": _OBSTRUCTIVE | _CENTRAL | _HYPOPNEA,
    "arousal": {"HA", "X", "CAA", "LA", "A"},
}
_KNOWN = set(STAGES) | {"L", "A", "LA"} | _TRACKS["apnea_or_hypopnea"]


def read_words(
    texts: Sequence[str], epochs: Sequence[int], count: int
) -> tuple[NDArray[np.int8], dict[str, NDArray[np.int8]], list[str]]:
    """Labels of the epochs named, as stages (count,), tracks' values (count,) and notes on words that are not known.

    Epochs without a label are UNKNOWN in all.
    """
    stages = np.full(count, UNKNOWN, np.int8)
    tracks = {name: np.full(count, UNKNOWN, np.int8) for name in _TRACKS}
    strange: set[str] = set()
    for text, epoch in zip(texts, epochs, strict=True):
        words = {"L" if set(word) == {"L"} else word for word in text.split()}  # LL: several movements
        strange |= words - _KNOWN
        if not 0 <= epoch < count or not words:
            continue
        stages[epoch] = next((STAGES[word] for word in text.split() if word in STAGES), UNKNOWN)
        for name, meant in _TRACKS.items():
            tracks[name][epoch] = bool(words & meant)
    return stages, tracks, [f"label {word!r} is not known" for word in sorted(strange)]
