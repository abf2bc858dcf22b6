"""What is said of breathing: an event and its revisions, before they become messages, rows or pictures."""

from dataclasses import dataclass
from typing import Final, Literal

from hypnostream.engine.results import ChannelState

OBSTRUCTIVE_APNEA: Final = "obstructive_apnea"
CENTRAL_APNEA: Final = "central_apnea"
MIXED_APNEA: Final = "mixed_apnea"
APNEA: Final = "apnea"  # of no type that could be known: no effort belt was there
HYPOPNEA: Final = "hypopnea"
DESATURATION: Final = "desaturation"
AROUSAL: Final = "arousal"
APNEAS: Final = (OBSTRUCTIVE_APNEA, CENTRAL_APNEA, MIXED_APNEA, APNEA)
KINDS: Final = (*APNEAS, HYPOPNEA, DESATURATION, AROUSAL)

Status = Literal["preliminary", "final", "amended", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Event:
    """One revision of an event; the latest `revision` of an `event_id` holds.

    `kind` is one of KINDS; times are stream seconds, `end_s` None while it lasts. It is preliminary while it may still
    change, then final; a final one that later evidence changes is amended; withdrawn is one that was none.
    `rule` names what it was decided by ("AASM 1A", "AASM 1B", "ODI 3 %", or one of ours with "surrogate" in its name),
    `signals` the channels that it rests on, `reason` a clause for people. `confidence` is from 0 to 1. `channels` says
    what state the sensors of breathing were in while it lasted, as far as it was seen by this revision.
    """

    event_id: str
    revision: int
    kind: str
    status: Status
    start_s: float
    end_s: float | None
    confidence: float
    rule: str
    signals: tuple[str, ...]
    reason: str = ""
    channels: tuple[ChannelState, ...] = ()

    @property
    def duration_s(self) -> float | None:
        """How long it was, None while it lasts."""
        return None if self.end_s is None else self.end_s - self.start_s
