"""One index: a rate or a share of a night, with its rule, its numerator, its hours and how uncertain it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hypnostream.engine.respiration.event import Event
from hypnostream.engine.respiration.poisson import poisson_interval

# Events an hour from which a band begins.
BANDS: Final = (("normal", 0.0), ("mild", 5.0), ("moderate", 15.0), ("severe", 30.0))
_NORMAL_95: Final = 1.959964

Denominator = Literal["hours of sleep", "recorded hours", "hours of known saturation"]


@dataclass(frozen=True, slots=True)
class Index:
    """A rate or a share with all that it rests on; `value`, `low` and `high` are None where there is no denominator.

    `numerator` is of final and amended events, `preliminary` how many more may yet count. `unit` is that of `value`.
    `low` to `high` is, of events an hour, the exact Poisson interval: what the count alone leaves open, not whether the
    events are right, nor other nights. Of a hypoxic burden it is normal, from the areas of its events as a compound
    Poisson sum; of a time below 90 %, what it would be if all the unknown seconds were above, or below.
    """

    name: str
    rule: str
    unit: str
    numerator: float
    hours: float
    denominator: Denominator
    value: float | None
    low: float | None
    high: float | None
    preliminary: int = 0


@dataclass(frozen=True, slots=True)
class Severity:
    """The band of an index, with both denominators; `low` and `high` are the bands of its interval's ends, the upper
    one with all that may yet count.
    """

    band: str
    low: str
    high: str
    index: Index
    sleep_hours: float
    recorded_hours: float


def rate(name: str, rule: str, events: Sequence[Event], hours: float, denominator: Denominator, level: float) -> Index:
    """Events an hour, of those that hold, with the exact Poisson interval of `level`."""
    sure = sum(event.status != "preliminary" for event in events)
    low, high = poisson_interval(sure, level)
    return Index(
        name=name,
        rule=rule,
        unit="/h",
        numerator=float(sure),
        hours=hours,
        denominator=denominator,
        value=sure / hours if hours > 0 else None,
        low=low / hours if hours > 0 else None,
        high=high / hours if hours > 0 else None,
        preliminary=len(events) - sure,
    )


def time_below(below_s: int, known_s: int, unknown_s: int, percent: float) -> Index:
    """The share of the known time below a saturation, its numerator in hours; the interval is of the unknown time."""
    all_s = known_s + unknown_s
    return Index(
        name=f"T{percent:.0f}",
        rule=f"SpO2 below {percent:.0f} %",
        unit="%",
        numerator=below_s / 3600,
        hours=known_s / 3600,
        denominator="hours of known saturation",
        value=100 * below_s / known_s if known_s else None,
        low=100 * below_s / all_s if known_s else None,
        high=100 * (below_s + unknown_s) / all_s if known_s else None,
    )


def burden(areas: Sequence[float | None], statuses: Sequence[str], hours: float, denominator: Denominator) -> Index:
    """Hypoxic burden of events with these areas in %min, None where there is none, in %min/h.

    None when no area is known although there were events. The variance of a compound Poisson sum is estimated by the
    sum of the squares, so the interval is of 95 %.
    """
    sure = [area for area, status in zip(areas, statuses, strict=True) if status != "preliminary" and area is not None]
    unseen = not sure and any(status != "preliminary" for status in statuses)
    there = hours > 0 and not unseen
    total, half = sum(sure), _NORMAL_95 * math.sqrt(sum(area**2 for area in sure))
    return Index(
        name="hypoxic burden",
        rule="Azarbarzin 2019, causal window",
        unit="%min/h",
        numerator=total,
        hours=hours,
        denominator=denominator,
        value=total / hours if there else None,
        low=max(0.0, total - half) / hours if there else None,
        high=(total + half) / hours if there else None,
        preliminary=list(statuses).count("preliminary"),
    )


def severity(index: Index, least_hours: float, sleep_hours: float, recorded_hours: float) -> Severity | None:
    """The band of an AHI or REI, None when it has no value or its hours are fewer than `least_hours`."""
    if index.value is None or index.low is None or index.high is None or index.hours < least_hours:
        return None
    high = index.high + index.preliminary / index.hours
    return Severity(_band(index.value), _band(index.low), _band(high), index, sleep_hours, recorded_hours)


def _band(per_hour: float) -> str:
    return [name for name, least in BANDS if per_hour >= least][-1]
