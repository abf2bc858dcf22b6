"""The loop that drives a bed: read, wait, push, say. Live and replay are this loop with another clock and source."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hypnostream.engine.bed import Bed
from hypnostream.engine.results import StageResult
from hypnostream.stream.clock import Clock, VirtualClock
from hypnostream.stream.source import Chunk, Source, StreamInfo

READ_S = 0.2  # how long one read may wait, in seconds of the session,
LEAST_READ_S = 0.005  # but at least so long on the wall, or a fast session would only ask and never sleep
HEARTBEAT_S = 1.0


class Sink(Protocol):
    """Where results go: the publisher, the table, a progress bar."""

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """A result, said at stream time `now_s`, `latency_s` on the wall after the last sample that it waited for."""
        ...

    def heartbeat(self, now_s: float) -> None:
        """A second of the session's clock has passed."""
        ...


@dataclass(slots=True)
class Outcome:
    """What a run said and what it took. `final` holds the final results, in order."""

    final: list[StageResult] = field(default_factory=list)
    provisional: int = 0
    end_s: float = 0.0
    read_s: float = 0.0
    bed_s: float = 0.0
    wall_s: float = 0.0
    model_s: float = 0.0

    def timings(self) -> dict[str, float]:
        """Seconds by name, for the summary."""
        return {
            "wall_s": self.wall_s,
            "reading_s": self.read_s,
            "processing_s": self.bed_s,
            "of_which_model_s": self.model_s,
        }


def reached_s(chunks: Sequence[Chunk], streams: Sequence[StreamInfo]) -> float:
    """Stream time that these chunks reach: the last stamp of all, and one period of the fastest stream.

    The period of a slow stream would be a claim on a time of which the others have not yet spoken.
    """
    last_s = max(float(chunk.timestamps[-1]) for chunk in chunks)
    fastest_hz = max(info.rate_hz for info in streams)
    return last_s + (1.0 / fastest_hz if fastest_hz > 0 else 0.0)


def run(
    source: Source,
    bed: Bed,
    clock: Clock,
    sinks: Sequence[Sink],
    first: Sequence[Chunk] = (),
    stop: Callable[[], bool] = lambda: False,
    replay: bool = False,
) -> Outcome:
    """Drive `bed` from `source` until it is exhausted or `stop` says so; close what is open; say how it went.

    `first` are chunks that were read already (a live session learns its t0 from them). A `replay` waits for the
    clock to reach the end of what was read before it is processed, as it would have arrived in life.
    """
    outcome, started = Outcome(), time.perf_counter()
    virtual = isinstance(clock, VirtualClock)  # no one waits where time stands still, so there is no latency
    next_beat_s = clock.now() + HEARTBEAT_S
    pending = list(first)
    while (pending or not source.exhausted) and not stop():
        at = time.perf_counter()
        chunks, pending = (pending, []) if pending else (source.read(max(clock.wall_s(READ_S), LEAST_READ_S)), [])
        outcome.read_s += time.perf_counter() - at
        if replay and chunks:
            clock.wait_until(reached_s(chunks, source.streams))
        arrived = time.perf_counter()
        bed.push(chunks)
        results = bed.advance(clock.now())
        outcome.bed_s += time.perf_counter() - arrived
        # A sample that is here proves that it is so late; a live clock, set after the first ones came, lags a little.
        now_s = max(clock.now(), bed.reached_s)
        _say(results, sinks, now_s, None if virtual else arrived, outcome)
        if now_s >= next_beat_s:
            for sink in sinks:
                sink.heartbeat(now_s)
            next_beat_s = max(next_beat_s + HEARTBEAT_S, now_s)  # for a minute between two reads one sign is enough
    arrived = time.perf_counter()
    outcome.end_s = bed.reached_s
    if replay and source.duration_s is not None and not stop():
        outcome.end_s = source.start_s + source.duration_s
    results = bed.finish(outcome.end_s)
    outcome.bed_s += time.perf_counter() - arrived
    _say(results, sinks, max(clock.now(), outcome.end_s), None if virtual else arrived, outcome)
    outcome.wall_s = time.perf_counter() - started
    return outcome


def _say(
    results: Sequence[StageResult], sinks: Sequence[Sink], now_s: float, arrived: float | None, outcome: Outcome
) -> None:
    for result in results:
        outcome.model_s += result.compute_s
        if result.final:
            outcome.final.append(result)
        else:
            outcome.provisional += 1
        latency_s = None if arrived is None else time.perf_counter() - arrived
        for sink in sinks:
            sink.publish(result, now_s, latency_s)
