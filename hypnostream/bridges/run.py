"""The loop that drives a bed by its steps, and says what follows. Live, replay and recovery differ in steps alone."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hypnostream.bridges.messages import ANNOTATION
from hypnostream.bridges.sayable import sayable
from hypnostream.engine.asking import Asking
from hypnostream.engine.bed import Bed
from hypnostream.engine.bed_state import Said
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.clock import Clock, VirtualClock
from hypnostream.stream.source import Annotation, Chunk, LiveSource, Notice, Source, Step, StreamInfo

READ_S = 0.2  # how long one read may wait, in seconds of the session,
LEAST_READ_S = 0.005  # but at least so long on the wall, or a fast session would only ask and never sleep
HEARTBEAT_S = 1.0
CATCH_UP_S = 0.5  # on the wall: what was sent while this process stood still is here by then


class Sink(Protocol):
    """Where results go: the publisher, the table, a progress bar."""

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """A result, said at stream time `now_s`, `latency_s` on the wall after the samples that it waited for came."""
        ...

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """A revision of an event of breathing, said likewise."""
        ...

    def notice(self, notice: Notice) -> None:
        """Something happened to a source or to the session."""
        ...

    def heartbeat(self, now_s: float) -> None:
        """A second of the session's clock has passed."""
        ...


class Keeper(Protocol):
    """Who can take the session up again after it was killed."""

    @property
    def failing(self) -> bool:
        """Whether the disk did not take something, which is tried again with each heartbeat."""
        ...

    def before(self, step: Step) -> None:
        """A step is about to be processed."""
        ...

    def epoch_closed(self, bed: Bed, now_s: float) -> None:
        """What the step said was published, and an epoch is final."""
        ...


@dataclass(slots=True)
class Outcome:
    """What a run said and what it took. `final` holds the final results, `events` all revisions, in order."""

    final: list[StageResult] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
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


def replay_steps(source: Source, clock: Clock) -> Iterator[Step]:
    """What a recording holds, as it would have arrived: each stretch when `clock` reaches its end."""
    while not source.exhausted:
        chunks = source.read(max(clock.wall_s(READ_S), LEAST_READ_S))
        if chunks:
            clock.wait_until(reached_s(chunks, source.streams))
        yield Step(clock.now(), tuple(chunks))


class LiveSteps:
    """What comes from a live source, as steps of the session's clock; a step may be asked for each `wait_s`, or sooner.

    If this process, or the machine, stood still, no one knows at once that nothing came meanwhile: what was sent may
    still be on its way from the reader. Until that had time to come, time has not passed. Of many beds each waits
    `patience` times as long.
    """

    def __init__(self, source: LiveSource, clock: Clock, patience: float = 1.0) -> None:
        self._source, self._clock = source, clock
        self.wait_s = patience * max(clock.wall_s(READ_S), LEAST_READ_S)
        # In seconds of the session, in which the catching up is counted:
        self._a_wall_second = 1 / clock.wall_s(1.0) if clock.wall_s(1.0) else 0.0
        self._known_s = self._before_s = clock.now()
        self._caught_up_s = -math.inf

    def take(self, wait_s: float) -> Step:
        """What came since the last one; waits up to `wait_s` on the wall for the first of it."""
        arrivals = self._source.take(wait_s)
        now_s = self._clock.now()
        if now_s - self._before_s > (self.wait_s + CATCH_UP_S) * self._a_wall_second:
            self._caught_up_s = now_s + CATCH_UP_S * self._a_wall_second
        if now_s >= self._caught_up_s:
            self._known_s = now_s
        self._before_s = now_s
        return Step(self._known_s, tuple(arrivals), self._source.here_s)


def live_steps(source: LiveSource, clock: Clock) -> Iterator[Step]:
    """What comes, as it comes, until the source is exhausted."""
    steps = LiveSteps(source, clock)
    while not source.exhausted:
        yield steps.take(steps.wait_s)


