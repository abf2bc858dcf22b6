"""What events, arousals and movements do to the sensors of breathing, to saturation and to the heart.

Effort goes on against a closed airway, growing, with the abdomen opposite to the thorax; it ceases in a central
apnea; a mixed one is first the one and then the other (AASM manual 2.6, VIII.C). The heart slows in an event and
hurries when it ends: cyclical variation of heart rate (Guilleminault et al. 1984, Lancet 323:126).
"""

import itertools
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.simulator_breathing import Course, RespiratoryEvent
from hypnostream.stream.simulator_breathing_truth import REGAIN_TAU_S, Breathing, Movement, desaturation
from hypnostream.stream.stages import EPOCH_S

COURSE_HZ: Final = 4
_SLOWER: Final = {"obstructive apnea": 0.10, "central apnea": 0.04, "hypopnea": 0.04, "mixed apnea": 0.10}
_FASTER: Final = {"obstructive apnea": 0.16, "central apnea": 0.08, "hypopnea": 0.07, "mixed apnea": 0.16}
_FASTER_BY_AROUSAL: Final = 0.10
_HEART_PEAK_S: Final = 4.0  # how long after an event's end the heart is fastest
_DEEPER_TAU_S: Final = 6.0  # how soon the deep breaths after an event are over
_AFTER_S, _FELT_S = 40.0, 120.0  # so long after an event's end breaths are deeper, heart and saturation other
# Movement in nasal pressure, thermistor, thorax and abdomen, root mean square, where a breath has about 0.7.
_MOVEMENT: Final = np.array([0.7, 0.4, 2.0, 1.6])
_MOVEMENT_HZ, _MOVEMENT_TONES = (0.2, 4.0), 8


def draw_course(events: tuple[RespiratoryEvent, ...], breathing: Breathing, epochs: int, seed: int) -> Course:
    """The course of a night whose truth these are; it is the same for the same seed."""
    rng = np.random.default_rng((seed, 8))
    samples = (epochs + 1) * EPOCH_S * COURSE_HZ
    t = np.arange(samples) / COURSE_HZ
    nasal, thermistor, thorax, abdomen, heart = (np.ones(samples) for _ in range(5))
    lag, fall, misread = (np.zeros(samples) for _ in range(3))
    deeper = [rng.uniform(0.15, 0.4) if event.kind == "hypopnea" else rng.uniform(0.3, 0.8) for event in events]
    for event, deep in zip(events, deeper, strict=True):
        after = _part(t, event.end_s, event.end_s + _AFTER_S)
        breaths = 1 + deep * np.exp(-(t[after] - event.end_s) / _DEEPER_TAU_S)
        for gain in (nasal, thermistor, thorax, abdomen):
            gain[after] *= breaths
    for start_s, end_s in breathing.periodic:
        _wax_and_wane(t, [e for e in events if start_s <= e.start_s < end_s], (nasal, thermistor, thorax, abdomen))
    for index, event in enumerate(events):
        during = _part(t, event.start_s, event.end_s)
        left, effort, behind = _during(event, t[during], rng)
        nasal[during], thermistor[during] = left, left**0.6 if event.kind == "hypopnea" else left + 0.02
        thorax[during], abdomen[during], lag[during] = effort, effort * rng.uniform(0.85, 1.15), behind
        felt = _part(t, event.start_s, event.end_s + _FELT_S)
        dip = _fall(event, index, breathing.breather.circulation_s, t[felt])
        fall[felt] = np.maximum(fall[felt], dip)
        heart[felt] *= _heart(event, breathing.breather.heart_response, t[felt])
    for arousal in breathing.arousals:
        if arousal.event is None:
            after = _part(t, arousal.start_s, arousal.start_s + _AFTER_S)
            since_s = t[after] - arousal.start_s
            heart[after] *= 1 + _FASTER_BY_AROUSAL * breathing.breather.heart_response * _hurry(since_s)
            nasal[after] *= 1 + 0.3 * np.exp(-since_s / _DEEPER_TAU_S)
    lying = np.ones((4, samples))
    for movement in breathing.movements:
        end_s = movement.start_s + movement.duration_s
        misread[_part(t, movement.start_s, end_s + rng.uniform(2, 6))] = movement.misread
        turned = np.exp(np.array([0.12, 0.12, 0.25, 0.25]) * rng.standard_normal(4))
        if movement.turn:
            lying[:, t >= end_s] = turned[:, None]
    for gain, factor in zip((nasal, thermistor, thorax, abdomen), lying, strict=True):
        gain *= factor
    artefact = _artefact(breathing.movements, seed)
    return Course(COURSE_HZ, nasal, thermistor, thorax, abdomen, lag, fall, heart, misread, artefact)


