"""Breathing and heart of a simulated night: airflow, effort, SpO2 and ECG, with respiratory events of known times.

Everything slow (the breath's phase, the events' depth, the heart beats) is drawn for the whole night at 1 Hz or less
when the night is made; a block of samples is then computed from it, so it is the same however it is read.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.simulator_hypnogram import N3, REM, WAKE
from hypnostream.stream.stages import EPOCH_S

EVENT_KINDS: Final = ("obstructive apnea", "central apnea", "hypopnea")
# What is left of flow and of effort during an event, in the order of EVENT_KINDS.
_FLOW_LEFT: Final = (0.03, 0.02, 0.4)
_EFFORT_LEFT: Final = (0.8, 0.04, 0.7)
_LUNG_TO_FINGER_S: Final = 18  # how much later the oximeter sees it
_BREATHS_PER_MINUTE: Final = (16.0, 15.5, 15.0, 14.5, 16.0)
_BEATS_PER_MINUTE: Final = (68.0, 64.0, 61.0, 59.0, 64.0)
# P, Q, R, S and T as bumps: centre and width in seconds from the R peak, height in millivolts.
_ECG_WAVES: Final = ((-0.17, 0.025, 0.12), (-0.03, 0.010, -0.12), (0.0, 0.011, 1.1), (0.03, 0.011, -0.25),
                     (0.28, 0.050, 0.28))  # fmt: skip


@dataclass(frozen=True, slots=True)
class RespiratoryEvent:
    """An apnea or hypopnea as it happened; `kind` is one of EVENT_KINDS, times are stream time."""

    kind: str
    start_s: float
    duration_s: float

    def __post_init__(self) -> None:
        if self.kind not in EVENT_KINDS:
            raise UserError(f"respiratory event kind {self.kind!r} is none of {', '.join(EVENT_KINDS)}")


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


class BreathingSignals:
    """Airflow, thorax, abdomen, SpO2 and ECG of one night."""

    def __init__(self, stages: NDArray[np.int8], events: tuple[RespiratoryEvent, ...], seed: int) -> None:
        rng = np.random.default_rng((seed, 3))
        per_second = np.repeat(stages, EPOCH_S)
        self._seed = seed
        self._seconds = np.arange(len(per_second) + EPOCH_S, dtype=np.float64)  # a little beyond the end
        per_second = np.concatenate([per_second, np.full(EPOCH_S, per_second[-1])])
        irregular = np.where(per_second == REM, 0.15, 0.05)
        rate_hz = np.array(_BREATHS_PER_MINUTE)[per_second] / 60 * np.exp(irregular * _slow_noise(per_second, 8, rng))
        self._phase = np.cumsum(2 * np.pi * rate_hz)
        self._depth = np.exp(2 * irregular * _slow_noise(per_second, 5, rng))
        self._flow, self._effort, self._paradox, dip = _gains(events, len(per_second))
        base = 96.5 + 0.6 * rng.standard_normal() + 0.3 * _slow_noise(per_second, 120, rng)
        self._spo2 = np.clip(np.round(base - dip, 1), 50, 100)
        self._beats = self._heart_beats(per_second, rng)

    def respiration(self, epoch: int, rate_hz: int) -> NDArray[np.float32]:
        """(30 * rate_hz, 3) airflow, thorax and abdomen in arbitrary units of about 1."""
        t = epoch * EPOCH_S + np.arange(EPOCH_S * rate_hz) / rate_hz
        phase, depth, flow, effort, paradox = (
            np.interp(t, self._seconds, slow)
            for slow in (self._phase, self._depth, self._flow, self._effort, self._paradox)
        )
        signals = np.stack(
            [
                depth * flow * (np.sin(phase) + 0.15 * np.sin(2 * phase)),
                -depth * effort * np.cos(phase),
                -depth * effort * 0.9 * np.cos(phase - 0.15 - paradox),
            ],
            axis=1,
        )
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

    def _heart_beats(self, per_second: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.float64]:
        """Times of the R peaks: rate by stage, slow variability, and faster as one breathes in."""
        own = np.exp(0.1 * rng.standard_normal())
        beats_hz = np.array(_BEATS_PER_MINUTE)[per_second] / 60 * own
        beats_hz = beats_hz * np.exp(0.04 * _slow_noise(per_second, 10, rng) + 0.03 * np.sin(self._phase))
        heart_phase = np.cumsum(beats_hz)
        return np.asarray(np.interp(np.arange(1, int(heart_phase[-1])), heart_phase, self._seconds))


def _gains(
    events: tuple[RespiratoryEvent, ...], seconds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What the events do each second: gain of flow, gain of effort, lag of the abdomen, and the dip of SpO2."""
    flow, effort, paradox, dip = np.ones(seconds), np.ones(seconds), np.zeros(seconds), np.zeros(seconds)
    for event in events:
        kind = EVENT_KINDS.index(event.kind)
        start, stop = round(event.start_s), min(round(event.start_s + event.duration_s), seconds)
        recovery = slice(stop, min(stop + 10, seconds))
        flow[start:stop], effort[start:stop] = _FLOW_LEFT[kind], _EFFORT_LEFT[kind]
        flow[recovery], effort[recovery] = 1.5, 1.4
        paradox[start:stop] = 2.5 if event.kind == "obstructive apnea" else 0.0
        # Saturation falls while the event lasts and comes back twice as fast, a circulation time later.
        depth = event.duration_s * (0.2 if event.kind == "hypopnea" else 0.3)
        shape = np.concatenate([np.linspace(0, depth, stop - start), np.linspace(depth, 0, (stop - start) // 2 + 5)])
        at = start + _LUNG_TO_FINGER_S
        room = max(0, min(len(shape), seconds - at))
        dip[at : at + room] = np.maximum(dip[at : at + room], shape[:room])
    return flow, effort, paradox, dip


def _slow_noise(like: NDArray[np.int8], seconds: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise at 1 Hz of about unit variance, as long as `like`, that changes over about so many seconds."""
    knots = rng.standard_normal(len(like) // seconds + 3)
    return np.asarray(np.interp(np.arange(len(like)) / seconds, np.arange(len(knots)), knots))
