"""Breathing and heart of a simulated night: airflow, effort, SpO2 and ECG, with respiratory events of known times.

Everything slow (the breath's phase, the events' depth, the heart beats) is drawn for the whole night when the night is
made; a block of samples is then computed from it, so it is the same however it is read. What the events do to the
sensors is a `Course`: the plain one is here, one after physiology in simulator_course.py.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.simulator_hypnogram import N3, REM, WAKE
from hypnostream.stream.stages import EPOCH_S

EVENT_KINDS: Final = ("obstructive apnea", "central apnea", "hypopnea", "mixed apnea")
# By which percentage of desaturation a hypopnea counts, and whether by an arousal (AASM manual 2.6, VIII.D).
RULES: Final = {"AASM 1A": (3.0, True), "AASM 1B": (4.0, False)}
LEAST_EVENT_S, LEAST_AROUSAL_S = 10.0, 3.0
# What is left of flow and of effort during an event, in the order of EVENT_KINDS; a mixed apnea is central at first.
_FLOW_LEFT: Final = (0.03, 0.02, 0.4, 0.03)
_EFFORT_LEFT: Final = (0.8, 0.04, 0.7, 0.04)
_LUNG_TO_FINGER_S: Final = 18  # how much later the oximeter sees it
_THERMISTOR_LAG: Final = 0.4  # radians: warmth follows the air
_HEART_IN_BREATHING: Final = (0.01, 0.004, 0.02, 0.012)  # what of the heart beat each sensor of breathing sees
_BREATHS_PER_MINUTE: Final = (16.0, 15.5, 15.0, 14.5, 16.0)
_BEATS_PER_MINUTE: Final = (68.0, 64.0, 61.0, 59.0, 64.0)
# P, Q, R, S and T as bumps: centre and width in seconds from the R peak, height in millivolts.
_ECG_WAVES: Final = ((-0.17, 0.025, 0.12), (-0.03, 0.010, -0.12), (0.0, 0.011, 1.1), (0.03, 0.011, -0.25),
                     (0.28, 0.050, 0.28))  # fmt: skip


@dataclass(frozen=True, slots=True)
class RespiratoryEvent:
    """An apnea or hypopnea as it happened; `kind` is one of EVENT_KINDS, times are stream time.

    What follows it: `fall`, by how many percent saturation falls (from where it was: in a series the one before may
    not be over), and `arousal_s`, how long the arousal at its end is (0: none). Given as None both are drawn by a
    night with BreathingSettings, whose truth has them filled; a plain night leaves them None.
    """

    kind: str
    start_s: float
    duration_s: float
    fall: float | None = None
    arousal_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in EVENT_KINDS:
            raise UserError(f"respiratory event kind {self.kind!r} is none of {', '.join(EVENT_KINDS)}")
        for name, value in (("fall", self.fall), ("arousal_s", self.arousal_s)):
            if value is not None and not 0 <= value <= 60:
                raise UserError(f"{name} {value} of a {self.kind} at {self.start_s} s is not from 0 to 60")

    @property
    def end_s(self) -> float:
        """When breathing comes back."""
        return self.start_s + self.duration_s

    def counts(self, rule: str) -> bool:
        """Whether a scorer by `rule`, one of RULES, counts it: a hypopnea needs what follows it. UserError if unknown.

        An apnea needs its ten seconds only.
        """
        if rule not in RULES:
            raise UserError(f"rule {rule!r} is none of {', '.join(RULES)}")
        if self.duration_s < LEAST_EVENT_S or self.kind != "hypopnea":
            return self.duration_s >= LEAST_EVENT_S
        if self.fall is None or self.arousal_s is None:
            raise UserError(
                "the truth of a plain night does not say what follows a hypopnea; give it BreathingSettings"
            )
        least_fall, by_arousal = RULES[rule]
        return self.fall >= least_fall or (by_arousal and self.arousal_s >= LEAST_AROUSAL_S)


def draw_events(stages: NDArray[np.int8], per_hour: float, rng: np.random.Generator) -> tuple[RespiratoryEvent, ...]:
    """Events during sleep, `per_hour` of them an hour of it on average, 12 to 40 s long and never overlapping."""
    events: list[RespiratoryEvent] = []
    free_s = 60.0
    for epoch in np.flatnonzero(stages > WAKE):
        if rng.random() >= per_hour * EPOCH_S / 3600 * (0.4 if stages[epoch] == N3 else 1.1):
            continue
        start_s, duration_s = float(epoch * EPOCH_S + rng.integers(0, 20)), float(rng.integers(12, 41))
        if start_s >= free_s and start_s + duration_s < len(stages) * EPOCH_S:
            events.append(RespiratoryEvent(EVENT_KINDS[rng.choice(3, p=(0.45, 0.1, 0.45))], start_s, duration_s))
            free_s = start_s + duration_s + 30
    return tuple(events)


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What a night's events do, `rate_hz` values a second, each array (samples,) and beginning with the night.

    Gains of what each sensor shows: `nasal` pressure, `thermistor` (None: the night has none), `thorax`, `abdomen`;
    `lag`, the radians that the abdomen is behind the thorax; `fall`, the percent that saturation is lower at the
    finger; `heart`, the factor of its rate; `misread`, the percent that a moving oximeter says less (100: nothing).
    `artefact` turns times (n,) into what movement adds to the sensors of breathing (n, sensors).
    """

    rate_hz: int
    nasal: NDArray[np.float64]
    thermistor: NDArray[np.float64] | None
    thorax: NDArray[np.float64]
    abdomen: NDArray[np.float64]
    lag: NDArray[np.float64]
    fall: NDArray[np.float64]
    heart: NDArray[np.float64]
    misread: NDArray[np.float64]
    artefact: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = field(default=None, repr=False)


