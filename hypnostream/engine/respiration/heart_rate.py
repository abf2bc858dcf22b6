"""What heart beats say of breathing, second by second: rate, its rise as an event ends, and its cyclic variation.

The heart slows while breathing stops and races as it comes back (Guilleminault et al., Lancet 1984;1:126). An interval
counts as normal, the heart's own, unless it differs by more than a fifth from the median of the last five, itself
among them: an early beat and the pause after it are left out, a heart that truly changes its pace is soon followed.
On the 24 labelled nights of Apnea-ECG (machine-made beats) `cyclic_share` as a minute ends tells minutes with apnea
from the others at an AUC of 0.86, the largest `rise` of the minute at 0.80.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.windows import last_windows

_FEWEST: Final = 3  # intervals that have a median worth the name
_LEAST_S: Final = 60  # of known rates, too
_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class HeartRateSettings:
    """`memory_s` is how long the median and the cyclic variation look back, `lately_s` what is the rate now, and
    `before_s` what came before that its rise is measured from. `shortest_s` to `longest_s` can be an interval, one
    that is normal differs from the median of the last `neighbours` by at most `tolerance`. `known` is the share of
    the seconds that must be known. `cyclic_hz`: cycles of 20 to 100 s, an event and the breaths after it.
    """

    memory_s: int = 300
    lately_s: int = 5
    before_s: int = 30
    shortest_s: float = 0.3
    longest_s: float = 2.0
    neighbours: int = 5
    tolerance: float = 0.2
    known: float = 0.6
    cyclic_hz: tuple[float, float] = (0.01, 0.05)
    cyclic_every_s: int = 5


class HeartEvidence(NamedTuple):
    """What is known at the end of each of some seconds (n,); NaN is unknown.

    `now_bpm` is the rate in the second, `rate_bpm` the mean of the last ones, `usual_interval_s` the median RR interval
    of the last five minutes (each second counts once), `rise` how much faster the heart is now than in the half minute
    before (0.1: by a tenth). `cyclic_bpm` is the root mean square of the rate's swing in cycles of 20 to 100 s over
    five minutes, and `cyclic_share` its share of all that the rate varied by. `normal_share` says how many intervals of
    the last minute were normal: where it is low, the beats are ectopic or not to be believed.
    """

    now_bpm: NDArray[np.float64]
    rate_bpm: NDArray[np.float64]
    usual_interval_s: NDArray[np.float64]
    rise: NDArray[np.float64]
    cyclic_bpm: NDArray[np.float64]
    cyclic_share: NDArray[np.float64]
    normal_share: NDArray[np.float64]


@dataclass(slots=True)
class HeartRateState:
    """What is remembered: the last beat, the intervals around it, and the rate of each second (oldest first)."""

    next_second: int
    rate_bpm: NDArray[np.float64]  # (memory,) NaN where unknown
    intervals: NDArray[np.float64]  # (60,) how many ended in each of the last seconds, and
    normal: NDArray[np.float64]  # (60,) how many of them were normal
    last_beat_s: float | None = None
    recent_s: list[float] = field(default_factory=list)  # the last intervals, normal or not
    held_bpm: float = math.nan  # of the last normal interval, which
    held_since_s: float = -math.inf  # ended then
    usual_interval_s: float = math.nan
    cyclic_bpm: float = math.nan
    cyclic_share: float = math.nan


class HeartRate:
    """Pure processing of one heart's beats, whoever found them."""

    def __init__(self, settings: HeartRateSettings = HeartRateSettings()) -> None:
        self.settings = settings
        seconds = np.arange(settings.memory_s)
        low, high = settings.cyclic_hz
        cycles = np.arange(math.ceil(low * settings.memory_s), math.floor(high * settings.memory_s) + 1)
        angle = 2 * np.pi * cycles[:, None] * seconds / settings.memory_s
        self._waves = np.concatenate((np.cos(angle), np.sin(angle)))  # (2 cycles, memory)

    def fresh(self) -> HeartRateState:
        """The state before the first second."""
        return HeartRateState(0, np.full(self.settings.memory_s, np.nan), np.zeros(_MINUTE_S), np.zeros(_MINUTE_S))

    def advance(
        self,
        state: HeartRateState,
        beats_s: Sequence[Sequence[float]],
        good: Sequence[bool],
        intervals_s: Sequence[Sequence[float]] | None = None,
        rises: bool = True,
    ) -> HeartEvidence:
        """The next seconds: the beats that became known in each (stream seconds, ascending), and whether its ECG was
        good.

        A device that sends RR intervals gives them as `intervals_s`, one a beat; otherwise they are what lies between
        beats, never across a second that is not good. Without `rises` nobody asks for a rise, nor for what it is judged
        by: they stay unknown. `state` is changed. Raises ValueError where the two differ in length.
        """
        given = [None] * len(beats_s) if intervals_s is None else intervals_s
        each = enumerate(zip(beats_s, good, given, strict=True), state.next_second)
        came = [self._second(state, second, *of_it) for second, of_it in each]
        now_bpm, count, normal = np.array(came, np.float64).reshape(-1, 3).T
        rate_bpm = np.concatenate((state.rate_bpm, now_bpm))
        intervals, normals = np.concatenate((state.intervals, count)), np.concatenate((state.normal, normal))
        usual_interval_s, cyclic_bpm, cyclic_share = self._look_back(state, rate_bpm, len(came))
        state.next_second += len(came)
        state.rate_bpm = rate_bpm[-self.settings.memory_s :]
        state.intervals, state.normal = intervals[-_MINUTE_S:], normals[-_MINUTE_S:]
        rate = rise = normal_share = np.full(len(came), np.nan)
        if rises:
            rate, rise = self._rises(rate_bpm, len(came))
            of_minute, normal_of_minute = (
                _windows(each, _MINUTE_S, len(came)).sum(axis=1) for each in (intervals, normals)
            )
            normal_share = np.where(of_minute > 0, normal_of_minute / np.maximum(of_minute, 1), np.nan)
        return HeartEvidence(now_bpm, rate, usual_interval_s, rise, cyclic_bpm, cyclic_share, normal_share)

    def _rises(self, rate_bpm: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The rate lately (count,), and how much more it is than before (count,)."""
        settings = self.settings
        both = _windows(rate_bpm, settings.before_s + settings.lately_s, count)
        lately = _mean(both[:, settings.before_s :], settings.known)
        return lately, lately / _mean(both[:, : settings.before_s], settings.known) - 1

    def _second(
        self,
        state: HeartRateState,
        second: int,
        beats_s: Sequence[float],
        good: bool,
        intervals_s: Sequence[float] | None,
    ) -> tuple[float, int, int]:
        """The next second: the rate in it, how many intervals ended, and how many of these were normal."""
        if intervals_s is not None and len(intervals_s) != len(beats_s):
            raise ValueError(f"{len(intervals_s)} intervals came with {len(beats_s)} beats: give one a beat")
        ended: list[float] = []
        count = 0
        for number, beat_s in enumerate(beats_s):
            if intervals_s is not None:
                interval_s = intervals_s[number]
            else:
                interval_s = math.nan if state.last_beat_s is None else beat_s - state.last_beat_s
            state.last_beat_s = beat_s
            normal = self._is_normal(state, interval_s)
            if normal is None:
                continue
            count += 1
            if normal:
                ended.append(interval_s)
                state.held_bpm, state.held_since_s = 60 / interval_s, beat_s
        if not good:
            state.last_beat_s = None
            state.recent_s = []
        held = good and second + 1 - state.held_since_s <= self.settings.longest_s + 1
        return 60 * len(ended) / sum(ended) if ended else state.held_bpm if held else math.nan, count, len(ended)

    def _is_normal(self, state: HeartRateState, interval_s: float) -> bool | None:
        """None where it cannot be said: there is no interval, or too few before it."""
        settings = self.settings
        if math.isnan(interval_s):
            return None
        if not settings.shortest_s <= interval_s <= settings.longest_s:
            return False
        state.recent_s = [*state.recent_s[1 - settings.neighbours :], interval_s]
        if len(state.recent_s) < _FEWEST:
            return None
        median_s = sorted(state.recent_s)[len(state.recent_s) // 2]
        return abs(interval_s - median_s) <= settings.tolerance * median_s

    def _look_back(
        self, state: HeartRateState, rate_bpm: NDArray[np.float64], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Usual interval, cyclic variation and its share (count,) of the last five minutes, looked at every few
        seconds; what is unknown is left out of the sums."""
        every = self.settings.cyclic_every_s
        at = [place for place in range(count) if (state.next_second + place) % every == 0]
        found = [(state.usual_interval_s, state.cyclic_bpm, state.cyclic_share)]
        if at:
            windows = _windows(rate_bpm, self.settings.memory_s, count)
            found += [self._looked_back(windows[place]) for place in at]
            state.usual_interval_s, state.cyclic_bpm, state.cyclic_share = found[-1]
        each = np.array(found).repeat([after - before for before, after in pairwise((0, *at, count))], axis=0)
        return each[:, 0], each[:, 1], each[:, 2]

    def _looked_back(self, rate_bpm: NDArray[np.float64]) -> tuple[float, float, float]:
        is_known = rate_bpm == rate_bpm
        known = rate_bpm if is_known.all() else rate_bpm[is_known]
        count, usual_interval_s = len(known), math.nan
        if count >= _LEAST_S:
            ordered = np.sort(known)
            usual_interval_s = 120 / float(ordered[(count - 1) // 2] + ordered[count // 2])
        if count < self.settings.known * self.settings.memory_s:
            return usual_interval_s, math.nan, math.nan
        around = known - np.add.reduce(known) / count
        waves = (self._waves if count == len(rate_bpm) else self._waves[:, is_known]) @ around
        cyclic = 2 * float(waves @ waves) / count**2
        variance = float(np.add.reduce(around * around)) / count
        return usual_interval_s, math.sqrt(cyclic), min(cyclic / variance, 1.0) if variance > 0 else 0.0


def _windows(values: NDArray[np.float64], length: int, count: int) -> NDArray[np.float64]:
    """The windows of this length (count, length) that end with each of the last values, views of them."""
    windows: NDArray[np.float64] = last_windows(values[None], count, length)[0]
    return windows


def _mean(rates: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """The means (n,) of what is known in each of the windows (n, length), NaN unless that is `share` of it."""
    known = rates == rates
    count = known.sum(axis=1)
    mean: NDArray[np.float64] = np.where(known, rates, 0.0).sum(axis=1) / np.maximum(count, 1)
    mean[count < share * rates.shape[1]] = np.nan
    return mean
