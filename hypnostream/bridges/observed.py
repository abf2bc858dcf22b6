"""Each second, how things stand, for those who watch a session."""

from collections.abc import Sequence

from hypnostream.bridges.keeper import SessionKeeper
from hypnostream.bridges.overseer import Overseer, Reading
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.result_log import ResultLog
from hypnostream.engine.bed import Bed
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.source import Notice


class Observed:
    """A sink that reads the session at each heartbeat and tells `overseers`."""

    def __init__(
        self, overseers: Sequence[Overseer], bed: Bed, publisher: Publisher, keeper: SessionKeeper, log: ResultLog
    ) -> None:
        self._overseers = tuple(overseers)
        self._bed, self._publisher, self._keeper, self._log = bed, publisher, keeper, log

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """They are told themselves."""

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """They are told themselves."""

    def notice(self, notice: Notice) -> None:
        """They are told themselves."""

    def heartbeat(self, now_s: float) -> None:
        """Read, and tell."""
        if not self._overseers:
            return
        reading = Reading(
            streams=self._bed.counts,
            stalled=self._bed.stalled,
            backlog_s={name: max(0.0, now_s - reached_s) for name, reached_s in self._bed.reached_by_stream.items()},
            subscribers=self._publisher.subscribers,
            log_bytes=self._log.size,
            journal_bytes=self._keeper.journal.bytes,
        )
        for overseer in self._overseers:
            overseer.observe(reading)
