"""One recording in the form that all sets are brought to. Readers make it, the store writes it, training reads it.

Time is seconds since the recording's start; epoch k is [30 k, 30 (k + 1)). Signals are not held: `blocks` yields them
epoch by epoch, so that a night of any length costs the same memory. What a set does not have is left empty.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# Kinds of events, whatever a set calls them; "other" keeps the set's own words in `label`.
EVENT_KINDS = (
    "apnea_obstructive", "apnea_central", "apnea_mixed", "apnea", "hypopnea",
    "desaturation", "arousal", "limb_movement", "artefact", "other",
)  # fmt: skip
UNKNOWN = -1  # in a track or a stage: nobody said
DOUBTED = "doubted_"  # so begin tracks of labels that do not fit their signals


def epoch_samples(rate_hz: float) -> int:
    """How many places an epoch has for the samples of a channel: 30 s of them, rounded up."""
    return math.ceil(30 * rate_hz - 1e-6)


@dataclass(frozen=True, slots=True)
class Channel:
    """One signal as it was recorded. `kind` is that of `ChannelSpec` ("eeg" ... "spo2"), or "other"."""

    label: str
    kind: str
    unit: str
    rate_hz: float


@dataclass(frozen=True, slots=True)
class Event:
    """`label` and `channel` are the set's own words; `by` is who said it: "expert", "device", "simulated".

    `value` is what was measured of it where the set says so: a desaturation's depth in percent.
    """

    onset_s: float
    duration_s: float
    kind: str
    label: str
    channel: str = ""
    by: str = "expert"
    value: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """A label each second, int8 (seconds,): 1, 0 or UNKNOWN. `resolution_s` is how finely it was scored (1, 30, 60)."""

    values: NDArray[np.int8]
    resolution_s: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """One epoch: for each channel, in order, samples (30 * rate,) float32 and valid seconds (30,) bool.

    Seconds that were not recorded are invalid and their samples zero. A rate that is no whole number of samples in an
    epoch is rounded up, and the last sample's place is zero.
    """

    samples: tuple[NDArray[np.float32], ...]
    valid: tuple[NDArray[np.bool_], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Values at moments: beats (`kind` "beat", value RR in seconds) and the like. Both (n,) float64, in order."""

    kind: str
    time_s: NDArray[np.float64]
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Source:
    """A file that the recording was made of: its path under the data folder, and its SHA-256."""

    path: str
    sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """See the module's head.

    `subject` names the person across all sets ("sleepedf:SC00", "slpdb:slp60", ...): one person has one name, in
    whatever set. `stages` (N,) int8 are indices of STAGES or UNKNOWN, None when nobody staged it. `scoring`
    is the rule ("R&K", "AASM"). `features` are numbers per epoch, (N, ...) float32, for sets that hold no signal.
    """

    name: str
    subject: str
    set_name: str
    licence: str
    sources: tuple[Source, ...]
    epochs: int
    start_utc: str = ""
    scoring: str = ""
    channels: tuple[Channel, ...] = ()
    blocks: Callable[[], Iterator[Block]] = lambda: iter(())
    stages: NDArray[np.int8] | None = None
    events: tuple[Event, ...] = ()
    tracks: dict[str, Track] = field(default_factory=dict)
    points: tuple[Points, ...] = ()
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def source_sha256(self) -> str:
        """One hash of all that it was made of."""
        return one_hash(self.sources)


def one_hash(sources: Sequence[Source]) -> str:
    """A hash of several files' hashes, in their order; a single file's own."""
    if len(sources) == 1:
        return sources[0].sha256
    return hashlib.sha256("\n".join(source.sha256 for source in sources).encode()).hexdigest()
