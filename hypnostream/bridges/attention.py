"""What a live session has to look after each second, beside its results."""

import time

from hypnostream.bridges.lsl import LslSource
from hypnostream.bridges.messages import WALL_CLOCK_SET
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.shifted import ShiftedSource
from hypnostream.engine.bed import Bed
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.source import LiveSource, Notice

WALL_CLOCK_STEP_S = 1.0


class Attention:
    """A sink that tells the source when the samples are due that complete a second, as streams come and change, and
    unless the streams declare their time (`stream_clock`), the publisher how well the senders' clocks are known and
    what time of day it is.

    `source` is an LslSource, or one that was shifted; any other is left alone.
    """

    def __init__(
        self, source: LiveSource, bed: Bed, publisher: Publisher, t0_s: float, stream_clock: bool = False
    ) -> None:
        inner = source.source if isinstance(source, ShiftedSource) else source
        self._source = inner if isinstance(inner, LslSource) else None
        self._shift_s = source.shift_s if isinstance(source, ShiftedSource) else 0.0
        self._bed, self._publisher, self._t0_s = bed, publisher, t0_s
        self._stream_clock = stream_clock
        self._told_s: float | None = None

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Nothing to look after."""

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Nothing to look after."""

    def notice(self, notice: Notice) -> None:
        """Nothing to look after."""

    def heartbeat(self, now_s: float) -> None:
        """Look after it."""
        if self._source is None:
            return
        due_s = self._t0_s + self._bed.look_ahead_s
        if due_s != self._told_s:
            self._told_s = due_s
            self._source.expect(due_s - self._shift_s)
        if not self._stream_clock:
            self._publisher.utc_uncertainty_s = self._source.uncertainty_s
            self._look_at_the_wall(self._source.now_s + self._shift_s)

    def _look_at_the_wall(self, now_s: float) -> None:
        """Stream time cannot be set, but this machine's clock can: by a time server, or by a sleep of the machine."""
        offset_s = time.time() - now_s
        before_s = self._publisher.utc_offset_s
        if before_s is None or abs(offset_s - before_s) < WALL_CLOCK_STEP_S:
            return
        self._publisher.utc_offset_s = offset_s
        step_s = offset_s - before_s
        detail = f"this machine's time of day was moved by {step_s:+.1f} s against the session's"
        self._publisher.notice(Notice(WALL_CLOCK_SET, "", now_s, detail, seconds=step_s))
