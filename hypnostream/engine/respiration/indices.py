"""Running indices of a night: how often breathing failed and how low the saturation was, each with what it rests on."""

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.desaturation_events import RULE_3, RULE_4
from hypnostream.engine.respiration.event import APNEAS, DESATURATION, HYPOPNEA, KINDS, Event
from hypnostream.engine.respiration.hypoxic_burden import (
    AROUND_S,
    HypoxicBurdenSettings,
    HypoxicBurdenState,
    measure,
)
from hypnostream.engine.respiration.index import Index, Severity, burden, rate, severity, time_below
from hypnostream.engine.respiration.oximetry import Oximetry, OximetrySecond
from hypnostream.engine.respiration.rules import AASM_1A, AASM_1B, HYPOPNEA_FLOW
from hypnostream.stream.stages import EPOCH_S, STAGES, UNSCORED

# An event's rule is the strictest that it meets: a hypopnea by 1B (4 %) is one by 1A (3 % or an arousal) too.
_HYPOPNEAS: Final = {AASM_1A.name: (AASM_1A.name, AASM_1B.name), AASM_1B.name: (AASM_1B.name,)}
LOW_PERCENT: Final = 90.0


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """`level` of the intervals; `least_hours` of a denominator before a band is given (CMS NCD 240.4 asks for 2 h).

    `rule` is that of hypopneas whose index comes first and has the band.
    """

    level: float = 0.95
    rule: str = AASM_1A.name
    least_hours: float = 2.0
    burden: HypoxicBurdenSettings = field(default_factory=HypoxicBurdenSettings)


@dataclass(frozen=True, slots=True)
class Count:
    """How many events of a kind hold: `final` ones, amended included, and `preliminary` ones; withdrawn are none."""

    final: int
    preliminary: int


@dataclass(frozen=True, slots=True)
class Indices:
    """All indices at a time. `sleep_hours` are of final stages of sleep, `staged_hours` of any final stage.

    `severity` is None while its denominator is too short. `burden_events` is of how many events the hypoxic burden has
    an area. `in_wake` counts the apneas and hypopneas, of any rule, that lie in wake altogether, `without_stage` those
    that touch no sleep but an epoch without a final stage: neither counts to an index by sleep.
    """

    indices: tuple[Index, ...]
    severity: Severity | None
    counts: dict[str, Count]
    sleep_hours: float
    staged_hours: float
    recorded_hours: float
    burden_events: int
    in_wake: int
    without_stage: int

    def of(self, name: str, rule: str) -> Index:
        """The index of a name by a rule. Raises KeyError when there is none."""
        for index in self.indices:
            if (index.name, index.rule) == (name, rule):
                return index
        raise KeyError(f"no {name} by {rule}")


@dataclass(slots=True)
class IndicesState:
    """What was said so far. The lists are by epoch: its final stage, and how many of its seconds have airflow, have
    belts in its place, or have a saturation that is known, or low.

    `unmeasured` are breathing events whose saturation is still to come.
    """

    events: dict[str, Event] = field(default_factory=dict)
    stages: list[int] = field(default_factory=list)
    breathing_s: list[int] = field(default_factory=list)
    surrogate_s: list[int] = field(default_factory=list)
    saturation_s: list[int] = field(default_factory=list)
    low_s: list[int] = field(default_factory=list)
    unknown_s: int = 0
    unmeasured: list[str] = field(default_factory=list)
    burden: HypoxicBurdenState = field(default_factory=HypoxicBurdenState)


