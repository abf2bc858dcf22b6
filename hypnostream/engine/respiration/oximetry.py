"""An oximeter as evidence: what of it is known, how far it fell since a breathing event, and its desaturations."""

import copy
import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.desaturation import Desaturation, DesaturationSettings, DesaturationState, detect
from hypnostream.engine.respiration.saturation import SaturationSettings, SaturationState, settle
from hypnostream.engine.respiration.stable_saturation import StableSaturation
from hypnostream.stream.channels import OK

HISTORY_S: Final = 900  # the longest event and what is linked to it lie within
# The manual asks that a desaturation belongs to the event and gives no seconds. Blood takes 10 to 30 s from lung to
# finger and the oximeter averages for 3 to 16 s more, so that the nadir comes up to 45 s after breathing returns.
LINKED_S: Final = 45.0


@dataclass(frozen=True, slots=True)
class OximetrySettings:
    """How an oximeter is judged, and what is a desaturation."""

    saturation: SaturationSettings = field(default_factory=SaturationSettings)
    desaturation: DesaturationSettings = field(default_factory=DesaturationSettings)


@dataclass(slots=True)
class OximetryState:
    """`next_second` is the next to come, `settled` the next to be settled: they differ within an abrupt fall.

    Settled second s lies at s % HISTORY_S of `percent` and `baseline` (HISTORY_S,), NaN where unknown.
    """

    next_second: int
    settled: int
    percent: NDArray[np.float32]
    baseline: NDArray[np.float32]
    desaturation: DesaturationState
    saturation: SaturationState = field(default_factory=SaturationState)


class OximetrySecond(NamedTuple):
    """A second once it is settled: saturation and baseline in percent, None when unknown, and what it makes known.

    `why` is KNOWN, or why it is not: MISSING, SPIKE or HELD (saturation.py).
    """

    second: int
    percent: float | None
    baseline: float | None
    why: str
    desaturations: tuple[Desaturation, ...]


class Fall(NamedTuple):
    """The largest fall of the saturation in a time, from a peak at `peak_s` to a value at `nadir_s`, in stream seconds.

    `percent` is rounded to 0.1, so that a recorder's 2.99 is 3; None when no two seconds are known, which is not 0.
    With a `known_fraction` below 1 it is the least that the fall was. `settled` says whether all of the time has been
    seen: if not, it may still grow.
    """

    percent: float | None
    peak_s: float | None
    nadir_s: float | None
    known_fraction: float
    settled: bool


