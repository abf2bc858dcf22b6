"""Heart beats out of the ECG as it comes: every R peak is known half a second later, when the second after it ends.

The method of Pan & Tompkins (IEEE Trans Biomed Eng 1985;32:230) with the decision rules of Hamilton ("Open source ECG
analysis", Computers in Cardiology 2002;29:101): the mean absolute slope in the band where QRS complexes are, against a
border between the medians of the last beats and of the last peaks that were none. Their search for a missed beat goes
back by one and a half intervals; this one goes back no farther than its delay: a weaker peak that comes when a beat is
due counts if no strong one follows. Beats are told by slope, not by sign, so a swapped cable changes nothing.

Why none of the libraries: all want the whole recording at once. sleepecg 0.6 (BSD), wfdb 4.3 (MIT) and neurokit2 0.2
(MIT) filter it forward and backward, biosppy 2.2 (BSD) and vitaldb 1.7 take whole arrays as well, and py-ecg-detectors
1.3 and heartpy 1.2 are under the GPL.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.channels import ECG_HZ
from hypnostream.stream.filters import butterworth_sections, step_memory
from hypnostream.stream.sosfilt import sosfilt_in_place

_NEVER: Final = -(1 << 40)
_LONGEST_S: Final = 3  # no interval is longer; a beat was missed


@dataclass(frozen=True, slots=True)
class BeatSettings:
    """How beats are told from the rest; band, average, refractory period, T wave and threshold are those of the papers.

    `decision_s` is how long after its peak in slope a beat is decided on; that peak lies about 0.07 s after the R peak,
    at most 0.13 s. `threshold` is how far from noise to beat the border lies, `weaker` the share of it that suffices
    when a beat is due (`due` of the usual interval after the last). What follows a beat within `t_wave_s` at less than
    half its slope is its T wave.

    Ours: a beat is `steepness` times as steep as the 2 s around it are on average, and beats are only told of while
    they are `clear` times as steep as the other peaks: noise of no heart is neither. Peaks under `speck` of the border
    are not looked at. `least_uv` is the slope (µV a sample) below which no electrode sees a QRS. `learning_s` of good
    signal tell how steep beats are: at the start, after a silence of `forget_s`, and when nothing was a beat for as
    long and a second more; no beat is told of before.
    """

    band_hz: tuple[float, float] = (5.0, 15.0)
    average_s: float = 0.08
    decision_s: float = 0.35
    refractory_s: float = 0.2
    t_wave_s: float = 0.36
    threshold: float = 0.3125
    weaker: float = 0.5
    due: float = 0.8
    steepness: float = 2.0
    clear: float = 2.5
    speck: float = 0.1
    least_uv: float = 1.0
    learning_s: int = 2
    forget_s: int = 10
    remembered: int = 8


@dataclass(slots=True)
class BeatState:
    """What a detector remembers between seconds. Indices count samples since second 0."""

    next_second: int
    memory: NDArray[np.float64]  # (1, sections, 2) of the band-pass
    before: NDArray[np.float64]  # (average + 1,) the last band-passed samples
    ecg: NDArray[np.float64]  # (rate,) the last second, and
    slope: NDArray[np.float64]  # (rate,) its mean absolute slope
    good_s: int = 0  # good seconds in a row, and
    silent_s: int = 0  # bad ones
    beats: list[float] = field(default_factory=list)  # slopes of the last beats, empty until they are learnt
    others: list[float] = field(default_factory=list)  # and of the last peaks that were none
    alone: bool = True  # nothing but specks since the last beat
    intervals: list[int] = field(default_factory=list)  # in samples
    last: int = _NEVER  # where the last beat's slope peaked, and
    last_slope: float = 0.0  # how steep it was
    learn_from: int = 0  # no beat since this sample
    lean: float = 0.0  # of the QRS: 1 all upward, -1 all downward
    upward: bool = True


class BeatDetector:
    """Pure processing of one ECG at `rate_hz`, second by second."""

    def __init__(self, settings: BeatSettings = BeatSettings(), rate_hz: int = ECG_HZ) -> None:
        self.settings, self.rate_hz = settings, rate_hz
        self._sections = butterworth_sections(rate_hz, *settings.band_hz)
        self._step = step_memory(self._sections)
        self._average = round(settings.average_s * rate_hz)
        self._weights = np.full(self._average, 1 / self._average)
        self._decision = round(settings.decision_s * rate_hz)
        self._refractory = round(settings.refractory_s * rate_hz)
        self._t_wave = round(settings.t_wave_s * rate_hz)
        self._learning = settings.learning_s * rate_hz
        # The filters' delay to a QRS, how far around it the R peak may lie, and how long they take to settle.
        self._delay, self._reach, self._settling = (round(each * rate_hz) for each in (0.07, 0.06, 0.1))

    def fresh(self) -> BeatState:
        """The state before the first second."""
        return BeatState(
            next_second=0,
            memory=np.zeros((1, len(self._sections), 2)),
            before=np.zeros(self._average),
            ecg=np.zeros(self.rate_hz),
            slope=np.zeros(self.rate_hz),
        )

    def advance(self, state: BeatState, ecg: NDArray[np.float32], good: NDArray[np.bool_]) -> list[list[float]]:
        """The next seconds, `ecg` (n, rate) in µV and whether each is `good` (n,): of each, times of R peaks that are
        decided on as it ends.

        Times are stream seconds and ascend; every beat up to half a second before the end of a second is known. What
        is not good is not read, and a complex that it cuts is none. `state` is changed. Raises ValueError for seconds
        of another rate.
        """
        if ecg.shape[1:] != (self.rate_hz,):
            raise ValueError(f"a second of ECG has shape {ecg.shape[1:]}, ({self.rate_hz},) was due")
        samples = ecg.astype(np.float64)
        slopes = np.concatenate((state.slope, self._slopes(state, samples, good)))
        stretch = _stretch(np.concatenate((state.ecg, samples.ravel())), slopes, self.rate_hz, self.settings)
        state.ecg, state.slope = stretch.ecg[-self.rate_hz :].copy(), slopes[-self.rate_hz :].copy()
        return [self._second(state, stretch, place, each) for place, each in enumerate(good.tolist())]

    def _slopes(self, state: BeatState, samples: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Mean absolute slope (n rate,) of the band-passed seconds, µV a sample; zeros for a bad one."""
        slopes = np.zeros(samples.shape)
        for start, stop in _runs(good.tolist()):
            passed = samples[start:stop].reshape(1, -1).copy()
            if start or not state.good_s:  # an offset makes no transient
                state.memory = (self._step * passed[0, 0])[None]
                state.before[:] = 0
            sosfilt_in_place(self._sections, passed, state.memory)
            passed_on = np.concatenate((state.before, passed[0]))
            state.before = passed_on[-self._average :].copy()
            averaged = np.convolve(np.abs(np.diff(passed_on)), self._weights, "valid")
            slopes[start:stop] = averaged.reshape(stop - start, -1)
        return slopes.ravel()

    def _second(self, state: BeatState, stretch: "_Stretch", place: int, good: bool) -> list[float]:
        """What is decided on as a second of the stretch ends."""
        state.good_s, before_s = (state.good_s + 1, state.good_s) if good else (0, state.good_s)
        if good and state.silent_s >= self.settings.forget_s:
            state.beats.clear()
        state.silent_s = 0 if good else state.silent_s + 1
        rate, start = self.rate_hz, (state.next_second - 1) * self.rate_hz
        state.next_second += 1
        # Good samples of this second and the one before, counted from the first of both.
        first, stop = (0 if before_s else rate), (2 * rate if good else rate)
        if good:
            self._learn(state, stretch.slope[place * rate : (place + 2) * rate], start + stop)
        if not state.beats or stop <= first:
            return []
        return [(start + each) / rate for each in self._decide(state, stretch, place, start, (first, stop))]

    def _learn(self, state: BeatState, around: NDArray[np.float64], now: int) -> None:
        """How steep beats and other peaks are, from the last two seconds, where it is not known or no longer true."""
        settings = self.settings
        if state.good_s < settings.learning_s:
            return
        if not state.beats or now - max(state.last, state.learn_from) > self._learning + self.rate_hz:
            state.beats = [float(around.max())] * settings.remembered
            state.others = [float(around.mean())] * settings.remembered
            state.learn_from = now

    def _decide(
        self, state: BeatState, stretch: "_Stretch", place_s: int, start: int, good: tuple[int, int]
    ) -> list[float]:
        """R peaks whose slope peaked where it is time to decide, in samples of the second at `place_s` and the one
        before it."""
        settings, rate = self.settings, self.rate_hz
        low, high = max(rate - self._decision, good[0] + 1), min(2 * rate - self._decision, good[1] - 1)
        average = sum(stretch.totals[place_s + good[0] // rate : place_s + good[1] // rate]) / (good[1] - good[0])
        least = max(settings.steepness * average, settings.least_uv)
        usual, other = _median(state.beats), _median(state.others)
        border = max(other + settings.threshold * (usual - other), least)
        tops = stretch.tops(place_s * rate, low, good[1] - 1, settings.speck * border)
        found: list[float] = []
        for number, (place, steep) in enumerate(tops):
            if place >= high:
                break
            since = start + place - state.last
            if since < self._refractory or _reaches(tops, number + 1, place + self._refractory, steep):
                continue
            beat = steep >= border
            if not beat and steep >= max(settings.weaker * border, least) and self._due(state, since):
                beat = not _reaches(tops, number + 1, place + self._decision, border, itself=True)
            t_wave = since < self._t_wave and steep < 0.5 * state.last_slope
            if not beat or t_wave:
                state.others, state.alone = [*state.others[1:], steep], False
                other = _median(state.others)
            elif place - self._delay - self._reach > good[0] + self._settling:
                state.beats = [*state.beats[1:], steep]
                if state.alone:  # whatever came since the last beat was a speck
                    state.others = [*state.others[1:], settings.speck * border]
                state.alone = True
                if since < _LONGEST_S * rate:
                    state.intervals = [*state.intervals[1 - settings.remembered :], since]
                state.last, state.last_slope = start + place, steep
                peak = self._r_peak(state, stretch.ecg, place_s * rate, place - self._delay)
                usual, other = _median(state.beats), _median(state.others)
                if usual >= settings.clear * other:  # what noise makes does not stand out
                    found.append(peak)
            border = max(other + settings.threshold * (usual - other), least)
        return found

    def _due(self, state: BeatState, since: int) -> bool:
        """Whether a beat is to be expected `since` samples after the last one."""
        return bool(state.intervals) and since >= self.settings.due * _median(state.intervals)

    def _r_peak(self, state: BeatState, ecg: NDArray[np.float64], begin: int, middle: int) -> float:
        """Where the QRS around sample `middle`, counted from `begin`, is farthest to the side to which this heart's
        complexes lean."""
        first = middle - self._reach
        around: list[float] = ecg[begin + first - 1 : begin + middle + self._reach + 2].tolist()
        qrs = around[1:-1]
        level, top, bottom = sum(qrs) / len(qrs), max(qrs), min(qrs)
        up, down = top - level, level - bottom
        # A running mean, and a border to cross, so that beats that go both ways are all timed at the same wave.
        state.lean += 0.2 * ((up - down) / (up + down + 1e-9) - state.lean)
        if state.upward != (state.lean > 0) and abs(state.lean) > 0.05:
            state.upward = not state.upward
        at = qrs.index(top if state.upward else bottom)
        peak = first + at
        left, at_peak, right = around[at : at + 3]
        if not (left - at_peak) * (right - at_peak) > 0:  # no extremum: the window cuts a slope
            return float(peak)
        return peak + 0.5 * (left - right) / (left - 2 * at_peak + right)


class _Stretch(NamedTuple):
    """Seconds and the one before them: samples and slopes, the sum of the slopes of each second, and where the slope
    is at a top, in order."""

    ecg: NDArray[np.float64]
    slope: NDArray[np.float64]
    totals: list[float]
    places: list[int]
    steeps: list[float]

    def tops(self, begin: int, low: int, high: int, above: float) -> list[tuple[int, float]]:
        """Those from `low` to before `high`, counted from `begin`, that are steeper than `above`."""
        first, stop = bisect_left(self.places, begin + low), bisect_left(self.places, begin + high)
        its = zip(self.places[first:stop], self.steeps[first:stop], strict=True)
        return [(place - begin, steep) for place, steep in its if steep > above]


def _stretch(ecg: NDArray[np.float64], slope: NDArray[np.float64], rate_hz: int, settings: BeatSettings) -> _Stretch:
    totals = slope.reshape(-1, rate_hz).sum(axis=1)
    middle = slope[1:-1]
    places = np.flatnonzero((middle > slope[:-2]) & (middle >= slope[2:])) + 1
    # What is a speck by the least border that either of the two seconds may have that it is looked at with.
    least = np.maximum(settings.steepness * (totals[:-1] + totals[1:]) / (2 * rate_hz), settings.least_uv)
    lower = np.full(len(totals), np.inf)
    lower[:-1] = least
    np.minimum(lower[1:], least, out=lower[1:])
    places = places[slope[places] > settings.speck * lower[places // rate_hz]]
    its: list[float] = totals.tolist()
    return _Stretch(ecg, slope, its, places.tolist(), slope[places].tolist())


def _runs(good: Sequence[bool]) -> list[tuple[int, int]]:
    """Where each run of good seconds begins, and ends."""
    edges = [place for place, (before, now) in enumerate(pairwise((False, *good, False))) if before != now]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _reaches(tops: Sequence[tuple[int, float]], first: int, before: int, steep: float, itself: bool = False) -> bool:
    """Whether one of `tops` (place, slope), in order, from the `first` to those `before` a place is steeper than
    `steep`, or as steep where `itself` counts."""
    for number in range(first, len(tops)):
        place, other = tops[number]
        if place >= before:
            return False
        if other > steep or (itself and other == steep):
            return True
    return False