class RunningIndices:
    """Takes what was said of a bed, in the order it was said, and gives the indices of it at any time."""

    def __init__(self, t0_s: float = 0.0, settings: IndexSettings | None = None) -> None:
        self.t0_s = t0_s
        self.settings = settings or IndexSettings()
        self.state = IndicesState()

    def snapshot(self) -> IndicesState:
        """A copy of all that is remembered."""
        return _copy(self.state)

    def restore(self, state: IndicesState) -> None:
        """Go on from a snapshot."""
        self.state = _copy(state)

    def hear(self, events: Iterable[Event]) -> None:
        """Take revisions of events. The latest revision holds: one that is not newer than what is known is nothing."""
        for event in events:
            known = self.state.events.get(event.event_id)
            if known is not None and known.revision >= event.revision:
                continue
            if known is None and event.kind in (*APNEAS, HYPOPNEA):
                self.state.unmeasured.append(event.event_id)
            self.state.events[event.event_id] = replace(event, channels=())

    def stage(self, epoch: int, stage: str | None) -> None:
        """Take the final stage of an epoch, None when it has none. Raises ValueError for a name not in STAGES."""
        _put(self.state.stages, epoch, UNSCORED if stage is None else STAGES.index(stage), UNSCORED)

    def breathed(self, epoch: int, known_s: int, surrogate_s: int = 0) -> None:
        """Take how many more seconds of an epoch had airflow in which events could be seen, or belts alone in which
        surrogates could."""
        _count(self.state.breathing_s, epoch, known_s)
        _count(self.state.surrogate_s, epoch, surrogate_s)

    def saturated(self, seconds: Iterable[OximetrySecond], first: int = 0) -> None:
        """Take settled seconds of the oximeter, which count theirs from `first`."""
        for each in seconds:
            epoch = (first + each.second) // EPOCH_S
            self.state.unknown_s += each.percent is None
            _count(self.state.saturation_s, epoch, int(each.percent is not None))
            _count(self.state.low_s, epoch, int(each.percent is not None and each.percent < LOW_PERCENT))

    def measure(self, oximetry: Oximetry) -> None:
        """Take the saturation around the end of each breathing event of which it is known by now."""
        state = self.state
        events = sorted(
            (state.events[key] for key in state.unmeasured), key=lambda e: (e.end_s or math.inf, e.event_id)
        )
        state.unmeasured = []
        for event in events:
            if event.status == "withdrawn":
                continue
            if event.end_s is None or oximetry.settled_s < event.end_s + AROUND_S + 1:
                state.unmeasured.append(event.event_id)
                continue
            around = oximetry.saturation(event.end_s - AROUND_S, event.end_s + AROUND_S + 1)
            measure(state.burden, event.event_id, around, self.settings.burden)

    def indices(self) -> Indices:
        """All indices of what was said so far."""
        state, level = self.state, self.settings.level
        count = max(map(len, (state.stages, state.breathing_s, state.saturation_s)), default=0)
        stages = _filled(state.stages, count, UNSCORED)
        asleep = stages > 0
        breathing_s = _filled(state.breathing_s, count, 0)
        sleep_hours = float(breathing_s[asleep].sum()) / 3600
        recorded_hours = float(breathing_s.sum()) / 3600

        holding = [event for event in state.events.values() if event.status != "withdrawn"]
        breathing = [event for event in holding if event.kind in (*APNEAS, HYPOPNEA)]
        by_epoch: list[int] = stages.tolist()
        where = {event.event_id: self._where(event, by_epoch) for event in breathing}
        in_sleep = [event for event in breathing if where[event.event_id] == "sleep"]
        found: list[Index] = []
        for rule in sorted(_HYPOPNEAS, key=lambda name: name != self.settings.rule):
            asleep_by, all_by = ([e for e in those if _counts(e, rule)] for those in (in_sleep, breathing))
            found.append(rate("AHI", rule, asleep_by, sleep_hours, "hours of sleep", level))
            found.append(rate("REI", rule, all_by, recorded_hours, "recorded hours", level))
        surrogates = [event for event in breathing if "surrogate" in event.rule]
        surrogate_hours = sum(state.surrogate_s) / 3600
        found.append(rate("REI", "surrogate", surrogates, surrogate_hours, "recorded hours", level))
        falls = [event for event in holding if event.kind == DESATURATION]
        for rule, rules in ((RULE_3, (RULE_3, RULE_4)), (RULE_4, (RULE_4,))):
            those = [event for event in falls if event.rule in rules]
            found.append(rate("ODI", rule, those, sum(state.saturation_s) / 3600, "hours of known saturation", level))
        found.append(time_below(sum(state.low_s), sum(state.saturation_s), state.unknown_s, LOW_PERCENT))
        burdened = in_sleep if sleep_hours > 0 else breathing
        areas = [state.burden.area.get(event.event_id) for event in burdened]
        statuses = [event.status for event in burdened]
        if sleep_hours > 0:
            found.append(burden(areas, statuses, sleep_hours, "hours of sleep"))
        else:
            found.append(burden(areas, statuses, recorded_hours, "recorded hours"))
        staged = bool((stages != UNSCORED).any())
        banded = next(index for index in found if index.name == ("AHI" if staged else "REI"))
        kinds = {kind: [event for event in holding if event.kind == kind] for kind in KINDS}
        return Indices(
            indices=tuple(found),
            severity=severity(banded, self.settings.least_hours, sleep_hours, recorded_hours),
            counts={kind: _count_of(those) for kind, those in kinds.items()},
            sleep_hours=int(asleep.sum()) * EPOCH_S / 3600,
            staged_hours=int((stages != UNSCORED).sum()) * EPOCH_S / 3600,
            recorded_hours=recorded_hours,
            burden_events=len(areas) - areas.count(None),
            in_wake=list(where.values()).count("wake"),
            without_stage=list(where.values()).count("unknown"),
        )

    def _where(self, event: Event, stages: list[int]) -> str:
        """Whether any of an event is in sleep; if not, "unknown" when any of it has no final stage, else "wake"."""
        end_s = event.start_s if event.end_s is None else event.end_s
        first = max(0, math.floor((event.start_s - self.t0_s) / EPOCH_S))
        last = max(first, math.ceil((end_s - self.t0_s) / EPOCH_S) - 1)
        its = stages[first : last + 1]
        if any(stage > 0 for stage in its):
            return "sleep"
        return "unknown" if len(its) <= last - first or UNSCORED in its else "wake"


def _copy(state: IndicesState) -> IndicesState:
    """All but the events, which never change and are many."""
    return copy.deepcopy(state, {id(event): event for event in state.events.values()})


def _counts(event: Event, rule: str) -> bool:
    """Whether an apnea or hypopnea counts by a rule, or may yet; one without airflow (a surrogate) does not."""
    if "surrogate" in event.rule:
        return False
    if event.kind != HYPOPNEA or event.rule in _HYPOPNEAS[rule]:
        return True
    return event.status == "preliminary" and event.rule in (HYPOPNEA_FLOW, AASM_1A.name)


def _count_of(events: list[Event]) -> Count:
    preliminary = sum(event.status == "preliminary" for event in events)
    return Count(len(events) - preliminary, preliminary)


def _put(values: list[int], place: int, value: int, otherwise: int) -> None:
    """Set a place of a list that grows as far as it must."""
    values.extend([otherwise] * (place + 1 - len(values)))
    values[place] = value


def _count(values: list[int], place: int, more: int) -> None:
    values.extend([0] * (place + 1 - len(values)))
    values[place] += more


def _filled(values: list[int], count: int, otherwise: int) -> NDArray[np.int64]:
    return np.array(values + [otherwise] * (count - len(values)), np.int64)
