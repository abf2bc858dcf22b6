"""What happens to the breathing of a simulated night: events, what follows them, arousals and movements, all known.

Sizes are textbook ones, not measured on data here. From lung to finger 10 to 30 s, longest in heart failure (Hall et
al. 1996, Am J Respir Crit Care Med 154:376, for periodic breathing too); arousals of 3 to 15 s at the end of most
apneas, by no means all (Younes 2004, Am J Respir Crit Care Med 169:623). What the events do to the sensors is in
simulator_course.py, what arousals do to the brain in simulator_arousals.py.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.simulator_breathing import (
    EVENT_KINDS,
    LEAST_EVENT_S,
    RespiratoryEvent,
    breath_phase,
    sleeper_numbers,
)
from hypnostream.stream.simulator_breathing_truth import (
    Arousal,
    Breather,
    Breathing,
    BreathingSettings,
    Movement,
    desaturation,
)
from hypnostream.stream.simulator_hypnogram import N1, N2, N3, REM, WAKE
from hypnostream.stream.stages import EPOCH_S

_LEAST_DESATURATION: Final = 1.0  # percent; less is no dip that anyone sees
_DEPTH_BY_KIND: Final = dict(zip(EVENT_KINDS, (1.0, 0.8, 0.6, 1.1), strict=True))
_APART_S: Final = 25.0  # from an event's end to the next one's start, at least
_AWAKE_OFF_S: Final = (10, 20)  # sleep before an event and after it
_PERIODIC_RUN_S, _PERIODIC_SPELL_S = 240, 900.0
_PERIODIC_APNEA: Final = 0.4  # of a cycle
_DEEP_SLEEP: Final = 0.4  # how often events are in N3, to other sleep
_MOVES_AWAKE: Final = 6.0


def draw_breathing(
    settings: BreathingSettings,
    stages: NDArray[np.int8],
    events: tuple[RespiratoryEvent, ...] | None,
    per_hour: float,
    seed: int,
) -> tuple[tuple[RespiratoryEvent, ...], Breathing]:
    """The events, drawn unless they are given, with what follows them, and the rest of the truth."""
    rng = np.random.default_rng((seed, 7))
    asleep = np.repeat(stages, EPOCH_S)
    breather = _draw_breather(settings, rng)
    periodic: tuple[tuple[float, float], ...] = ()
    if events is None:
        periodic = _draw_spells(asleep, settings.periodic_share, rng)
        single = _draw_single(settings, stages, periodic, per_hour, seed, rng)
        events = tuple(sorted(single + _in_spells(periodic, breather), key=lambda event: event.start_s))
    events = tuple(_with_consequences(event, settings, breather, asleep, rng) for event in events)
    arousals = _draw_arousals(settings, events, asleep, rng)
    movements = _draw_movements(settings, events, asleep, rng)
    dips = tuple(
        desaturation(event, index, breather.circulation_s)
        for index, event in enumerate(events)
        if (event.fall or 0.0) >= _LEAST_DESATURATION
    )
    return events, Breathing(breather, dips, arousals, movements, periodic)


def _draw_breather(settings: BreathingSettings, rng: np.random.Generator) -> Breather:
    usual_s = rng.uniform(20, 30) if settings.periodic_share else np.clip(16 * rng.lognormal(0, 0.3), 10, 30)
    circulation_s = settings.circulation_s if settings.circulation_s is not None else float(usual_s)
    return Breather(circulation_s, float(0.25 * rng.lognormal(0, 0.25)), float(rng.uniform(0.6, 1.4)))


def _draw_spells(asleep: NDArray[np.int8], share: float, rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Stretches of light sleep, each within one run of it, that together are `share` of sleep if there are enough."""
    light = np.isin(asleep, (N1, N2)).astype(np.int8)
    edges = np.flatnonzero(np.diff(light, prepend=0, append=0)).reshape(-1, 2)
    runs = edges[edges[:, 1] - edges[:, 0] >= _PERIODIC_RUN_S]
    wanted_s, spells = share * float((asleep > WAKE).sum()), []
    for first, end in rng.permutation(runs):
        if wanted_s <= 0:
            break
        start_s = float(first) + EPOCH_S
        spells.append((start_s, min(float(end) - EPOCH_S, start_s + _PERIODIC_SPELL_S)))
        wanted_s -= spells[-1][1] - start_s
    return tuple(sorted(spells))


