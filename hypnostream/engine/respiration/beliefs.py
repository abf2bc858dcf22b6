"""The rules' events with what the learned model believes of them, and its own where neither airflow nor a belt tells.

The rules decide what is an event and when it is one; the model moves its confidence, no more: on people it was no
better a judge of their events than they are (docs/results.md). `reason` says what the model believed.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bundle import Bundle, GraphSpec
from hypnostream.engine.respiration import surrogate
from hypnostream.engine.respiration.event import APNEAS, HYPOPNEA, Event
from hypnostream.engine.respiration.learned import (
    EVENT_LATE,
    LearnedBreathing,
    LearnedState,
    answered_by,
    answers_of,
    belief,
)
from hypnostream.engine.respiration.lifecycle import joined
from hypnostream.engine.respiration.session import Seen
from hypnostream.engine.respiration.surrogate import SurrogateSettings, SurrogateState
from hypnostream.engine.respiration.tick_inputs import LATE_S, TICK_S, TICK_SENSORS, tick_inputs

_ALONE: Final = ("spo2", "heart")  # what tells where nothing of breathing itself does, a bit each
_PLACES: Final = [TICK_SENSORS.index(name) for name in _ALONE]
_BITS: Final = 1 << np.arange(len(_ALONE))
_KEPT_S: Final = 120


@dataclass(slots=True)
class BeliefState:
    """All that is remembered. `alone` (120,) has for second s at s % 120 the sensors that told alone, as bits."""

    learned: LearnedState
    surrogate: SurrogateState = field(default_factory=SurrogateState)
    alone: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(_KEPT_S, np.uint8))


class Beliefs:
    """The pure processing of one bed's model; seconds count from the first that came."""

    def __init__(self, learned: LearnedBreathing, settings: SurrogateSettings | None = None) -> None:
        self._learned = learned
        self._settings = settings or SurrogateSettings()

    def fresh(self) -> BeliefState:
        """The state before the first second."""
        return BeliefState(self._learned.fresh())

    def take(
        self,
        state: BeliefState,
        seen: Seen,
        heart: NDArray[np.float64],
        log_power: NDArray[np.float64],
        events: Sequence[Event],
        begin_s: float,
    ) -> tuple[list[Event], NDArray[np.bool_]]:
        """The next seconds, n: what was `seen` in them, `heart` (n, 3) rate, usual interval and cyclic share,
        `log_power` (n, 3) of the EEG, NaN unknown; and the rules' `events` of them. Second 0 began at `begin_s`.

        Returns what is said, and in which seconds (n,) the model alone can tell.
        """
        numbers, mask = tick_inputs(
            seen.left, seen.phase, seen.percent, seen.baseline, heart[:, 0], heart[:, 1], heart[:, 2], log_power
        )
        bits = np.where(seen.told_by != 0, 0, mask[:, _PLACES] @ _BITS).astype(np.uint8)
        first = state.learned.next_second
        seconds = np.arange(first, first + len(bits))
        # What a tick in these seconds, or one still to come, may say is of seconds that lie a minute back.
        before = state.alone[np.arange(max(0, first - LATE_S - TICK_S), first) % _KEPT_S]
        state.alone[seconds % _KEPT_S] = bits
        self._learned.take(state.learned, numbers, mask)
        speaks = bool(bits.any() or before.any() or state.surrogate.from_s >= 0)
        if not (speaks or any(map(_is_weighed, events))):
            return list(events), bits > 0
        self._learned.answer(state.learned)
        said, done = list[Event](), 0
        for now, until in enumerate(seen.events, first + 1):
            said += [self._weighed(state, event, begin_s, now) for event in events[done:until]]
            done = until
            if speaks and now % TICK_S == 0:
                said += in_stream_time(self._surrogates(state, now), begin_s)
        return said, bits > 0

    def finish(self, state: BeliefState, events: Sequence[Event], begin_s: float) -> list[Event]:
        """The recording ended: the rules' last events, and the model's own that lasts."""
        now = state.learned.next_second
        self._learned.answer(state.learned)
        until = max(0, answered_by(now) - LATE_S)
        said = [self._weighed(state, event, begin_s, now) for event in events]
        return [*said, *in_stream_time(surrogate.ended(state.surrogate, until, self._settings), begin_s)]

    def _surrogates(self, state: BeliefState, now: int) -> list[Event]:
        """What follows from the last five answers when `now` seconds had come; they are of seconds a minute ago."""
        said: list[Event] = []
        answers = answers_of(state.learned, now - TICK_S, now, now)[:, EVENT_LATE].tolist()
        for second, answer in enumerate(answers, now - TICK_S - LATE_S):
            if second >= 0:
                bits = int(state.alone[second % _KEPT_S])
                signals = tuple(name for bit, name in enumerate(_ALONE) if bits >> bit & 1)
                believed = answer if bits else math.nan
                said += surrogate.find(state.surrogate, second, believed, signals, self._settings)
        return said

    def _weighed(self, state: BeliefState, event: Event, begin_s: float, now: int) -> Event:
        """An event by the rules with the confidence that rules and model had together when `now` seconds had come."""
        if not _is_weighed(event):
            return event
        end_s = begin_s + now if event.end_s is None else event.end_s
        believed = belief(state.learned, event.start_s - begin_s, end_s - begin_s, now)
        if believed is None:
            return event
        reason = joined(event.reason, f"learned model {believed:.2f}")
        return replace(event, confidence=round(together(event.confidence, believed), 3), reason=reason)


def beliefs_of(bundle: Bundle, runner: Callable[[GraphSpec], Backend] | None = None) -> Beliefs | None:
    """Those by a bundle's model of breathing, None where it has none. `runner` gives what runs a graph; none:
    onnxruntime. Raises UserError for a graph that does not run."""
    tick, ticks = bundle.content.tick, bundle.content.ticks
    if tick is None:
        return None
    if runner is None:
        many = None if ticks is None else OnnxBackend(bundle, ticks, keeps_memory=True)
        return Beliefs(LearnedBreathing(tick, OnnxBackend(bundle, tick), many))
    return Beliefs(LearnedBreathing(tick, runner(tick), None if ticks is None else runner(ticks)))


def _is_weighed(event: Event) -> bool:
    """An apnea or hypopnea that holds, by what airflow says."""
    return event.kind in (*APNEAS, HYPOPNEA) and event.status != "withdrawn" and "surrogate" not in event.rule


def together(by_rule: float, believed: float) -> float:
    """One confidence of two: the rule's, halved where the model believes nothing of it."""
    return by_rule * (1 + believed) / 2


def in_stream_time(events: Sequence[Event], begin_s: float) -> list[Event]:
    """Events of a session's seconds, of which second 0 began at `begin_s`."""
    return [
        replace(event, start_s=begin_s + event.start_s, end_s=None if event.end_s is None else begin_s + event.end_s)
        for event in events
    ]
