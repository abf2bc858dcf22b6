"""A session's results as LSL streams, so that a recorder keeps them beside the signals. A process of its own.

Three streams, all irregular:

- "NAME stages": the final stage of each epoch as text, "?" where there is none;
- "NAME stage probabilities": the index of the stage in W, N1, N2, N3, R (-1 without one), and the five probabilities;
- "NAME events": each revision of an event as JSON, with `onset_s` on the clock of the stamps and `duration_s`.

A stamp is the beginning of what the sample speaks of, as an onset is in EDF+ and in every other list of annotations; so
a stage comes half a minute and more after its stamp. Stamps are on this machine's LSL clock: see `StampClock`.
"""

import json
import time
from collections.abc import Callable
from typing import Final

import pylsl

from hypnostream.bridges.client import Client
from hypnostream.bridges.messages import EpochMessage, EventMessage, Message
from hypnostream.stream.stages import STAGES, UNSCORED

TYPES: Final = ("Stages", "StageProbabilities", "Events")
NO_STAGE: Final = "?"
SAME_CLOCK_S: Final = 10.0  # a session's clock lags its samples by less; other clocks are further apart
OLD_S: Final = 60.0
RECEIVE_S: Final = 0.2
MOST_EVENTS: Final = 10_000


class StampClock:
    """From a session's stream time to this machine's LSL clock.

    Live, on the same machine, the two are the same, and nothing is added. Otherwise (a replay, streams that declare
    their own time, a session that outlived a restart of the machine, another machine's session) what was said now is
    stamped now, and everything else of that process keeps its distance from it: what comes from a replay that is faster
    than life is stamped ahead of the clock.
    """

    def __init__(self, local: Callable[[], float] = pylsl.local_clock, utc: Callable[[], float] = time.time) -> None:
        self._local, self._utc = local, utc
        self._of: str | None = None
        self._shift_s = 0.0

    def shift_s(self, message: Message) -> float:
        """What to add to stream times of this message, and of the others of its process."""
        if message.origin.boot_id == self._of:
            return self._shift_s
        age_s = self._utc() - message.time.published_utc_s
        ahead_s = self._local() - age_s - message.time.stream_s
        shift_s = 0.0 if abs(ahead_s) <= SAME_CLOCK_S else ahead_s
        if age_s <= OLD_S:  # what was asked for may be hours old, and a wall clock set since then
            self._of, self._shift_s = message.origin.boot_id, shift_s
        return shift_s


class ResultOutlets:
    """The three outlets. Their source ids depend on `name` alone, so a recorder finds them again after a restart."""

    def __init__(self, name: str, clock: StampClock | None = None) -> None:
        self._clock = StampClock() if clock is None else clock
        self._stages = _outlet(name, "stages", TYPES[0], ("stage",), "string")
        numbers = ("stage", *(f"p_{stage.lower()}" for stage in STAGES))
        self._probabilities = _outlet(name, "stage probabilities", TYPES[1], numbers, "float32")
        self._events = _outlet(name, "events", TYPES[2], ("event",), "string")
        self._session = ""
        self._next_epoch = 0
        self._revisions: dict[str, int] = {}

    def have_consumers(self) -> bool:
        """Whether each of them has a reader."""
        return all(outlet.have_consumers() for outlet in (self._stages, self._probabilities, self._events))

    def publish(self, message: Message) -> None:
        """Pass on a final stage or an event; other messages, and what was passed on before, are no samples."""
        shift_s = self._clock.shift_s(message)
        if message.origin.session_id != self._session:
            self._session, self._next_epoch = message.origin.session_id, 0
            self._revisions.clear()
        if isinstance(message, EpochMessage):
            self._stage(message, shift_s)
        elif isinstance(message, EventMessage):
            self._event(message, shift_s)

    def _stage(self, message: EpochMessage, shift_s: float) -> None:
        if message.status == "preliminary" or message.epoch < self._next_epoch:
            return
        self._next_epoch = message.epoch + 1
        stamp_s = _stamp(message.t_start_s + shift_s)
        p = message.probabilities
        code = UNSCORED if message.stage is None else STAGES.index(message.stage)
        self._stages.push_sample([message.stage or NO_STAGE], stamp_s)
        self._probabilities.push_sample([float(code), p.w, p.n1, p.n2, p.n3, p.r], stamp_s)

    def _event(self, message: EventMessage, shift_s: float) -> None:
        if message.revision <= self._revisions.get(message.event_id, -1):
            return
        if len(self._revisions) >= MOST_EVENTS:
            del self._revisions[next(iter(self._revisions))]
        self._revisions[message.event_id] = message.revision
        onset_s = _stamp(message.t_start_s + shift_s)
        said = {
            "event": message.event,
            "absent_reason": message.absent_reason,
            "onset_s": onset_s,
            "duration_s": None if message.t_end_s is None else message.t_end_s - message.t_start_s,
            "confidence": message.confidence,
            "event_id": message.event_id,
            "revision": message.revision,
            "status": message.status,
            "rule": message.rule or "",
            "signals": list(message.signals or ()),
            "reason": message.reason or "",
        }
        self._events.push_sample([json.dumps(said, ensure_ascii=False)], onset_s)


def bridge_lsl(
    client: Client, name: str, announce: Callable[[str], None], stop: Callable[[], bool] = lambda: False
) -> None:
    """Pass on what `client` receives until `stop` says so."""
    outlets = ResultOutlets(name)
    announce(f"LSL streams '{name} stages', '{name} stage probabilities' and '{name} events' are there to be recorded")
    heard = ""
    while not stop():
        message = client.receive(RECEIVE_S)
        if message is None:
            continue
        if message.origin.session_id != heard:
            heard = message.origin.session_id
            announce(f"session {heard} is passed on")
        outlets.publish(message)


def _outlet(name: str, what: str, stream_type: str, channels: tuple[str, ...], number: str) -> pylsl.StreamOutlet:
    # Recorders need a source id to find a stream again; liblsl keeps six minutes of it for those that lag.
    info = pylsl.StreamInfo(
        f"{name} {what}", stream_type, len(channels), 0.0, number, f"hypnostream-{name}-{what.replace(' ', '-')}"
    )
    description = info.desc()
    description.append_child_value("results_of", name)  # who stages what is there must not take these for signals
    labels = description.append_child("channels")
    for label in channels:
        labels.append_child("channel").append_child_value("label", label)
    return pylsl.StreamOutlet(info)


def _stamp(at_s: float) -> float:
    """LSL takes a stamp of 0.0 for "now" and -1.0 for "one sample later"."""
    return at_s + 1e-9 if at_s in (0.0, -1.0) else at_s
