"""Events on the learned model's word alone, where neither airflow nor a belt tells: hysteresis and durations.

Nobody sees there whether breath stopped or was reduced, so such an event is a hypopnea at most, its rule says that it
is a surrogate, its confidence stays low and no AHI counts it. The model answers a minute late, as saturation does.
"""

from dataclasses import dataclass, replace
from typing import Final

from hypnostream.engine.respiration.event import HYPOPNEA, Event

RULE: Final = "surrogate: learned"


@dataclass(frozen=True, slots=True)
class SurrogateSettings:
    """An event begins with the first second that is believed by `begin` and more, and ends with the first under `end`.

    It is said once it has lasted `least_s`. One that lasts `longest_s` is several: it is over then, another begins.
    """

    begin: float = 0.6
    end: float = 0.4
    least_s: int = 10
    longest_s: int = 120
    most_confidence: float = 0.5


@dataclass(slots=True)
class SurrogateState:
    """The one that lasts: since second `from_s` (-1: none), the sum of what was believed, and what was said of it."""

    from_s: int = -1
    total: float = 0.0
    current: Event | None = None
    signals: tuple[str, ...] = ()
    count: int = 0


def find(
    state: SurrogateState, second: int, believed: float, signals: tuple[str, ...], settings: SurrogateSettings
) -> list[Event]:
    """The next second, with what is `believed` of it (NaN: nothing, or airflow or a belt tells), resting on `signals`.

    Events are said in seconds of the session. `state` is changed.
    """
    if state.from_s < 0:
        if believed >= settings.begin:
            state.from_s, state.total, state.signals = second, believed, signals
        return []
    over = not believed >= settings.end  # NaN is not either
    if over or second - state.from_s >= settings.longest_s:
        return ended(state, second, settings)
    state.total += believed
    state.signals = tuple(dict.fromkeys((*state.signals, *signals)))
    if state.current is None and second + 1 - state.from_s >= settings.least_s:
        state.current = _event(state, second + 1, settings)
        state.count += 1
        return [state.current]
    return []


def ended(state: SurrogateState, second: int, settings: SurrogateSettings) -> list[Event]:
    """The one that lasts is over as this second begins; what is last said of it."""
    said = []
    if state.current is not None:
        over = _event(state, second, settings)
        said = [
            replace(over, event_id=state.current.event_id, revision=1, status="final", end_s=float(second)),
        ]
    state.from_s, state.total, state.current = -1, 0.0, None
    return said


def _event(state: SurrogateState, until: int, settings: SurrogateSettings) -> Event:
    mean = state.total / (until - state.from_s)
    return Event(
        event_id=f"learned-{state.count}",
        revision=0,
        kind=HYPOPNEA,
        status="preliminary",
        start_s=float(state.from_s),
        end_s=None,
        confidence=round(min(settings.most_confidence, settings.most_confidence * mean), 3),
        rule=RULE,
        signals=state.signals,
        reason="an apnea or a hypopnea: which of them cannot be told without airflow",
    )
