"""How many samples a gap cost: read off the line through the stamps before it and after it.

Under jitter one stamp does not say it, as it errs by several samples; the line does, once it has settled. Until then
the count is corrected block by block. What rounding to whole samples left over goes into the next loss: the sum over
many small losses stays true, though each alone is known to a few samples only.
"""

import math
from dataclasses import dataclass


@dataclass(slots=True)
class LossState:
    """Numbers only. `lost` samples never came, as far as is known.

    Of the latest loss: `reference_s`, where the line would be without it; what it is `counted` as so far, and since
    which sample of the segment (`begins`).
    """

    lost: int = 0
    reference_s: float = math.nan
    counted: int = 0
    begins: int = 0
    settled: bool = True
    left_over: float = 0.0


def begin(state: LossState, reference_s: float, sample: int) -> None:
    """From the segment's `sample` on the line is compared with `reference_s`."""
    state.reference_s, state.counted, state.begins, state.settled = reference_s, 0, sample, False


def count(state: LossState, line_s: float, rate_hz: float) -> None:
    """Count the latest loss anew by where the line is now, less its drift."""
    counted = max(0, round(_samples(state, line_s, rate_hz)))
    state.lost += counted - state.counted
    state.counted = counted


def settle(state: LossState, line_s: float, rate_hz: float, jitter_s: float) -> None:
    """The latest loss stays as it is counted; up to `jitter_s` of what is left over goes into the next one.

    Of clean stamps (`jitter_s` 0.0) nothing does: a sender that paused need not resume on its old lattice.
    """
    if not state.settled:
        bound = jitter_s * rate_hz
        state.left_over = min(max(_samples(state, line_s, rate_hz) - state.counted, -bound), bound)
        state.settled = True


def _samples(state: LossState, line_s: float, rate_hz: float) -> float:
    return (line_s - state.reference_s) * rate_hz + state.left_over