class Oximetry:
    """The pure processing of one bed's oximeter, at 1 Hz. Second s begins at stream time t0_s + s."""

    def __init__(self, t0_s: float = 0.0, settings: OximetrySettings | None = None, first_second: int = 0) -> None:
        self.t0_s = t0_s
        self.settings = settings or OximetrySettings()
        nothing = np.full(HISTORY_S, np.nan, np.float32)
        desaturation = DesaturationState(StableSaturation(self.settings.desaturation.baseline_s))
        desaturation.high_s = first_second - 1
        self.state = OximetryState(first_second, first_second, nothing, nothing.copy(), desaturation)

    def snapshot(self) -> OximetryState:
        """A copy of all that is remembered."""
        return copy.deepcopy(self.state)

    def restore(self, state: OximetryState) -> None:
        """Go on from a snapshot."""
        self.state = copy.deepcopy(state)

    @property
    def settled_s(self) -> float:
        """Stream time up to which the saturation is settled; behind the last second by at most `spike_longest_s`."""
        return self.t0_s + self.state.settled

    def advance(self, percent: NDArray[np.float32], quality: NDArray[np.uint8]) -> list[OximetrySecond]:
        """Take the next seconds, percent (n,) or (n, 1) and their quality (n,); the seconds that are settled by them.

        Raises:
            ValueError: the two are not of the same seconds.
        """
        return [each for value in as_known(percent, quality) for each in self.second(value)]

    def second(self, percent: float) -> list[OximetrySecond]:
        """Take the next second, NaN where it is not known; the seconds that are settled by it."""
        state, said = self.state, []
        state.next_second += 1
        for settled in settle(state.saturation, percent, state.desaturation.reference, self.settings.saturation):
            second = state.settled
            made = detect(state.desaturation, second, settled, self.settings.desaturation)
            baseline = state.desaturation.reference
            state.percent[second % HISTORY_S] = settled.percent
            state.baseline[second % HISTORY_S] = baseline
            state.settled += 1
            said.append(OximetrySecond(second, _or_none(settled.percent), _or_none(baseline), settled.why, tuple(made)))
        return said

    def saturation(self, start_s: float, end_s: float) -> NDArray[np.float32]:
        """The saturation in percent of the whole seconds that begin in a time (n,), NaN where unknown.

        Unknown are also those not yet settled, or longer ago than HISTORY_S.
        """
        return self._read(self.state.percent, start_s, end_s)

    def drop_since(self, since_s: float) -> float | None:
        """The largest drop below the baseline from a stream time until now, in percent; None when none is known.

        The baseline is that of each second itself. 0 when the saturation never was below it.
        """
        percent = self._read(self.state.percent, since_s, self.settled_s)
        drop = self._read(self.state.baseline, since_s, self.settled_s) - percent
        known = drop[~np.isnan(drop)]
        return max(0.0, float(known.max())) if len(known) else None

    def known_fraction(self, start_s: float, end_s: float) -> float:
        """The share of known seconds in a time; 0 for a time without a whole second."""
        percent = self.saturation(start_s, end_s)
        return float(np.mean(~np.isnan(percent))) if len(percent) else 0.0

    def fall_after(self, start_s: float, end_s: float, within_s: float = LINKED_S) -> Fall:
        """The largest fall from the start of a breathing event until `within_s` after its end.

        It is measured from the highest value before it in this time, which counts for no more than the baseline of its
        second. So what was still low from an earlier event is no evidence for this one, and one sample above the
        baseline is none either.
        """
        until_s = end_s + within_s
        percent = self.saturation(start_s, until_s)
        known = ~np.isnan(percent)
        fraction = float(known.mean()) if len(known) else 0.0
        settled = self.settled_s >= until_s
        if known.sum() < 2:
            return Fall(None, None, None, fraction, settled)
        high = np.fmin(percent, self._read(self.state.baseline, start_s, until_s))[known]
        at = np.flatnonzero(known)
        fall = np.maximum.accumulate(high) - percent[known]
        nadir = int(fall.argmax())
        peak = int(high[: nadir + 1].argmax())
        first_s = self.t0_s + math.ceil(start_s - self.t0_s)
        return Fall(
            max(0.0, round(float(fall[nadir]), 1)),
            first_s + float(at[peak]),
            first_s + float(at[nadir]),
            fraction,
            settled,
        )

    def _read(self, ring: NDArray[np.float32], start_s: float, end_s: float) -> NDArray[np.float32]:
        first, stop = math.ceil(start_s - self.t0_s), math.ceil(end_s - self.t0_s)
        oldest, settled = max(0, self.state.settled - HISTORY_S), self.state.settled
        read = np.full(max(0, stop - first), np.nan, np.float32)
        if (there := min(stop, settled)) > (begins := max(first, oldest)):
            read[begins - first : there - first] = ring.take(range(begins, there), mode="wrap")
        return read


def as_known(percent: NDArray[np.float32], quality: NDArray[np.uint8]) -> list[float]:
    """Seconds, percent (n,) or (n, 1), NaN for those whose quality (n,) is not good. Raises ValueError for others."""
    values = percent.reshape(-1)
    if quality.shape != values.shape:
        raise ValueError(f"{values.size} samples of saturation with {quality.size} codes of quality")
    return [value if code == OK else math.nan for value, code in zip(values.tolist(), quality.tolist(), strict=True)]


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