def breath_phase(stages: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.float64]:
    """(seconds + 30,) the breath's phase each second, in radians: a breath in begins at each whole turn.

    It is the first that BreathingSignals draws of `sleeper_numbers`.
    """
    per_second = _by_second(stages)
    uneven = np.exp(_irregular(per_second) * _slow_noise(per_second, 8, rng))
    rate_hz = np.array(_BREATHS_PER_MINUTE)[per_second] / 60 * uneven
    return np.cumsum(2 * np.pi * rate_hz)


def sleeper_numbers(seed: int) -> np.random.Generator:
    """The random numbers of the sleeper's own breathing and heart, from their beginning."""
    return np.random.default_rng((seed, 3))


class BreathingSignals:
    """Airflow, thorax, abdomen, SpO2 and ECG of one night."""

    def __init__(self, stages: NDArray[np.int8], course: Course, seed: int) -> None:
        rng = sleeper_numbers(seed)
        per_second = _by_second(stages)
        self._seed = seed
        self._course = course
        self._seconds = np.arange(len(per_second), dtype=np.float64)
        self._course_s = np.arange(len(course.nasal)) / course.rate_hz
        self._phase = breath_phase(stages, rng)
        self._depth = np.exp(2 * _irregular(per_second) * _slow_noise(per_second, 5, rng))
        base = 96.5 + 0.6 * rng.standard_normal() + 0.3 * _slow_noise(per_second, 120, rng)
        fall, misread = course.fall[:: course.rate_hz], course.misread[:: course.rate_hz]
        spo2 = np.clip(np.round(base - fall - misread, 1), 50, 100)
        self._spo2 = np.where(misread >= 100, 0.0, spo2)
        self._heart_phase = self._heart(per_second, rng)
        self._beats = np.interp(np.arange(1, int(self._heart_phase[-1])), self._heart_phase, self._seconds)

    def respiration(self, epoch: int, rate_hz: int) -> NDArray[np.float32]:
        """(30 * rate_hz, sensors) in arbitrary units of about 1: airflow, thorax and abdomen.

        With a thermistor: nasal pressure, thermistor, thorax and abdomen, the heart faintly in them.
        """
        t = epoch * EPOCH_S + np.arange(EPOCH_S * rate_hz) / rate_hz
        course = self._course
        phase, depth = (np.interp(t, self._seconds, slow) for slow in (self._phase, self._depth))
        flow, thorax, abdomen, lag = (
            np.interp(t, self._course_s, slow) for slow in (course.nasal, course.thorax, course.abdomen, course.lag)
        )
        columns = [
            depth * flow * (np.sin(phase) + 0.15 * np.sin(2 * phase)),
            -depth * thorax * np.cos(phase),
            -depth * abdomen * 0.9 * np.cos(phase - 0.15 - lag),
        ]
        if course.thermistor is not None:
            warmth = depth * np.interp(t, self._course_s, course.thermistor) * np.sin(phase - _THERMISTOR_LAG)
            columns.insert(1, warmth)
            heart = np.sin(2 * np.pi * np.interp(t, self._seconds, self._heart_phase))
            columns = [column + gain * heart for column, gain in zip(columns, _HEART_IN_BREATHING, strict=True)]
        signals = np.stack(columns, axis=1)
        if course.artefact is not None:
            signals = signals + course.artefact(t)
        noise = 0.015 * np.random.default_rng((self._seed, 4, epoch)).standard_normal(signals.shape)
        return np.asarray(signals + noise, dtype=np.float32)

    def spo2(self, epoch: int) -> NDArray[np.float32]:
        """(30, 1) oxygen saturation in percent, one sample a second."""
        return self._spo2[epoch * EPOCH_S : (epoch + 1) * EPOCH_S, None].astype(np.float32)

    def ecg(self, epoch: int, rate_hz: int) -> NDArray[np.float32]:
        """(30 * rate_hz, 1) ECG in millivolts."""
        start_s, samples = epoch * EPOCH_S, EPOCH_S * rate_hz
        near = self._beats[(self._beats > start_s - 1) & (self._beats < start_s + EPOCH_S + 1)]
        reach = np.arange(-round(0.3 * rate_hz), round(0.5 * rate_hz))
        index = np.round((near - start_s) * rate_hz).astype(int)[:, None] + reach
        after_r_s = start_s + index / rate_hz - near[:, None]
        beat = sum(height * np.exp(-0.5 * ((after_r_s - at) / width) ** 2) for at, width, height in _ECG_WAVES)
        inside = (index >= 0) & (index < samples)
        signal = 0.01 * np.random.default_rng((self._seed, 5, epoch)).standard_normal(samples)
        np.add.at(signal, index[inside], np.asarray(beat)[inside])
        return signal[:, None].astype(np.float32)

    def _heart(self, per_second: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.float64]:
        """Beats so far, each second: rate by stage, slow variability, faster as one breathes in, and by the course."""
        own = np.exp(0.1 * rng.standard_normal())
        beats_hz = np.array(_BEATS_PER_MINUTE)[per_second] / 60 * own
        beats_hz = beats_hz * np.exp(0.04 * _slow_noise(per_second, 10, rng) + 0.03 * np.sin(self._phase))
        return np.cumsum(beats_hz * self._course.heart[:: self._course.rate_hz])


