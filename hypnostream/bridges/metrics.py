"""A session in numbers: for Prometheus at /metrics, for a supervisor at /health.

The loop only stores what it is told; what is served is put together when someone asks, in the endpoint's thread.
Labels are names of streams and channels and the kinds of notices; nothing in them says who sleeps here.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Self

import msgspec

from hypnostream import __version__
from hypnostream.bridges.http_endpoint import HttpEndpoint, Page
from hypnostream.bridges.messages import SESSION_ENDED
from hypnostream.bridges.overseer import Reading
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.source import READER_RESTARTED, Notice

if TYPE_CHECKING:
    from prometheus_client.core import Metric

DEFAULT_ADDRESS = "127.0.0.1:9464"
SILENT_S = 10.0  # a loop that has given no sign of life for so long on the wall hangs
WITHOUT_EPOCH_S = 120.0  # nor does one work that beats and closes no epoch: one closes each 30 s, whatever arrived
ENDING_S = 1800.0  # how long the report and the recording of a night may take once the session has ended
STARTING_S = 120.0  # how long it may take from the start to the first sign of life
MOST_STREAMS = 64  # names come from the network: more of them than this are not shown
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_KIND = "text/plain; version=0.0.4; charset=utf-8"


class Health(msgspec.Struct, frozen=True):
    """What a supervisor is told. Ages are seconds on the wall, None before there is one to speak of.

    A stalled stream is no reason to restart the engine: it is said, and `alive` stays true.
    """

    alive: bool
    state: str  # "starting", "running", "ending", "hanging"
    heartbeat_age_s: float | None
    epoch_age_s: float | None
    stalled: tuple[str, ...]
    reason: str = ""


class Metrics:
    """An overseer (see `bridges.overseer`) that serves what it was told on `address` until it is closed.

    `starting_s` is how long the session may take until its first heartbeat before it counts as hanging: give at least
    how long it looks for streams. UserError: the address is refused or taken.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        insecure: bool = False,
        starting_s: float = STARTING_S,
        wall: Callable[[], float] = time.monotonic,
    ) -> None:
        from prometheus_client import CollectorRegistry, Histogram, ProcessCollector

        self._wall, self._starting_s = wall, starting_s
        self._made = wall()
        self._beat: float | None = None
        self._epoch: float | None = None
        self._ended: float | None = None
        self._reading = Reading()
        self._channels: tuple[ChannelState, ...] = ()
        self._epochs = self._absent = self._provisional = 0
        self._notices: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # memory and CPU, where the system has /proc
        self._latency_s = Histogram(
            "hypnostream_epoch_latency_seconds",
            "From the last sample that an epoch waited for to its final stage",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._inference_s = Histogram(
            "hypnostream_inference_seconds",
            "How long the model took for one stage, final or provisional",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(self)
        self._endpoint = HttpEndpoint(address, {"/metrics": self._metrics, "/health": self._health}, insecure=insecure)
        self.address = self._endpoint.address

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """A result was said."""
        self._channels = result.channels
        self._inference_s.observe(result.compute_s)
        if not result.final:
            self._provisional += 1
            return
        self._epochs += 1
        self._absent += result.stage is None
        self._epoch = self._wall()
        if latency_s is not None:
            self._latency_s.observe(max(latency_s, 0.0))

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Counted once it is settled, by its kind."""
        if event.status == "final":
            self._events[event.kind] += 1

    def heartbeat(self, now_s: float) -> None:
        """The loop is alive."""
        self._beat = self._wall()
        if self._epoch is None:
            self._epoch = self._beat  # the first epoch is due from now on

    def notice(self, notice: Notice) -> None:
        """Counted by its kind."""
        self._notices[notice.kind] += 1
        if notice.kind == SESSION_ENDED:
            self._ended = self._wall()

    def observe(self, reading: Reading) -> None:
        """How things stand."""
        self._reading = reading

    def close(self) -> None:
        """Serve no more."""
        self._endpoint.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def health(self) -> Health:
        """How the session does; see `Health`."""
        now, stalled = self._wall(), tuple(self._reading.stalled)[:MOST_STREAMS]
        if self._ended is not None and now - self._ended < ENDING_S:
            return Health(True, "ending", None, None, stalled, "the session has ended, its report is being written")
        if self._beat is None:
            waited_s = now - self._made
            late = waited_s > self._starting_s
            reason = f"no sign of life in the {waited_s:.0f} s since the start" if late else ""
            return Health(not late, "hanging" if late else "starting", None, None, stalled, reason)
        beat_s = now - self._beat
        epoch_s = beat_s if self._epoch is None else now - self._epoch
        reason = ""
        if beat_s > SILENT_S:
            reason = f"no sign of life for {beat_s:.0f} s"
        elif epoch_s > WITHOUT_EPOCH_S:
            reason = f"no epoch for {epoch_s:.0f} s"
        state = "hanging" if reason else "running"
        return Health(not reason, state, beat_s, epoch_s if self._epochs else None, stalled, reason)

    def collect(self) -> "Iterator[Metric]":
        """The families that are put together when someone asks (prometheus_client calls this)."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

        def counter(name: str, text: str, values: Iterable[tuple[str, float]], label: str = "stream") -> "Metric":
            family = CounterMetricFamily(f"hypnostream_{name}", text, labels=[label] if label else [])
            for key, value in values:
                family.add_metric([key] if label else [], value)
            return family

        def gauge(name: str, text: str, values: Iterable[tuple[str, float]], label: str = "stream") -> "Metric":
            family = GaugeMetricFamily(f"hypnostream_{name}", text, labels=[label] if label else [])
            for key, value in values:
                family.add_metric([key] if label else [], value)
            return family

        reading, channels, health = self._reading, self._channels, self.health()
        streams = list(reading.streams.items())[:MOST_STREAMS]
        yield InfoMetricFamily("hypnostream", "What runs here", {"version": __version__})
        yield counter("samples_received", "Samples that came", ((s, c.received) for s, c in streams))
        yield counter(
            "samples_lost",
            "Samples that should have come and did not",
            ((s, c.lost) for s, c in streams),
        )
        yield counter("samples_duplicated", "Samples that came again", ((s, c.duplicated) for s, c in streams))
        yield counter(
            "samples_out_of_order", "Samples older than one before", ((s, c.out_of_order) for s, c in streams)
        )
        yield counter("samples_dropped", "Samples that came and were not used", ((s, c.dropped) for s, c in streams))
        yield counter("stream_gaps", "Gaps in a stream's time", ((s, c.gaps) for s, c in streams))
        stalled = set(reading.stalled)
        yield gauge("stream_stalled", "1 while nothing comes from a stream", ((s, s in stalled) for s, _ in streams))
        backlog = list(reading.backlog_s.items())[:MOST_STREAMS]
        yield gauge("stream_backlog_seconds", "Signal that waits to be processed", backlog)
        yield gauge(
            "channel_good_ratio", "Share of good seconds", ((c.name, c.ok_fraction) for c in channels), "channel"
        )
        quality = GaugeMetricFamily(
            "hypnostream_channel_quality", "1 for what most seconds of a channel were", labels=["channel", "quality"]
        )
        for channel in channels:
            for name in QUALITY_NAMES:
                quality.add_metric([channel.name, name], channel.quality == name)
        yield quality
        yield counter("epochs", "Final stages that were said", [("", self._epochs)], "")
        yield counter("epochs_without_stage", "Epochs without an answer", [("", self._absent)], "")
        yield counter("provisional_stages", "Provisional stages that were said", [("", self._provisional)], "")
        yield counter("notices", "Notices by kind", sorted(self._notices.copy().items()), "kind")
        events = sorted(self._events.copy().items())
        yield counter("breathing_events", "Events of breathing that became final, by kind", events, "event")
        restarts = self._notices[READER_RESTARTED]
        yield counter("reader_restarts", "Times that the process that reads LSL was replaced", [("", restarts)], "")
        for name, text, value in (
            ("subscribers", "Who listens to the results", reading.subscribers),
            ("result_log_bytes", "Size of the result log", reading.log_bytes),
            ("journal_bytes", "Size of what a restart would take up", reading.journal_bytes),
            ("heartbeat_age_seconds", "Since the loop's last sign of life", health.heartbeat_age_s),
            ("epoch_age_seconds", "Since the last final stage", health.epoch_age_s),
            ("alive", "1 while the loop works", health.alive),
        ):
            if value is not None:
                yield gauge(name, text, [("", value)], "")

    def _metrics(self) -> Page:
        from prometheus_client import generate_latest

        return Page(200, _KIND, generate_latest(self._registry))

    def _health(self) -> Page:
        health = self.health()
        return Page(200 if health.alive else 503, "application/json", msgspec.json.encode(health) + b"\n")
