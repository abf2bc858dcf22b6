"""What a timeline is told, what it says and what it remembers; how it decides is in `timeline`."""

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.loss import LossState
from hypnostream.stream.stamp_line import LineState


@dataclass(frozen=True, slots=True)
class TimelineSettings:
    """What is jitter, what is drift and what is a gap.

    No stamp errs by more than twice `jitter_s` (or half a sample of a slow stream): what is further off is no jitter.
    A loss is settled `settle_s` after it, and a jittered clock's rate is learnt only where none was for as long.
    A leap of more than `leap_s` is believed once a second's worth of samples agree: it is most often one bad stamp.
    One of more than `longest_gap_s` never is.
    """

    jitter_s: float = 0.03
    settle_s: float = 10.0
    leap_s: float = 3600.0
    longest_gap_s: float = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive samples of one segment: the `rows` of a chunk, and the segment's `origin_s` that holds for them."""

    rows: slice | NDArray[np.intp]
    origin_s: float
    opens_segment: bool


@dataclass(slots=True)
class TimelineState:
    """Arrays and numbers only.

    Counters, in samples: `received` are all that came, `dropped` those not taken; among them `duplicated` and
    `out_of_order`, which belong into a gap that is over and are `lost` too. `jumps` counts leaps of more than `leap_s`
    and clocks that were set back. `holes_s` are the latest gaps, (n, 2): from when to when.
    """

    line: LineState
    loss: LossState = field(default_factory=LossState)
    count: int = 0
    started: bool = False
    received: int = 0
    dropped: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    segments: int = 0
    jumps: int = 0
    # Samples in a row that were not taken for being behind; and that leapt ahead, the last of them to `leapt_s`.
    stale: int = 0
    leaping: int = 0
    leapt_s: float = math.nan
    # The current block: stamp minus expected time, and whether a step in it was no whole number of samples.
    errors_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    ragged: bool = False
    recent_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    holes_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 2)))

    @property
    def origin_s(self) -> float:
        """Where sample 0 of the segment is, as of its latest samples."""
        return self.line.origin_s

    @property
    def lost(self) -> int:
        """Samples that are missing within gaps; corrected by a few while a jittered sender's latest gap settles."""
        return self.loss.lost

    @property
    def last_gap_s(self) -> float:
        """How long the latest gap was; 0.0 before the first."""
        return float(self.holes_s[-1, 1] - self.holes_s[-1, 0]) if len(self.holes_s) else 0.0
