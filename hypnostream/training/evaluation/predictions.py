"""What a model said of a night beside what people said: the one thing that evaluation reads.

Whoever predicts (a bundle on recordings, a torch model on tokens, a peer) writes these, so that all are measured alike.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class NightPrediction:
    """`reference` (N,) indices of STAGES or -1; `probabilities` (N, 5), NaN where nothing was said.

    `provisional` (N, 30, 5): what was said after each second of the epoch, the last being the final one; None when not
    asked. `binary` maps a task ("apnea", "hypopnea") to its reference (n,) in 0, 1, -1 and its probability (n,), per
    epoch or per second as `binary_s` says.
    """

    name: str
    subject: str
    set_name: str
    reference: NDArray[np.int8]
    probabilities: NDArray[np.float32]
    provisional: NDArray[np.float32] | None = None
    binary: dict[str, tuple[NDArray[np.int8], NDArray[np.float32]]] = field(default_factory=dict)
    binary_s: int = 30