class DrivenBed:
    """A bed and what is done around each of its steps: it is written down before, and what follows is said after.

    Alone it is driven by `take`; among many by `begin`, whose work someone does, and `say`, one step at a time.
    `timed`: results come when they can, so how late they are can be told. `outcome` is gone on with where given.
    """

    def __init__(
        self,
        bed: Bed,
        sinks: Sequence[Sink],
        timed: bool = True,
        keeper: Keeper | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        self.bed, self.sinks, self.outcome = bed, sinks, outcome or Outcome()
        self._timed, self._keeper = timed, keeper
        self._step, self._began, self._here_s = Step(0.0), 0.0, 0.0
        self._next_beat_s: float | None = None

    def take(self, step: Step) -> None:
        """All of a step."""
        self._write_down(step)
        self.say(self.bed.step(step))

    def take_all(self, steps: Iterable[Step], stop: Callable[[], bool] = lambda: False) -> None:
        """Take steps until there are none, or `stop` says so."""
        started = time.perf_counter()
        coming = iter(steps)
        while not stop():
            at = time.perf_counter()
            step = next(coming, None)
            self.outcome.read_s += time.perf_counter() - at
            if step is None:
                break
            self.take(step)
        self.outcome.wall_s += time.perf_counter() - started

    def begin(self, step: Step) -> Asking[Said]:
        """The work of a step, for someone who puts together what beds ask for."""
        self._write_down(step)
        return self.bed.asking(step)

    def is_kept(self, said: Said) -> bool:
        """Whether `say` waits for a disk: it does with all but provisional stages."""
        lasting = said.events or said.notices or said.annotations or any(result.final for result in said.results)
        return bool(lasting) or (self._keeper is not None and self._keeper.failing)

    def say(self, said: Said) -> None:
        """Tell the sinks what the work came to. Any thread may, one at a time."""
        step, bed = self._step, self.bed
        self.outcome.bed_s += time.perf_counter() - self._began
        # A sample that is here proves that it is so late; a live clock, set after the first ones came, lags a little.
        now_s = max(step.now_s, bed.reached_s)
        _say(said, self.sinks, now_s, self._here_s if self._timed else None, self.outcome)
        if self._keeper is not None and any(result.final for result in said.results):
            self._keeper.epoch_closed(bed, step.now_s)
        if self._next_beat_s is None:
            self._next_beat_s = step.now_s + HEARTBEAT_S if self._timed else now_s
        if now_s >= self._next_beat_s:
            for sink in self.sinks:
                sink.heartbeat(now_s)
            # For a minute between two reads one sign is enough.
            self._next_beat_s = max(self._next_beat_s + HEARTBEAT_S, now_s)

    def _write_down(self, step: Step) -> None:
        self._step, self._began = step, time.perf_counter()
        self._here_s = time.monotonic() if step.here_s is None else step.here_s
        if self._keeper is not None:
            self._keeper.before(step)


def run(
    source: Source,
    bed: Bed,
    clock: Clock,
    sinks: Sequence[Sink],
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Replay `source` on `bed` until it is exhausted or `stop` says so; close what is open; say how it went."""
    # No one waits where time stands still, so there is no latency.
    timed = not isinstance(clock, VirtualClock)
    outcome = drive(replay_steps(source, clock), bed, sinks, stop, timed)
    end_s = bed.reached_s
    if source.duration_s is not None and not stop():
        end_s = source.start_s + source.duration_s
    finish(bed, sinks, outcome, end_s, max(clock.now(), end_s), timed)
    return outcome


def drive(
    steps: Iterable[Step],
    bed: Bed,
    sinks: Sequence[Sink],
    stop: Callable[[], bool] = lambda: False,
    timed: bool = True,
    keeper: Keeper | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """Take steps until there are none, or `stop` says so, and tell the sinks what the bed says of each.

    `timed`, `keeper` and `outcome` are as for `DrivenBed`.
    """
    driven = DrivenBed(bed, sinks, timed, keeper, outcome)
    driven.take_all(steps, stop)
    return driven.outcome


def finish(bed: Bed, sinks: Sequence[Sink], outcome: Outcome, end_s: float, now_s: float, timed: bool = True) -> None:
    """No step comes any more: close everything up to the epoch in which stream time `end_s` lies."""
    started, asked_s = time.perf_counter(), time.monotonic()
    outcome.end_s = end_s
    said = bed.end(end_s)
    said.notices += bed.losses()
    outcome.bed_s += time.perf_counter() - started
    _say(said, sinks, now_s, asked_s if timed else None, outcome)
    outcome.wall_s += time.perf_counter() - started


def _say(said: Said, sinks: Sequence[Sink], now_s: float, here_s: float | None, outcome: Outcome) -> None:
    outcome.annotations += said.annotations
    marks = [Notice(ANNOTATION, a.origin, a.onset_s, a.text, seconds=a.duration_s) for a in said.annotations]
    for notice in map(sayable, (*said.notices, *marks)):
        for sink in sinks:
            sink.notice(notice)
    for result in said.results:
        outcome.model_s += result.compute_s
        if result.final:
            outcome.final.append(result)
        else:
            outcome.provisional += 1
        latency_s = None if here_s is None else max(0.0, time.monotonic() - here_s)
        for sink in sinks:
            sink.publish(result, now_s, latency_s)
    outcome.events += said.events
    for event in said.events:
        latency_s = None if here_s is None else max(0.0, time.monotonic() - here_s)
        for sink in sinks:
            sink.event(event, now_s, latency_s)
