"""A ward in numbers, as its loop tells them: stored and no more, for whoever asks in another thread."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from hypnostream.bridges.spread import Spread
from hypnostream.bridges.tally import Health, Tally
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.source import Notice

BEAT_S: Final = 1.0
SILENT_S: Final = 60.0  # a loop that did not beat for so long hangs; hundreds of beds that begin at once hold it up
STARTING_S: Final = 900.0  # until its first beat it loads models, for which TensorRT may build engines
MOST_NAMED: Final = 64  # beds or files in one list


class WardHealth(msgspec.Struct, frozen=True):
    """What a supervisor is told of a ward: it is `alive` while its loop beats, whatever befalls its beds.

    Seconds are on the wall. Of beds: how many are `wanted`, how many `running`; the names of those that have no session
    on, of those whose session hangs, and of those with a stream that stalled; and the `refused` files. MOST_NAMED of
    each.
    """

    alive: bool
    state: str  # "starting", "running", "ending", "hanging"
    heartbeat_age_s: float | None
    behind_s: float
    wanted: int
    running: int
    waiting: tuple[str, ...]
    hanging: tuple[str, ...]
    stalled: tuple[str, ...]
    refused: tuple[str, ...]
    reason: str = ""


class WardTally:
    """A sink of the ward's loop (see `bridges.run.Sink`), and what else the loop says of itself, once a second."""

    def __init__(self, wall: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._made = wall, wall()
        self._beat: float | None = None
        self._late_s = 0.0
        self.turns = Spread()
        self.notices: Counter[str] = Counter()
        self.wanted, self.ending = 0, False
        self.refused: tuple[str, ...] = ()
        self.beds: Mapping[str, Tally] = {}

    def stands(self, beds: Mapping[str, Tally], wanted: int, refused: Sequence[str], ending: bool) -> None:
        """The beds at work by their names, how many there are to be, which files are wrong, whether it is to end."""
        self.beds, self.wanted, self.refused, self.ending = beds, wanted, tuple(refused), ending

    def heartbeat(self, now_s: float) -> None:
        """The loop is alive."""
        now = self._wall()
        self._late_s = 0.0 if self._beat is None else max(0.0, now - self._beat - BEAT_S)
        self._beat = now

    def notice(self, notice: Notice) -> None:
        """Counted by its kind."""
        self.notices[notice.kind] += 1

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """A ward has no results of its own."""

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Nor events."""

    @property
    def behind_s(self) -> float:
        """By how much the last beat came late, or the next is."""
        return self._late_s if self._beat is None else max(self._late_s, self._wall() - self._beat - BEAT_S)

    def health(self) -> WardHealth:
        """How the ward does; see `WardHealth`."""
        now, beat = self._wall(), self._beat
        silent_s = now - (self._made if beat is None else beat)
        state = "ending" if self.ending else "starting" if beat is None else "running"
        reason = ""
        if silent_s > (STARTING_S if beat is None else SILENT_S):
            state, reason = "hanging", f"no sign of life for {silent_s:.0f} s"
        beds = {name: tally.health() for name, tally in self.beds.items()}
        return WardHealth(
            alive=not reason,
            state=state,
            heartbeat_age_s=None if beat is None else silent_s,
            behind_s=self.behind_s,
            wanted=self.wanted,
            running=sum(health.state == "running" for health in beds.values()),
            waiting=_named(beds, lambda health: health.state in ("waiting", "starting")),
            hanging=_named(beds, lambda health: not health.alive),
            stalled=_named(beds, lambda health: bool(health.stalled)),
            refused=self.refused[:MOST_NAMED],
            reason=reason,
        )


def _named(beds: Mapping[str, Health], wanted: Callable[[Health], bool]) -> tuple[str, ...]:
    return tuple(sorted(name for name, health in beds.items() if wanted(health))[:MOST_NAMED])
