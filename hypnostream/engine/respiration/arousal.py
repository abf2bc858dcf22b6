"""Arousals out of one EEG, as they happen: an abrupt shift to faster frequencies in sleep, and the chin's in REM.

The AASM Manual asks for a shift that includes alpha, theta or more than 16 Hz (no spindles), 3 s or longer, after at
least 10 s of sleep, and in REM for more chin EMG for at least 1 s. People see such shifts; the numbers here are ours,
and so is the rule's name. In each second the power from 16 to 30 Hz, or to a lesser part from 8 to 11 Hz, is held
against that of 1 to 4 Hz, and both against the median of the sleep before (bands as in De Carli et al., Clin
Neurophysiol 1999;110:1607, who compare the short with the long run). Theta alone is not looked for: one EEG does not
tell it from the sleep of a drowsy person.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.event import AROUSAL, Event
from hypnostream.engine.respiration.windows import last_windows
from hypnostream.stream.stages import STAGES

RULE: Final = "ours: EEG frequency shift"
_REM: Final = STAGES.index("R")
_WAKE: Final = STAGES.index("W")
_BANDS_HZ: Final = ((1.0, 4.0), (8.0, 11.5), (16.5, 30.5))  # slow, alpha, fast; from and to before
_EMG: Final = len(_BANDS_HZ)  # its column
_WORTH_S: Final = 5  # fewer seconds are judged one by one: together they cost more
_AFTER_S: Final = 3  # the background ends this long before the second in question: so long is an arousal at least


@dataclass(frozen=True, slots=True)
class ArousalSettings:
    """When a shift is an arousal. Shifts are natural logarithms of power against the background.

    `shift` is what the mean of 3 s must reach, and each of them `each` of it; it lasts until a second has less than
    that. `slow` is the weight of 1 to 4 Hz in it, `alpha` that of 8 to 11 Hz beside the faster. The background is the
    last `background_s` of sleep outside of arousals, of which the `sleep_s` before an onset must be without a gap.
    `emg` is the rise of the chin's power that counts. `longest_s`: an arousal that lasts longer is an awakening.

    The threshold is where the one raw night at hand (UCDDB 022, 3.8 h of sleep) has 14 arousals an hour, as many as
    people commonly score. No arousals that people scored were at hand. Stretches of 3, 5 and 10 s of a person's Wake
    put into the same person's sleep are found in 57, 66 and 81 % (that night) and 56, 79 and 85 % (all of UCDDB,
    mostly N3). Breathing events there say nothing: 0 of the night's 23 that could be judged, nearly all of them
    central hypopneas, end within 5 s of an arousal, 5 % of other moments do.
    """

    shift: float = 1.3
    each: float = 0.5
    slow: float = 0.5
    alpha: float = 0.6
    background_s: int = 30
    sleep_s: int = 10
    emg: float = 1.4
    longest_s: int = 30
    most_confidence: float = 0.6


@dataclass(frozen=True, slots=True)
class ArousalEvidence:
    """What the EEG says at the end of `second`: `shift` and `emg_rise` (NaN where unknown), and `confidence`, from 0
    to 1, that an arousal is in progress (0 when none is)."""

    second: int
    shift: float
    emg_rise: float
    confidence: float


@dataclass(slots=True)
class ArousalState:
    """The last `background_s` + 3 seconds, oldest first, and the arousal that lasts."""

    next_second: int
    power: NDArray[np.float64]  # (seconds, 4) logarithms: slow, alpha, fast, chin
    stable: NDArray[np.bool_]  # (seconds,) good, asleep, and no part of an arousal
    shifts: NDArray[np.float64]  # (3,) NaN where unknown
    rises: NDArray[np.float64]  # (3,) the chin's
    background: NDArray[np.float64]  # (4,) the median of the sleep before, NaN where there is too little
    tail: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))  # half a second of EEG; empty after a gap
    count: int = 0
    current: Event | None = None
    peak: float = 0.0
    rise: float = math.nan  # the chin's largest since the onset


class ArousalDetector:
    """Pure processing of one EEG at `rate_hz` (100 as the stager has it), second by second."""

    def __init__(
        self, settings: ArousalSettings = ArousalSettings(), rate_hz: int = 100, signals: tuple[str, ...] = ("eeg",)
    ) -> None:
        self.settings, self.rate_hz, self.signals = settings, rate_hz, signals
        self._least = settings.each * settings.shift
        # The transform as a matrix: of the 22 frequencies alone that count.
        hz = np.fft.rfftfreq(rate_hz, 1 / rate_hz)
        bands = np.stack([(hz >= low) & (hz < high) for low, high in _BANDS_HZ], axis=1)
        used = bands.any(axis=1)
        angle = 2 * np.pi * hz[used] * np.arange(rate_hz)[:, None] / rate_hz
        waves = np.concatenate((np.cos(angle), np.sin(angle)), axis=1)
        self._waves = np.hanning(rate_hz + 1)[:-1, None] * waves  # (rate, 2 frequencies)
        self._bands = np.concatenate((bands[used], bands[used])).astype(np.float64)  # (2 frequencies, 3)

    def fresh(self) -> ArousalState:
        """The state before the first second."""
        count = self.settings.background_s + _AFTER_S
        return ArousalState(
            next_second=0,
            power=np.full((count, _EMG + 1), np.nan),
            stable=np.zeros(count, np.bool_),
            shifts=np.full(_AFTER_S, np.nan),
            rises=np.full(_AFTER_S, np.nan),
            background=np.full(_EMG + 1, np.nan),
        )

    def advance(
        self, state: ArousalState, eeg: NDArray[np.float32] | None, stage: int, emg: NDArray[np.float32] | None = None
    ) -> tuple[ArousalEvidence, list[Event]]:
        """The next second: `eeg` (rate,) in µV or None where it is not good, chin `emg` (any rate,) likewise.

        `stage` is what is known of it as it ends: an index into STAGES, negative for unknown, which is not sleep.
        An arousal is said once 3 s of it are there, as preliminary, and final when it is over. `state` is changed.
        Raises ValueError for a second of another rate.
        """
        good = np.array([eeg is not None])
        eegs = np.zeros((1, self.rate_hz), np.float32) if eeg is None else eeg[None]
        power = self.powers(state, eegs, good)[0]
        if emg is not None:
            power[_EMG] = math.log(float(np.square(emg, dtype=np.float64).mean()) + 0.01)
        return self.judge(state, power, stage)

    def powers(self, state: ArousalState, eeg: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The next seconds' logarithms of power in µV² (n, 4), each of the second and the one half a second earlier.

        `eeg` is (n, rate) in µV, `good` (n,); NaN where that is not, and where the chin belongs. Each is to be given to
        `judge` in turn. Raises ValueError for seconds of another rate.
        """
        if eeg.shape[1:] != (self.rate_hz,):
            raise ValueError(f"a second of EEG has shape {eeg.shape[1:]}, ({self.rate_hz},) was due")
        half = self.rate_hz // 2
        windows = np.zeros((len(eeg), 2, self.rate_hz))
        windows[:, 0] = eeg
        windows[1:, 1, :half], windows[:, 1, half:] = eeg[:-1, -half:], eeg[:, :-half]
        follows = np.append(len(state.tail) > 0, good[:-1])
        if follows[0]:
            windows[0, 1, :half] = state.tail
        # Products of the same shape for each second: the same sums in the same order whatever n is.
        spectrum = np.square(np.matmul(windows, self._waves))
        density = np.where(follows[:, None], (spectrum[:, 0] + spectrum[:, 1]) / 2, spectrum[:, 0])
        power = np.full((len(eeg), _EMG + 1), np.nan)
        power[:, :_EMG] = np.log(np.matmul(density[:, None], self._bands)[:, 0] + 1.0)
        power[~good] = np.nan
        state.tail = windows[-1, 0, -half:].copy() if good[-1] else np.zeros(0)
        return power

    def judge_all(self, state: ArousalState, power: NDArray[np.float64], stage: int) -> list[list[Event]]:
        """The next seconds, all of one stage, by their `power` (n, 4): of each what `judge` says of it."""
        said: list[list[Event]] = []
        while len(said) < len(power):
            if len(power) - len(said) >= _WORTH_S:
                said += [[] for _ in range(self._quiet(state, power[len(said) :], stage))]
            stirs = True
            while stirs and len(said) < len(power):
                said.append(self.judge(state, power[len(said)], stage)[1])
                lasts = state.current is not None or bool(state.shifts[-1] >= self._least)
                stirs = lasts or len(power) - len(said) < _WORTH_S
        return said

    def _quiet(self, state: ArousalState, power: NDArray[np.float64], stage: int) -> int:
        """Take those of the next seconds by their `power` (n, 4) before the first in which an arousal could be said;
        how many they are. They are judged together, which is cheaper."""
        if state.current is not None:
            return 0
        count, kept = len(power), len(state.power)
        powers = np.concatenate((state.power, power))
        stable = np.concatenate((state.stable, (power[:, 0] == power[:, 0]) & (stage > _WAKE)))
        # Of each second those before it that are its background, by size; what is not stable is NaN and last.
        length, its = kept - _AFTER_S, slice(1, count + kept - _AFTER_S)
        held = np.where(stable[its], powers[its].T, np.nan)
        before = np.sort(last_windows(held, count, length), axis=2)  # (4, n, length)
        passed = np.concatenate(([0], np.cumsum(stable[its])))
        seen = passed[length:] - passed[:-length]
        background = before[:, np.arange(count), np.minimum(seen // 2, length - 1)].T
        background[seen < self.settings.sleep_s] = np.nan
        slow, alpha, fast, chin = (power - background).T
        shifts = np.append(state.shifts, np.maximum(fast, self.settings.alpha * alpha) - self.settings.slow * slow)
        high = shifts >= self._least  # NaN is not
        stirs = high[1:-2] & high[2:-1] & high[3:]
        quiet = int(stirs.argmax()) if stirs.any() else count
        if quiet:
            state.power, state.stable = powers[quiet : quiet + kept].copy(), stable[quiet : quiet + kept].copy()
            state.shifts = shifts[quiet : quiet + _AFTER_S].copy()
            state.rises = np.append(state.rises, chin)[quiet : quiet + _AFTER_S]
            state.background = background[quiet - 1].copy()
            state.next_second += quiet
        return quiet

    def judge(self, state: ArousalState, power: NDArray[np.float64], stage: int) -> tuple[ArousalEvidence, list[Event]]:
        """The next second by its `power` (4,); see `advance`."""
        second = state.next_second
        shift, rise = self._shift(state, power)
        state.power[:-1] = state.power[1:]
        state.power[-1] = power
        _, *shifts = state.shifts.tolist()
        _, *rises = state.rises.tolist()
        state.shifts[:], state.rises[:] = (*shifts, shift), (*rises, rise)
        state.stable[:-1] = state.stable[1:]
        state.stable[-1] = power[0] == power[0] and stage > _WAKE
        state.next_second += 1
        said = self._go_on(state, state.current, second, shift) if state.current else self._begin(state, second, stage)
        confidence = self._confidence(state) if state.current else 0.0
        return ArousalEvidence(second, shift, rise, confidence), said

    def _shift(self, state: ArousalState, power: NDArray[np.float64]) -> tuple[float, float]:
        """How far this second is from the sleep before: of the EEG, and of the chin. NaN where either is unknown."""
        settings = self.settings
        if state.current is None:  # while one lasts, what was before it stays the background
            before = slice(1, 1 - _AFTER_S)  # this second is not in the ring yet
            stable = state.power[before][state.stable[before]]
            state.background[:] = np.nan
            if len(stable) >= settings.sleep_s:
                state.background[:] = np.sort(stable, axis=0)[len(stable) // 2]
        slow, alpha, fast, chin = (power - state.background).tolist()
        return max(fast, settings.alpha * alpha) - settings.slow * slow, chin

    def _begin(self, state: ArousalState, second: int, stage: int) -> list[Event]:
        """An arousal that has lasted for 3 s."""
        settings, least = self.settings, self._least
        if not state.shifts[-1] >= least:  # NaN is not either
            return []
        if not (state.shifts.min() >= least and state.shifts.mean() >= settings.shift):
            return []
        state.rise = _largest(state.rises)
        rem = stage == _REM
        if rem and state.rise < settings.emg:  # the chin may follow, so this may yet become one
            return []
        asleep = bool(state.stable[-_AFTER_S - settings.sleep_s : -_AFTER_S].all())
        state.stable[-_AFTER_S:] = False
        if not asleep:
            return []
        state.peak = float(state.shifts.mean())
        signals = self.signals if math.isnan(state.rise) else (*self.signals, "emg")
        without_chin = rem and math.isnan(state.rise)
        state.current = Event(
            event_id=f"arousal-{state.count}",
            revision=0,
            kind=AROUSAL,
            status="preliminary",
            start_s=float(second + 1 - _AFTER_S),
            end_s=None,
            confidence=0.0,
            rule=RULE,
            signals=signals,
            reason="in REM without a chin EMG" if without_chin else "",
        )
        state.current = replace(state.current, confidence=self._confidence(state))
        state.count += 1
        return [state.current]

    def _go_on(self, state: ArousalState, current: Event, second: int, shift: float) -> list[Event]:
        """Whether it is over with this second, and if so, its last revision."""
        settings = self.settings
        state.stable[-1] = False
        too_long = second + 1 - current.start_s >= settings.longest_s
        if shift >= self._least and not too_long:
            state.peak = max(state.peak, float(state.shifts.mean()))
            state.rise = _largest(np.append(state.rises[-1:], state.rise))
            return []
        over = replace(
            current,
            revision=1,
            status="final",
            end_s=float(second + 1 if too_long else second),
            confidence=self._confidence(state),
            reason="; ".join(filter(None, (current.reason, self._why(shift, too_long)))),
        )
        state.current = None
        return [over]

    def _why(self, shift: float, too_long: bool) -> str:
        if too_long:
            return f"{self.settings.longest_s} s and longer: an awakening"
        return "its end is not known, the EEG is missing" if math.isnan(shift) else ""

    def _confidence(self, state: ArousalState) -> float:
        """0.3 for a shift that just suffices, more for a clearer one and for a chin that rises with it."""
        settings = self.settings
        value = 0.3 + 0.2 * min(max(state.peak / settings.shift - 1, 0.0), 1.0)
        if state.rise >= settings.emg:
            value += 0.1
        if state.current is not None and state.current.reason:
            value *= 0.5
        return min(value, settings.most_confidence)


def _largest(rises: NDArray[np.float64]) -> float:
    known = rises[~np.isnan(rises)]
    return float(known.max()) if len(known) else math.nan
