"""What Prometheus is shown of beds: one table of families, for the page of one bed and for that of a ward.

Labels are names of beds, streams and channels and the kinds of notices; nothing in them says who sleeps there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from hypnostream import __version__
from hypnostream.bridges.overseer import Counts, Reading
from hypnostream.bridges.spread import BOUNDS_S, Spread, Times
from hypnostream.bridges.tally import Health, Tally
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.source import READER_RESTARTED

if TYPE_CHECKING:
    from prometheus_client.core import Metric

Labelled = Iterable[tuple[tuple[str, ...], float | None]]  # values by their labels; None is not known and not shown


class Shown(NamedTuple):
    """A bed as it is shown: what it counted, what it said of itself last, its health, and of which streams, by name."""

    tally: Tally
    reading: Reading
    health: Health
    streams: Mapping[str, Counts]


class Family(NamedTuple):
    """A counter or a gauge: its name after "hypnostream_", what it says, its values and `labels` beside the bed."""

    name: str
    text: str
    values: Callable[[Shown], Labelled]
    labels: tuple[str, ...] = ()
    grows: bool = False  # a counter


def _of_streams(name: str, text: str, field: str) -> Family:
    read = attrgetter(field)
    return Family(
        name, text, lambda bed: (((stream,), read(counts)) for stream, counts in bed.streams.items()), ("stream",), True
    )


def _of_bed(name: str, text: str, value: Callable[[Shown], float | None], grows: bool = False) -> Family:
    return Family(name, text, lambda bed: [((), value(bed))], (), grows)


def _by_kind(name: str, text: str, label: str, counted: Callable[[Tally], Mapping[str, int]]) -> Family:
    def values(bed: Shown) -> Labelled:
        return [((kind,), count) for kind, count in sorted(dict(counted(bed.tally)).items())]

    return Family(name, text, values, (label,), True)


FAMILIES: Final = (
    _of_streams("samples_received", "Samples that came", "received"),
    _of_streams("samples_lost", "Samples that should have come and did not", "lost"),
    _of_streams("samples_duplicated", "Samples that came again", "duplicated"),
    _of_streams("samples_out_of_order", "Samples older than one before", "out_of_order"),
    _of_streams("samples_dropped", "Samples that came and were not used", "dropped"),
    _of_streams("stream_gaps", "Gaps in a stream's time", "gaps"),
    Family(
        "stream_stalled",
        "1 while nothing comes from a stream",
        lambda bed: (((stream,), stream in bed.reading.stalled) for stream in bed.streams),
        ("stream",),
    ),
    Family(
        "stream_backlog_seconds",
        "Signal that waits to be processed",
        lambda bed: (((stream,), bed.reading.backlog_s.get(stream)) for stream in bed.streams),
        ("stream",),
    ),
    Family(
        "channel_good_ratio",
        "Share of good seconds",
        lambda bed: (((channel.name,), channel.ok_fraction) for channel in bed.tally.channels),
        ("channel",),
    ),
    _of_bed("epochs", "Final stages that were said", lambda bed: bed.tally.epochs, grows=True),
    _of_bed("epochs_without_stage", "Epochs without an answer", lambda bed: bed.tally.absent, grows=True),
    _of_bed("provisional_stages", "Provisional stages that were said", lambda bed: bed.tally.provisional, grows=True),
    _by_kind("notices", "Notices by kind", "kind", lambda tally: tally.notices),
    _by_kind("breathing_events", "Events of breathing that became final, by kind", "event", lambda tally: tally.events),
    _of_bed(
        "reader_restarts",
        "Times that the process that reads LSL was replaced",
        lambda bed: bed.tally.notices[READER_RESTARTED],
        grows=True,
    ),
    _of_bed("subscribers", "Who listens to the results", lambda bed: bed.reading.subscribers),
    _of_bed("result_log_bytes", "Size of the result log", lambda bed: bed.reading.log_bytes),
    _of_bed("journal_bytes", "Size of what a restart would take up", lambda bed: bed.reading.journal_bytes),
    _of_bed("heartbeat_age_seconds", "Since the session's last sign of life", lambda bed: bed.health.heartbeat_age_s),
    _of_bed("epoch_age_seconds", "Since the last final stage", lambda bed: bed.health.epoch_age_s),
    _of_bed("alive", "1 unless the session hangs", lambda bed: bed.health.alive),
    _of_bed("running", "1 while the session stages", lambda bed: bed.health.state == "running"),
)
QUALITY: Final = Family(
    "channel_quality",
    "1 for what most seconds of a channel were",
    lambda bed: (
        ((channel.name, name), channel.quality == name) for channel in bed.tally.channels for name in QUALITY_NAMES
    ),
    ("channel", "quality"),
)


def shown(tally: Tally, most_streams: int) -> Shown:
    """A bed as it is now, with so many of its streams at most."""
    reading = tally.reading
    return Shown(tally, reading, tally.health(), dict(islice(reading.streams.items(), most_streams)))


def families(
    beds: Sequence[tuple[tuple[str, ...], Shown]], labels: tuple[str, ...] = (), table: Sequence[Family] = FAMILIES
) -> "Iterator[Metric]":
    """The families of the table, each with a value for every bed, which has its own values of `labels`."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    for family in table:
        kind = CounterMetricFamily if family.grows else GaugeMetricFamily
        metric = kind(f"hypnostream_{family.name}", family.text, labels=(*labels, *family.labels))
        for own, bed in beds:
            for key, value in family.values(bed):
                if value is not None:
                    metric.add_metric((*own, *key), value)
        yield metric


def spread_family(name: str, text: str, spread: Spread) -> "Metric":
    """A histogram."""
    from prometheus_client.core import HistogramMetricFamily

    counts, sum_s = spread.read()
    bounds = [*map(str, BOUNDS_S), "+Inf"]
    return HistogramMetricFamily(
        f"hypnostream_{name}", text, buckets=list(zip(bounds, counts, strict=True)), sum_value=sum_s
    )


def time_families(times: Times) -> "Iterator[Metric]":
    """How long results took, of one bed or of all that share these times."""
    yield spread_family(
        "epoch_latency_seconds", "From the last sample that an epoch waited for to its final stage", times.latency
    )
    yield spread_family(
        "inference_seconds", "How long the model took for one stage, final or provisional", times.inference
    )


def version_family() -> "Metric":
    """Which version runs."""
    from prometheus_client.core import InfoMetricFamily

    return InfoMetricFamily("hypnostream", "What runs here", {"version": __version__})
