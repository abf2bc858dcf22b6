"""A sender's stamps on this machine's clock: its clock's offset as a smooth line, and what to do when it is set.

LSL measures the offset between two machines' clocks every few seconds, with an uncertainty of the round trip. A
weighted line through the last minute of these probes follows drift; the offset in use eases over to each new line, so
that neighbouring stamps keep their distance. Probes that are off the line are left out, unless three agree.

Not every sender stamps by the clock that LSL measures, and any clock may be set. The arrival of samples says what is
possible: the *age* of a chunk (arrival minus its last stamp) is never below that of the quickest chunks.

- Stamps leap ahead and the age stays possible: a gap. It falls below what is possible: the clock was set ahead.
- Stamps go back by over a second and the age grows by it: the clock was set back. (A stall that ends in a burst grows
  the age too, but its stamps go on where they were.)
- The very first age is impossible: stamps are not on the probed clock. They are taken by the quickest arrivals then.

A clock that is set by less than `ahead_s` or back by less than `back_s` shows in the probes only, half a minute later.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.offset_line import OffsetLine, fit_offsets


@dataclass(frozen=True, slots=True)
class SenderClockSettings:
    """`window_s` of probes make the line; the offset in use follows it within `ease_s`.

    A probe is off the line by more than `off_s` and six times its uncertainty. Stamps that leap by `ahead_s`, or go
    back by `back_s`, may be those of a clock that was set. First samples are at most `oldest_s` old.
    """

    window_s: float = 60.0
    ease_s: float = 10.0
    off_s: float = 0.05
    ahead_s: float = 0.25
    back_s: float = 1.0
    oldest_s: float = 60.0


_IRREGULAR_AHEAD_S = 2.0


@dataclass(slots=True)
class SenderClockState:
    """Arrays and numbers, and the notes.

    `probes` and `suspects` are (n, 3): when on the sender's clock, its offset, the uncertainty. `shift_s` takes stamps
    to the sender's clock, `line` from there to the local one, `ease_s` (from `ease_from_s` on) is what is left of the
    line before. `quickest_s` is the age of the quickest chunks. By arrival, `lowest_s` is the least offset that chunks
    showed since `lowest_from_s`; the sender's own probes are `spare` then.
    """

    probes: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    suspects: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    spare: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 3)))
    line: OffsetLine = field(default_factory=OffsetLine)
    shift_s: float = 0.0
    ease_s: float = 0.0
    ease_from_s: float = 0.0
    by_arrival: bool = False
    quickest_s: float = math.nan
    last_raw_s: float = math.nan
    last_s: float = math.nan
    last_arrival_s: float = math.nan
    lowest_s: float = math.inf
    lowest_from_s: float = math.nan
    jumps_s: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# By arrival: the quickest chunk of so many seconds is one probe, this uncertain.
_ARRIVALS_S = 5.0
_ARRIVAL_UNCERTAINTY_S = 0.02
# Probes that must agree to be believed against the line.
_AGREEING = 3
# What the age of the quickest chunks is allowed to grow by, in s per s: clocks that drift while nothing is probed.
_QUICKEST_GROWS = 1e-3


class SenderClock:
    """The clock of one sender of `rate_hz` (0.0: irregular). Pure: all time comes in by its methods."""

    def __init__(self, rate_hz: float, settings: SenderClockSettings | None = None) -> None:
        self.settings = settings or SenderClockSettings()
        self.period_s = 1 / rate_hz if rate_hz > 0 else 0.0
        self._seam_s = self.settings.ahead_s
        if not rate_hz > 0:  # no sample follows on another: all that tells is the age, which a busy machine may change
            self.settings = replace(self.settings, ahead_s=max(self.settings.ahead_s, _IRREGULAR_AHEAD_S))
        self.state = SenderClockState()

    @property
    def uncertainty_s(self) -> float:
        """How far off corrected stamps may be for want of a better offset; infinite before anything is known."""
        return self.state.line.uncertainty_s

    def take_jumps(self) -> list[float]:
        """By how many seconds the sender's clock was set, each time since last asked; ahead is positive."""
        jumps, self.state.jumps_s = self.state.jumps_s, []
        return jumps

    def take_notes(self) -> list[str]:
        """What was found odd about this clock since last asked, one sentence each."""
        notes, self.state.notes = self.state.notes, []
        return notes

    def probe(self, local_s: float, offset_s: float, uncertainty_s: float) -> None:
        """Take a measurement: at `local_s` the local clock was `offset_s` ahead of the sender's."""
        if not (math.isfinite(local_s) and math.isfinite(offset_s) and uncertainty_s >= 0):
            return
        if self.state.by_arrival:
            self._try_probes_again(np.array([local_s - offset_s, offset_s, uncertainty_s]))
        else:
            self._probe(np.array([local_s - offset_s, offset_s, uncertainty_s]))

    def correct(self, stamps: NDArray[np.float64], arrival_s: float) -> NDArray[np.float64]:
        """The sender's `stamps` (n,) of a chunk that came at `arrival_s`, on the local clock; NaN stays NaN."""
        corrected = np.full(len(stamps), np.nan)
        finite = np.flatnonzero(np.isfinite(stamps))
        raw = stamps[finite]
        steps = np.diff(raw)
        broken = (steps > self.period_s + self.settings.ahead_s) | (steps < -self.settings.back_s)
        ends = [*(np.flatnonzero(broken) + 1).tolist(), len(raw)] if len(raw) else []
        start = 0
        for end in ends:
            piece = raw[start:end]
            # What comes behind in the same chunk was taken after this piece.
            piece_arrival_s = arrival_s - (len(raw) - end) * self.period_s
            self._look_for_a_jump(piece, piece_arrival_s)
            corrected[finite[start:end]] = piece + self._offset(piece)
            self._note_arrival(piece, piece_arrival_s)
            start = end
        return corrected

    def _offset(self, raw: NDArray[np.float64]) -> NDArray[np.float64]:
        """To be added to `raw` stamps; a function of the stamps alone, so that repeated samples stay equal."""
        state = self.state
        shifted = raw + state.shift_s
        left = np.maximum(np.minimum(1 - (shifted - state.ease_from_s) / self.settings.ease_s, 1.0), 0.0)
        return state.shift_s + state.line.at(shifted) + state.ease_s * left

    def _offset_at(self, raw_s: float) -> float:
        state = self.state
        shifted_s = raw_s + state.shift_s
        left = max(min(1 - (shifted_s - state.ease_from_s) / self.settings.ease_s, 1.0), 0.0)
        return state.shift_s + state.line.at_time(shifted_s) + state.ease_s * left

    def _look_for_a_jump(self, raw: NDArray[np.float64], arrival_s: float) -> None:
        state, settings = self.state, self.settings
        first_s, last_s = float(raw[0]), float(raw[-1])
        age_s = arrival_s - last_s - self._offset_at(last_s)
        if math.isnan(state.last_raw_s):
            if not -settings.ahead_s <= age_s <= settings.oldest_s:
                self._go_by_arrival(last_s, arrival_s)
            return
        step_s = first_s - state.last_raw_s - self.period_s
        ahead = step_s > settings.ahead_s and age_s < state.quickest_s - settings.ahead_s
        back = step_s < -settings.back_s and age_s > state.quickest_s + settings.back_s / 2
        if not (ahead or back):
            return
        # Most likely nothing is missing at the jump; where the arrival says otherwise, it alone says what time it is.
        seamless_s = state.last_s + self.period_s - first_s
        beyond_s = arrival_s - last_s - seamless_s - state.quickest_s
        fits = abs(beyond_s) < self._seam_s
        offset_s = seamless_s if fits else arrival_s - last_s - state.quickest_s
        jump_s = self._offset_at(first_s) - offset_s
        # The offset eases in the stamps' own time, which the shift makes go on: twice, as it changes where that is.
        state.shift_s -= jump_s
        state.shift_s += offset_s - self._offset_at(first_s)
        state.jumps_s.append(jump_s)

    def _note_arrival(self, raw: NDArray[np.float64], arrival_s: float) -> None:
        state = self.state
        last_raw_s = float(raw[-1])
        last_s = last_raw_s + self._offset_at(last_raw_s)
        age_s = arrival_s - last_s
        passed_s = (
            min(max(arrival_s - state.last_arrival_s, 0.0), 10.0) if not math.isnan(state.last_arrival_s) else 0.0
        )
        grown_s = state.quickest_s + _QUICKEST_GROWS * passed_s
        state.quickest_s = age_s if math.isnan(grown_s) else min(age_s, grown_s)
        state.last_raw_s, state.last_s, state.last_arrival_s = last_raw_s, last_s, arrival_s
        if state.by_arrival:
            state.lowest_s = min(state.lowest_s, arrival_s - last_raw_s - state.shift_s)
            if arrival_s - state.lowest_from_s >= _ARRIVALS_S:
                probe = np.array([last_raw_s + state.shift_s, state.lowest_s, _ARRIVAL_UNCERTAINTY_S])
                state.lowest_s, state.lowest_from_s = math.inf, arrival_s
                # Late is what a stall makes; earlier than thought is what no network can do.
                if probe[1] < state.line.at_time(float(probe[0])) + self.settings.off_s:
                    self._probe(probe)

    def _probe(self, probe: NDArray[np.float64]) -> None:
        state = self.state
        off_s = abs(probe[1] - state.line.at_time(float(probe[0])))
        if not len(state.probes):
            self._change_line(probe[None])
        elif off_s <= max(self.settings.off_s, 6 * probe[2]):
            probes = np.concatenate((state.probes, probe[None]))
            state.probes = probes[probes[:, 0] >= probe[0] - self.settings.window_s]
            state.suspects = state.suspects[:0]
            self._ease_to(fit_offsets(state.probes))
        else:
            state.suspects = np.concatenate((state.suspects, probe[None]))[-_AGREEING:]
            if self._agree(state.suspects):
                self._change_line(state.suspects)

    def _agree(self, probes: NDArray[np.float64]) -> bool:
        near_s = max(self.settings.off_s, 6 * float(probes[:, 2].max()))
        return len(probes) >= _AGREEING and bool(np.ptp(probes[:, 1]) <= near_s)

    def _ease_to(self, line: OffsetLine) -> None:
        """Go over to `line` without a step."""
        state = self.state
        if math.isnan(state.last_raw_s):
            state.line = line
            return
        before_s = self._offset_at(state.last_raw_s)
        state.line, state.ease_s = line, 0.0
        state.ease_from_s = state.last_raw_s + state.shift_s
        state.ease_s = before_s - self._offset_at(state.last_raw_s)

    def _change_line(self, probes: NDArray[np.float64]) -> None:
        """`probes` say another offset than was used. Whom they are right about, the arrival of the samples says."""
        state = self.state
        state.probes, state.suspects = probes, state.suspects[:0]
        line = fit_offsets(probes)
        if math.isnan(state.last_raw_s):
            state.line = line
            return
        raw_s, before_s, shift_s = state.last_raw_s, self._offset_at(state.last_raw_s), state.shift_s
        state.line, state.ease_s = line, 0.0
        # The stamps are on the probed clock; or beside it as far as before; or do not follow it at all.
        shifts = (0.0, shift_s, before_s - line.at_time(raw_s + before_s - line.at_time(raw_s)))
        ages = []
        for shift in shifts:
            state.shift_s = shift
            ages.append(abs(state.last_arrival_s - raw_s - self._offset_at(raw_s) - state.quickest_s))
        chosen = next(i for i, age in enumerate(ages) if age <= min(ages) + self.settings.off_s)
        state.shift_s = shifts[chosen]
        change_s = self._offset_at(raw_s) - before_s
        if abs(change_s) <= self.settings.off_s:
            state.ease_s, state.ease_from_s = change_s * -1, raw_s + state.shift_s
        else:
            state.jumps_s.append(-change_s)

    def _go_by_arrival(self, raw_s: float, arrival_s: float) -> None:
        state = self.state
        off_s = arrival_s - raw_s - self._offset_at(raw_s)
        state.notes.append(
            f"the stamps are {off_s:.6g} s off by the measured clock offset; they are taken by their arrival instead"
        )
        state.by_arrival, state.shift_s, state.ease_s = True, 0.0, 0.0
        state.suspects = state.suspects[:0]
        state.probes = np.array([[raw_s, arrival_s - raw_s, _ARRIVAL_UNCERTAINTY_S]])
        state.line = fit_offsets(state.probes)
        state.lowest_from_s = arrival_s

    def _try_probes_again(self, probe: NDArray[np.float64]) -> None:
        """Three probes that agree with each other and with the arrivals are better than arrivals."""
        state = self.state
        state.spare = np.concatenate((state.spare, probe[None]))[-_AGREEING:]
        if math.isnan(state.last_raw_s) or not self._agree(state.spare):
            return
        line = fit_offsets(state.spare)
        age_s = state.last_arrival_s - state.last_raw_s - line.at_time(state.last_raw_s)
        if abs(age_s - state.quickest_s) < self.settings.ahead_s:
            state.notes.append("the measured clock offset fits the stamps now; it is used again")
            state.by_arrival, state.probes = False, state.spare
            state.suspects = state.spare = state.spare[:0]
            before_s = self._offset_at(state.last_raw_s)
            state.shift_s, state.line, state.ease_s = 0.0, line, 0.0
            state.ease_from_s = state.last_raw_s
            state.ease_s = before_s - self._offset_at(state.last_raw_s)
