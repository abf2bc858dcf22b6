"""Desaturations as events: what the oximetry found, in the words that all events have."""

from typing import Final

from hypnostream.engine.respiration.desaturation import Desaturation
from hypnostream.engine.respiration.event import DESATURATION, Event

RULE_3: Final = "ODI 3 %"
RULE_4: Final = "ODI 4 %"
# Of the preliminary desaturations of 62 real nights this share became final (HuGCDN2014-OXI).
PRELIMINARY_CONFIDENCE: Final = 0.93
# What an end is worth: a recovery proves the fall; without one it may be a new level, or a finger that slips out.
_OF_END: Final = {"recovered": 1.0, "turned": 1.0, "limit": 0.8, "lost": 0.5, "short": 0.0, "held": 0.0}
_REASONS: Final = {
    "recovered": "came back",
    "turned": "came back in part and fell again",
    "limit": "did not come back in time",
    "lost": "the oximeter was lost before it came back",
    "short": "came back too soon",
    "held": "the oximeter repeated one value",
    "": "lasts",
}


def desaturation_event(found: Desaturation, t0_s: float, deep_percent: float = 3.95) -> Event:
    """A revision of a desaturation as one of its event; its rule is the strictest that it meets.

    So one of at least 4 % counts to both indices. `deep_percent` is what counts as 4 %, less a recorder's rounding.
    The confidence of an ended one is the share of its seconds that are known, times what its end is worth.
    """
    confidence = PRELIMINARY_CONFIDENCE
    if found.end_s is not None:
        confidence = _OF_END[found.ended] * min(1.0, found.known_s / max(1, found.end_s - found.start_s))
    return Event(
        event_id=f"desaturation-{found.number}",
        revision=found.revision,
        kind=DESATURATION,
        status=found.status,
        start_s=t0_s + found.start_s,
        end_s=None if found.end_s is None else t0_s + found.end_s,
        confidence=confidence,
        rule=RULE_4 if found.depth_percent >= deep_percent else RULE_3,
        signals=("spo2",),
        reason=f"{found.depth_percent:.1f} % below {found.baseline_percent:.1f} %, {_REASONS[found.ended]}",
    )
