"""What Prometheus is shown of a ward: its loop, then of each bed what a page of its own shows, with a label `bed`.

Bounded: of MOST_BEDS beds and MOST_STREAMS streams of each. How long results took is one histogram for all beds, as one
for each would be most of the page; for the same reason the quality of channels is their share of good seconds alone.
"""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hypnostream.bridges.metric_families import families, shown, spread_family, time_families, version_family
from hypnostream.bridges.spread import Times
from hypnostream.bridges.ward_loop import WardLoop
from hypnostream.bridges.ward_tally import WardTally

if TYPE_CHECKING:
    from prometheus_client.core import Metric

MOST_BEDS: Final = 512
MOST_STREAMS: Final = 16
FRESH_S: Final = 1.0  # beds say how they stand each second, and a page of hundreds takes a tenth of one
_STATES: Final = ("waiting", "starting", "running", "ending", "hanging")


def ward_families(ward: WardTally, loop: WardLoop, times: Times) -> "Iterator[Metric]":
    """All of a ward's page but the process's own; `times` are those of all beds."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    health = ward.health()
    beds = [((name,), shown(tally, MOST_STREAMS)) for name, tally in sorted(ward.beds.items())]
    yield version_family()
    for name, text, value in (
        ("alive", "1 while the loop works", health.alive),
        ("heartbeat_age_seconds", "Since the loop's last sign of life", health.heartbeat_age_s),
        ("behind_seconds", "By how much the loop's last beat, due each second, came late", health.behind_s),
        ("beds_wanted", "Beds that the files ask for", health.wanted),
        ("files_refused", "Files that are wrong", len(ward.refused)),
        ("asks_waiting", "What beds ask for and is not answered yet", loop.scheduler.waiting),
    ):
        if value is not None:
            yield GaugeMetricFamily(f"hypnostream_ward_{name}", text, value)
    yield spread_family("ward_turn_seconds", "What the loop worked between two waits", ward.turns)
    for name, text, value in (
        ("batches", "Runs for beds together", loop.scheduler.batches),
        ("batch_rows", "What beds asked for and was answered by these runs", loop.scheduler.rows),
    ):
        yield CounterMetricFamily(f"hypnostream_ward_{name}", text, value)
    notices = CounterMetricFamily("hypnostream_ward_notices", "Notices of the ward by kind", labels=["kind"])
    for kind, count in sorted(dict(ward.notices).items()):
        notices.add_metric([kind], count)
    yield notices
    states = Counter(bed.health.state for _, bed in beds)
    in_state = GaugeMetricFamily("hypnostream_ward_beds", "Beds by their state", labels=["state"])
    for state in _STATES:
        in_state.add_metric([state], states[state])
    yield in_state
    yield from time_families(times)
    yield from families(beds[:MOST_BEDS], labels=("bed",))
