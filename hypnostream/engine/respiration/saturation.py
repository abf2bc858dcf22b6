"""Which seconds of an oximeter are a person's blood: spikes and values that no longer move are unknown.

A second is settled at once, but for those of an abrupt fall: they wait until the fall is known to stay. What is
settled, and in what order, follows from the seconds alone; only when it is settled depends on the seconds after it.
"""

import math
from dataclasses import dataclass, field
from typing import Final, NamedTuple

KNOWN: Final = "known"
MISSING: Final = "missing"
SPIKE: Final = "spike"
HELD: Final = "held"


@dataclass(frozen=True, slots=True)
class SaturationSettings:
    """What is not believed, beyond what the conditioner's quality says.

    A change of more than 4 % in a second is commonly taken as an artefact (Magalang et al., Chest 2003;124:1694). But
    oximeters that report each 5 s fall so in every deep desaturation: in the 25 nights of apnea with desaturation of
    HuGCDN2014-OXI are 3708 falls of 4 % and more in a second, of which 115 are back, to within 1.5 %, in 5 s. So a fall
    is a spike only if it is back, to within `spike_back_percent`, after at most `spike_longest_s`, or ends in a loss of
    signal: the finger slipped out.

    A value that stays the same to its last digit is normal: the longest in those 62 nights is 2073 s at 98 %. Low it is
    not: the longest at `low_percent` or more below the baseline is 102 s. Past `held_s`, or `held_low_s` when low, it
    is an oximeter that repeats what it last knew, and the seconds are unknown until it moves.
    """

    spike_percent: float = 4.0
    spike_back_percent: float = 1.0
    spike_longest_s: int = 5
    held_s: int = 3600
    held_low_s: int = 120
    low_percent: float = 3.0


@dataclass(slots=True)
class SaturationState:
    """`last` is the last settled value, NaN when that second was unknown; `waiting` the seconds of an abrupt fall.

    `same` has been the oximeter's value for `same_s` seconds.
    """

    last: float = math.nan
    waiting: list[float] = field(default_factory=list)
    same: float = math.nan
    same_s: int = 0


class Settled(NamedTuple):
    """One second's saturation in percent, NaN when unknown, and why: KNOWN, MISSING, SPIKE or HELD."""

    percent: float
    why: str


def settle(state: SaturationState, percent: float, baseline: float, settings: SaturationSettings) -> list[Settled]:
    """Take one second (`percent` NaN: unknown); the seconds that this settles, in their order.

    `baseline` is the one that the last settled second had, NaN when there is none.
    """
    if math.isnan(percent):
        state.same, state.same_s = math.nan, 0
        lost = [Settled(math.nan, SPIKE)] * len(state.waiting)
        state.waiting.clear()
        state.last = math.nan
        return [*lost, Settled(math.nan, MISSING)]
    state.same_s = state.same_s + 1 if percent == state.same else 1
    state.same = percent
    if state.waiting:
        return _waited(state, percent, settings)
    low = baseline - percent >= settings.low_percent
    if state.same_s > (settings.held_low_s if low else settings.held_s):
        state.last = math.nan
        return [Settled(math.nan, HELD)]
    if state.last - percent > settings.spike_percent:
        state.waiting.append(percent)
        return []
    state.last = percent
    return [Settled(percent, KNOWN)]


def _waited(state: SaturationState, percent: float, settings: SaturationSettings) -> list[Settled]:
    """A second after an abrupt fall: it is back, it stays, or there is more to wait for."""
    if percent >= state.last - settings.spike_back_percent:
        settled = [Settled(math.nan, SPIKE)] * len(state.waiting)
    elif len(state.waiting) == settings.spike_longest_s:
        settled = [Settled(value, KNOWN) for value in state.waiting]
    else:
        state.waiting.append(percent)
        return []
    state.waiting.clear()
    state.last = percent
    return [*settled, Settled(percent, KNOWN)]
