"""Arousals as evidence: which the EEG told of in the last minutes, and when it was there to tell."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hypnostream.engine.respiration.event import AROUSAL, Event

HISTORY_S: Final = 300
# The manual asks that an arousal belongs to the event and gives no seconds: it may begin a little before the breath.
BEFORE_END_S: Final = 3.0
AFTER_END_S: Final = 5.0


@dataclass(slots=True)
class ArousalMemory:
    """`starts` has the onset of each arousal that holds, by its id; second s of `known` lies at s % HISTORY_S."""

    t0_s: float = 0.0
    next_second: int = 0
    starts: dict[str, float] = field(default_factory=dict)
    known: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(HISTORY_S, bool))

    def tell(self, events: Sequence[Event], known: bool) -> None:
        """What the EEG said with the next second. The heart's surrogates are no arousals by rule."""
        for event in events:
            if event.status == "withdrawn":
                self.starts.pop(event.event_id, None)
            elif event.kind == AROUSAL and "surrogate" not in event.rule:
                self.starts[event.event_id] = event.start_s
        self.known[self.next_second % HISTORY_S] = known
        self.next_second += 1
        oldest_s = self.t0_s + self.next_second - HISTORY_S
        for event_id in [event_id for event_id, start_s in self.starts.items() if start_s < oldest_s]:
            del self.starts[event_id]

    def arousal_near(self, t_s: float) -> bool | None:
        """Whether one began at the end `t_s` of an event; None when none did as far as was seen, and not all was."""
        first_s, last_s = t_s - BEFORE_END_S, t_s + AFTER_END_S
        if any(first_s <= start_s <= last_s for start_s in self.starts.values()):
            return True
        seconds = np.arange(int(first_s - self.t0_s), int(last_s - self.t0_s) + 1)
        seconds = seconds[seconds >= max(0, self.next_second - HISTORY_S)]
        if not len(seconds) or seconds[-1] >= self.next_second or not self.known[seconds % HISTORY_S].all():
            return None
        return False