def _part(t: NDArray[np.float64], start_s: float, end_s: float) -> slice:
    """The samples from `start_s` to before `end_s`."""
    return slice(*(int(at) for at in np.searchsorted(t, (start_s, end_s))))


def _during(
    event: RespiratoryEvent, t: NDArray[np.float64], rng: np.random.Generator
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """What is left of nasal pressure, and at each time `t` of the event the gain of effort and the abdomen's lag."""
    place = (t - event.start_s) / event.duration_s
    left, still, behind = rng.uniform(0.01, 0.05), rng.uniform(0.02, 0.06), rng.uniform(2.3, 3.0)
    growing = rng.uniform(0.5, 0.7) + rng.uniform(0.3, 0.5) * place
    if event.kind == "central apnea":
        return left, np.full(len(t), still), np.zeros(len(t))
    if event.kind == "mixed apnea":
        obstructed = place > rng.uniform(0.35, 0.6)
        return left, np.where(obstructed, growing, still), np.where(obstructed, behind, 0.0)
    if event.kind == "obstructive apnea":
        return left, growing, np.full(len(t), behind)
    left, central = rng.uniform(0.25, 0.6), rng.random() < 0.15
    effort, behind = (left, 0.0) if central else (rng.uniform(0.55, 0.9), rng.uniform(0.5, 1.6))
    return left, np.full(len(t), effort), np.full(len(t), behind)


def _fall(event: RespiratoryEvent, index: int, circulation_s: float, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much the event has lowered saturation at the finger: evenly to the nadir, back as breathing clears it."""
    dip = desaturation(event, index, circulation_s)
    falling = np.clip((t - dip.start_s) / (dip.nadir_s - dip.start_s), 0, 1)
    regained = np.exp(-np.maximum(t - dip.nadir_s, 0) / REGAIN_TAU_S)
    return np.asarray(dip.fall * falling * regained)


def _heart(event: RespiratoryEvent, response: float, t: NDArray[np.float64]) -> NDArray[np.float64]:
    """The factor of heart rate: ever slower until the event ends, then faster, more so when it wakes the sleeper."""
    place = (t - event.start_s) / event.duration_s
    slower = np.where((place >= 0) & (place < 1), place, 0.0) * _SLOWER[event.kind]
    faster = _FASTER[event.kind] + (_FASTER_BY_AROUSAL if event.arousal_s else 0.0)
    return np.asarray(1 - response * slower + response * faster * _hurry(t - event.end_s))


def _hurry(since_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """0 before, 1 at the peak, and gone half a minute later."""
    peaks = np.maximum(since_s, 0) / _HEART_PEAK_S
    return np.asarray(peaks * np.exp(1 - peaks))


def _wax_and_wane(
    t: NDArray[np.float64], apneas: list[RespiratoryEvent], gains: tuple[NDArray[np.float64], ...]
) -> None:
    """Between the apneas of a periodic spell breathing swells and fades; in place."""
    for one, following in itertools.pairwise(apneas):
        between = _part(t, one.end_s, following.start_s)
        swell = np.sin(np.pi * (t[between] - one.end_s) / (following.start_s - one.end_s))
        for gain in gains:
            gain[between] = 0.1 + 1.3 * swell


def _artefact(movements: tuple[Movement, ...], seed: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What movements add to the four sensors, (n, 4), at times (n,): slow tones at random, swelling and fading."""

    def at(t: NDArray[np.float64]) -> NDArray[np.float64]:
        added = np.zeros((len(t), len(_MOVEMENT)))
        for index, movement in enumerate(movements):
            within = _part(t, movement.start_s, movement.start_s + movement.duration_s)
            if within.start == within.stop:
                continue
            rng = np.random.default_rng((seed, 9, index))
            since_s = t[within, None, None] - movement.start_s
            tones_hz = rng.uniform(*_MOVEMENT_HZ, (len(_MOVEMENT), _MOVEMENT_TONES))
            phases = rng.uniform(0, 2 * np.pi, tones_hz.shape)
            tones = np.sin(2 * np.pi * tones_hz * since_s + phases).sum(axis=2) * np.sqrt(2 / _MOVEMENT_TONES)
            added[within] += _MOVEMENT * tones * np.sin(np.pi * since_s[:, 0] / movement.duration_s)
        return added

    return at
