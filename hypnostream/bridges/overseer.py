"""What may watch a session beside its results: metrics, logs, a service manager. All keep this one contract."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.source import Notice


class Counts(Protocol):
    """One stream in numbers since the session began: samples, and gaps in time."""

    @property
    def received(self) -> int:
        """Samples that came."""
        ...

    @property
    def lost(self) -> int:
        """Samples that were sent and did not come."""
        ...

    @property
    def duplicated(self) -> int:
        """Samples that came again."""
        ...

    @property
    def out_of_order(self) -> int:
        """Samples older than one before them."""
        ...

    @property
    def dropped(self) -> int:
        """Samples that came and were not used."""
        ...

    @property
    def gaps(self) -> int:
        """Gaps in time."""
        ...


@dataclass(frozen=True, slots=True)
class Reading:
    """What a session knows of itself at one moment; what it does not know stays out.

    `streams` by stream; `backlog_s` is how much of a stream waits to be processed; `subscribers` how many listen;
    `log_bytes` and `journal_bytes` are the sizes of the result log and of the journal on disk.
    """

    streams: Mapping[str, Counts] = field(default_factory=dict)
    stalled: Sequence[str] = ()
    backlog_s: Mapping[str, float] = field(default_factory=dict)
    subscribers: int | None = None
    log_bytes: int | None = None
    journal_bytes: int | None = None


class Overseer(Protocol):
    """Told by the session's loop what happens, in its thread. No call may wait or raise."""

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """See `bridges.run.Sink`."""
        ...

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """See `bridges.run.Sink`."""
        ...

    def heartbeat(self, now_s: float) -> None:
        """A second of the session's clock has passed."""
        ...

    def notice(self, notice: Notice) -> None:
        """Something happened to a source or to the session."""
        ...

    def observe(self, reading: Reading) -> None:
        """How things stand; about once a second."""
        ...