def plain_course(events: tuple[RespiratoryEvent, ...], epochs: int) -> Course:
    """The course of a plain night: flow, effort and the abdomen's lag by kind of event, and a dip of SpO2."""
    seconds = (epochs + 1) * EPOCH_S
    flow, effort, paradox, dip = np.ones(seconds), np.ones(seconds), np.zeros(seconds), np.zeros(seconds)
    for event in events:
        kind = EVENT_KINDS.index(event.kind)
        start, stop = round(event.start_s), min(round(event.end_s), seconds)
        recovery = slice(stop, min(stop + 10, seconds))
        flow[start:stop], effort[start:stop] = _FLOW_LEFT[kind], _EFFORT_LEFT[kind]
        flow[recovery], effort[recovery] = 1.5, 1.4
        paradox[start:stop] = 2.5 if event.kind == "obstructive apnea" else 0.0
        if event.kind == "mixed apnea":
            effort[(start + stop) // 2 : stop], paradox[(start + stop) // 2 : stop] = _EFFORT_LEFT[0], 2.5
        # Saturation falls while the event lasts and comes back twice as fast, a circulation time later.
        depth = event.duration_s * (0.2 if event.kind == "hypopnea" else 0.3)
        shape = np.concatenate([np.linspace(0, depth, stop - start), np.linspace(depth, 0, (stop - start) // 2 + 5)])
        at = start + _LUNG_TO_FINGER_S
        room = max(0, min(len(shape), seconds - at))
        dip[at : at + room] = np.maximum(dip[at : at + room], shape[:room])
    return Course(1, flow, None, effort, effort, paradox, dip, np.ones(seconds), np.zeros(seconds))


def _by_second(stages: NDArray[np.int8]) -> NDArray[np.int8]:
    """The stage of each second, and of an epoch beyond the end."""
    return np.repeat(np.append(stages, stages[-1]), EPOCH_S)


def _irregular(per_second: NDArray[np.int8]) -> NDArray[np.float64]:
    """How unevenly one breathes."""
    return np.where(per_second == REM, 0.15, 0.05)


def _slow_noise(like: NDArray[np.int8], seconds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise at 1 Hz of about unit variance, as long as `like`, that changes over about so many seconds."""
    knots = rng.standard_normal(len(like) // seconds + 3)
    return np.asarray(np.interp(np.arange(len(like)) / seconds, np.arange(len(knots)), knots))
