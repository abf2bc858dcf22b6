"""Events of breathing for the tests of what is written of them."""

from typing import Any

from hypothesis import strategies as st

from hypnostream.engine.respiration.event import KINDS, Event

RULES = ("AASM 1A", "AASM 1B", "ODI 3 %", "effort surrogate")
SIGNALS = ("flow", "thorax", "abdomen", "spo2")


def event(event_id: str = "e1", **fields: Any) -> Event:
    """An obstructive apnea from 100 s to 121.5 s that is final, but for what is given."""
    given: dict[str, Any] = {
        "revision": 0,
        "kind": "obstructive_apnea",
        "status": "final",
        "start_s": 100.0,
        "end_s": 121.5,
        "confidence": 0.75,
        "rule": "AASM 1A",
        "signals": ("flow", "thorax"),
        "reason": "flow fell by 96 % for 21 s",
    }
    return Event(event_id=event_id, **given | fields)


# As a detector may say them: confidences that float32 holds, an end or none.
events = st.builds(
    Event,
    event_id=st.text("abcdef0123456789-", min_size=1, max_size=12),
    revision=st.integers(0, 50),
    kind=st.sampled_from(KINDS),
    status=st.sampled_from(("preliminary", "final", "amended", "withdrawn")),
    start_s=st.floats(0, 1e6).map(lambda value: round(value, 3)),
    end_s=st.none() | st.floats(1e6, 2e6).map(lambda value: round(value, 3)),
    confidence=st.floats(0, 1, width=32),
    rule=st.sampled_from(RULES),
    signals=st.lists(st.sampled_from(SIGNALS), max_size=4, unique=True).map(tuple),
    reason=st.text(max_size=60),
)
