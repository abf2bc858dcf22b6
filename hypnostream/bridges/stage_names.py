"""What people call a sleep stage, in annotations, XML and CSV, and which number means what."""

import re
from collections.abc import Iterable
from typing import Final

from hypnostream.stream.stages import STAGES, UNSCORED

_W, _N1, _N2, _N3, _R = range(len(STAGES))

_NAMES: Final = {
    **dict.fromkeys(("W", "WK", "WAKE", "AWAKE", "S0", "STAGE0", "STAGEW", "STAGEWAKE"), _W),
    **dict.fromkeys(("N1", "S1", "NREM1", "STAGE1", "STAGEN1", "STAGES1"), _N1),
    **dict.fromkeys(("N2", "S2", "NREM2", "STAGE2", "STAGEN2", "STAGES2"), _N2),
    **dict.fromkeys(("N3", "S3", "NREM3", "STAGE3", "STAGEN3", "STAGES3"), _N3),
    **dict.fromkeys(("N4", "S4", "NREM4", "STAGE4", "STAGEN4", "STAGES4"), _N3),  # the AASM joined S3 and S4
    **dict.fromkeys(("R", "REM", "STAGER", "STAGEREM"), _R),
    **dict.fromkeys(("?", "U", "MT", "M", "MOVEMENT", "MOVEMENTTIME", "UNSCORED", "NOTSCORED", "UNKNOWN"), UNSCORED),
    **dict.fromkeys(("ARTEFACT", "ARTIFACT", "INDETERMINATE", "NAN", "NA", "STAGE?", "STAGEN", "STAGEU"), UNSCORED),
}

# 0 to 3 are the same in both, 4 is not: S4 to Rechtschaffen and Kales (who have 5 for REM), REM in the AASM's five.
_AASM: Final = {0: _W, 1: _N1, 2: _N2, 3: _N3, 4: _R}
RECHTSCHAFFEN_KALES: Final = {0: _W, 1: _N1, 2: _N2, 3: _N3, 4: _N3, 5: _R}
UNSCORED_NUMBERS: Final = frozenset((-1, 6, 7, 8, 9))  # movement, artefact, indeterminate, unscored

NUMBERINGS: Final = {"aasm": _AASM, "rk": RECHTSCHAFFEN_KALES}


def named_stage(text: str) -> int | None:
    """The stage that a text names ("Sleep stage 2", "N2", "REM sleep", "wake"), None when it names none."""
    squeezed = re.sub(r"[\s_\-]+", "", text.upper())
    return _NAMES.get(squeezed.removeprefix("SLEEP").removesuffix("SLEEP"))


def numbering_of(numbers: Iterable[int]) -> str | None:
    """Which of NUMBERINGS a hypnogram of numbers is in; None when it cannot be told: a 4 and no 5."""
    found = set(numbers)
    if 5 in found:
        return "rk"
    return None if 4 in found else "aasm"