def _in_spells(spells: tuple[tuple[float, float], ...], breather: Breather) -> list[RespiratoryEvent]:
    """A central apnea each cycle; a cycle lasts twice the circulation and a little."""
    cycle_s = round(2 * breather.circulation_s + 10)
    apnea_s = round(_PERIODIC_APNEA * cycle_s)
    return [
        RespiratoryEvent("central apnea", float(start_s), float(apnea_s))
        for first_s, end_s in spells
        for start_s in np.arange(first_s, end_s - cycle_s, cycle_s)
    ]


def _draw_single(
    settings: BreathingSettings,
    stages: NDArray[np.int8],
    periodic: tuple[tuple[float, float], ...],
    per_hour: float,
    seed: int,
    rng: np.random.Generator,
) -> list[RespiratoryEvent]:
    """Events outside of periodic spells, from a breath's beginning to another's, `per_hour` of sleep on average."""
    per_second = np.repeat(stages, EPOCH_S)
    phase = breath_phase(stages, sleeper_numbers(seed))
    breaths_s = np.interp(2 * np.pi * np.arange(1, phase[-1] // (2 * np.pi)), phase, np.arange(len(phase)))
    likely = np.where(per_second > WAKE, np.where(per_second == N3, _DEEP_SLEEP, 1.0), 0.0)
    if per_hour <= 0 or not likely.any():
        return []
    clock = np.cumsum(likely * (likely > 0).sum() / likely.sum())  # sleep so far, N3 passing faster
    shares = np.array(settings.shares) / sum(settings.shares)
    events: list[RespiratoryEvent] = []
    # Thinning at the borders of sleep and of spells loses some: a tenth more are tried.
    pause_s = max(1.0, 3600 / (1.1 * per_hour) - _APART_S - 23.0)
    now = rng.exponential(pause_s)
    while now < clock[-1]:
        kind = EVENT_KINDS[rng.choice(len(EVENT_KINDS), p=shares)]
        at = int(np.searchsorted(clock, now))
        length_s = float(np.clip(20 * rng.lognormal(0, 0.4), 11, 60)) * (1.25 if per_second[at] == REM else 1.0)
        start_s = float(breaths_s[np.searchsorted(breaths_s, at)])
        end_s = float(breaths_s[np.searchsorted(breaths_s[:-1], start_s + length_s)])
        around = slice(max(0, int(start_s) - _AWAKE_OFF_S[0]), int(end_s) + _AWAKE_OFF_S[1])
        free = all(end_s + _APART_S < first_s or start_s > last_s + _APART_S for first_s, last_s in periodic)
        inside = around.stop <= len(per_second) and end_s - start_s >= LEAST_EVENT_S
        if inside and free and (per_second[around] > WAKE).all():
            events.append(RespiratoryEvent(kind, start_s, end_s - start_s))
            now = float(clock[min(int(end_s + _APART_S), len(clock) - 1)])
        now += rng.exponential(pause_s)
    return events


def _with_consequences(
    event: RespiratoryEvent,
    settings: BreathingSettings,
    breather: Breather,
    asleep: NDArray[np.int8],
    rng: np.random.Generator,
) -> RespiratoryEvent:
    """The event with its fall of saturation and its arousal, where they were not given."""
    rem = asleep[min(int(event.start_s), len(asleep) - 1)] == REM
    by_length = breather.fall_per_s * max(0.0, event.duration_s - 4) * _DEPTH_BY_KIND[event.kind]
    fall = float(np.clip(by_length * (1.25 if rem else 1.0) * rng.lognormal(0, 0.2), 0.3, 30))
    arousal_s = float(np.clip(3.2 + rng.gamma(2, 2), 3.2, 15))
    none, which, slight = rng.random(), rng.random(), float(rng.uniform(0.3, 2.2))
    if event.kind == "hypopnea":  # away from 3 %, so that what counts is plain
        neither = none < settings.hypopneas_without
        falls, arouses = (not neither and which < 0.8), (not neither and which > 0.35)
        fall = max(fall, 3.5) if falls else slight
    else:
        arouses = none < settings.arousals_after * (0.7 if event.kind == "central apnea" else 1.0)
    return replace(
        event,
        fall=fall if event.fall is None else event.fall,
        arousal_s=(arousal_s if arouses else 0.0) if event.arousal_s is None else event.arousal_s,
    )


def _draw_arousals(
    settings: BreathingSettings,
    events: tuple[RespiratoryEvent, ...],
    asleep: NDArray[np.int8],
    rng: np.random.Generator,
) -> tuple[Arousal, ...]:
    """Those at the end of events, and spontaneous ones well away from events."""
    ends_s = rng.uniform(-0.5, 1.5, len(events))
    arousals = [
        Arousal(event.end_s + float(off_s), event.arousal_s, index)
        for index, (event, off_s) in enumerate(zip(events, ends_s, strict=True))
        if event.arousal_s
    ]
    for start_s in _moments(asleep > WAKE, settings.spontaneous_arousals_per_hour, rng):
        around = asleep[max(0, int(start_s) - 15) : int(start_s) + 20] > WAKE
        alone = all(abs(start_s - other.start_s) > 40 for other in arousals)
        if around.all() and alone and not _near(start_s, 20.0, events, 25.0):
            arousals.append(Arousal(start_s, float(np.clip(3.2 + rng.gamma(2, 2), 3.2, 15)), None))
    return tuple(sorted(arousals, key=lambda arousal: arousal.start_s))


def _draw_movements(
    settings: BreathingSettings,
    events: tuple[RespiratoryEvent, ...],
    asleep: NDArray[np.int8],
    rng: np.random.Generator,
) -> tuple[Movement, ...]:
    """Movements asleep and awake, none from five seconds before an event to its end, and none within another."""
    movements: list[Movement] = []
    asleep_s = _moments(asleep > WAKE, settings.movements_per_hour, rng)
    for start_s in sorted(asleep_s + _moments(asleep == WAKE, _MOVES_AWAKE * settings.movements_per_hour, rng)):
        duration_s, turn = float(rng.uniform(3, 15)), bool(rng.random() < 0.3)
        shaken, lost, misread = rng.random() < 0.4, rng.random() < 0.3, float(rng.uniform(4, 15))
        free_s = movements[-1].start_s + movements[-1].duration_s if movements else 0.0
        if start_s > free_s and not _near(start_s, duration_s + 5.0, events, 1.0):
            movements.append(Movement(start_s, duration_s, turn, (100.0 if lost else misread) if shaken else 0.0))
    return tuple(movements)


def _near(start_s: float, length_s: float, events: tuple[RespiratoryEvent, ...], after_s: float) -> bool:
    """Whether a stretch touches an event or the `after_s` beyond its end."""
    return any(start_s < event.end_s + after_s and start_s + length_s > event.start_s for event in events)


def _moments(where: NDArray[np.bool_], per_hour: float, rng: np.random.Generator) -> list[float]:
    """Times, in order, in the seconds (n,) of `where`."""
    seconds = np.flatnonzero(where)
    if not len(seconds):
        return []
    drawn = rng.choice(seconds, rng.poisson(per_hour * len(seconds) / 3600))
    return [float(at) for at in np.sort(drawn + rng.random(len(drawn)))]
