"""Metrics and health: the numbers are those that the loop told, and a hanging loop is said to hang."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hypnostream.bridges.messages import SESSION_ENDED
from hypnostream.bridges.metrics import ENDING_S, MOST_STREAMS, SILENT_S, WITHOUT_EPOCH_S, Metrics
from hypnostream.bridges.overseer import Overseer, Reading
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.errors import UserError
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.source import READER_RESTARTED, SOURCE_STALLED, Notice
from tests.documentation import code_in, table

CHANNELS = (ChannelState("eeg_frontal", "ok", 1.0, False), ChannelState("eog", "flat", 0.1, True))


@dataclass(frozen=True)
class StreamCounts:
    received: int = 0
    lost: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    dropped: int = 0
    gaps: int = 0


@dataclass
class Wall:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def result(epoch: int = 0, final: bool = True, stage: str | None = "N2") -> StageResult:
    reason = None if stage else "no_data"
    return StageResult(epoch, epoch * 30.0, final, 30, stage, reason, (0.1, 0.1, 0.6, 0.1, 0.1), CHANNELS, 0.003)


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def metrics(wall: Wall) -> Iterator[Metrics]:
    with Metrics("127.0.0.1:0", starting_s=20.0, wall=wall) as metrics:
        yield metrics


def scraped(metrics: Metrics) -> dict[str, float]:
    """Every sample by its name and labels, as Prometheus reads it."""
    with urllib.request.urlopen(f"http://{metrics.address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    families = list(text_string_to_metric_families(text))
    assert all(family.documentation for family in families)
    return {
        sample.name + "".join(f"[{value}]" for value in sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def asked(metrics: Metrics) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://{metrics.address}/health", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def told(metrics: Overseer) -> None:
    metrics.heartbeat(1.0)
    metrics.publish(result(stage=None), 30.0, 0.02)
    metrics.publish(result(1), 60.0, 0.004)
    metrics.publish(result(2, final=False), 61.0, 0.004)
    metrics.notice(Notice(SOURCE_STALLED, "oximeter", 61.0))
    metrics.notice(Notice(READER_RESTARTED, "", 62.0))
    metrics.observe(
        Reading(
            streams={"amplifier": StreamCounts(1000, 24, 3, 2, 1, 5), "oximeter": StreamCounts(7)},
            stalled=("oximeter",),
            backlog_s={"amplifier": 0.25},
            subscribers=2,
            log_bytes=4096,
            journal_bytes=512,
        )
    )


def test_what_the_loop_told_is_what_prometheus_reads(metrics: Metrics) -> None:
    told(metrics)
    expected = {
        "hypnostream_samples_received_total[amplifier]": 1000,
        "hypnostream_samples_received_total[oximeter]": 7,
        "hypnostream_samples_lost_total[amplifier]": 24,
        "hypnostream_samples_duplicated_total[amplifier]": 3,
        "hypnostream_samples_out_of_order_total[amplifier]": 2,
        "hypnostream_samples_dropped_total[amplifier]": 1,
        "hypnostream_stream_gaps_total[amplifier]": 5,
        "hypnostream_stream_stalled[amplifier]": 0,
        "hypnostream_stream_stalled[oximeter]": 1,
        "hypnostream_stream_backlog_seconds[amplifier]": 0.25,
        "hypnostream_channel_good_ratio[eog]": 0.1,
        "hypnostream_channel_quality[eog][flat]": 1,
        "hypnostream_channel_quality[eog][ok]": 0,
        "hypnostream_channel_quality[eeg_frontal][ok]": 1,
        "hypnostream_epochs_total": 2,
        "hypnostream_epochs_without_stage_total": 1,
        "hypnostream_provisional_stages_total": 1,
        "hypnostream_notices_total[source_stalled]": 1,
        "hypnostream_reader_restarts_total": 1,
        "hypnostream_subscribers": 2,
        "hypnostream_result_log_bytes": 4096,
        "hypnostream_journal_bytes": 512,
        "hypnostream_alive": 1,
        "hypnostream_epoch_latency_seconds_count": 2,
        "hypnostream_epoch_latency_seconds_bucket[0.005]": 1,
        "hypnostream_inference_seconds_count": 3,
    }
    came = scraped(metrics)
    assert {name: came.get(name) for name in expected} == expected
    assert sum(name.startswith("hypnostream_channel_quality[eog]") for name in came) == len(QUALITY_NAMES)


def test_what_is_not_known_is_left_out(metrics: Metrics) -> None:
    came = scraped(metrics)
    assert not {"hypnostream_subscribers", "hypnostream_journal_bytes", "hypnostream_epoch_age_seconds"} & set(came)
    assert came["hypnostream_epochs_total"] == 0


def test_a_name_from_the_network_cannot_forge_a_sample_nor_fill_the_page(metrics: Metrics) -> None:
    forged = 'a"} 1\nhypnostream_alive 0\n\\'
    metrics.observe(Reading(streams={forged: StreamCounts(5)}))
    came = scraped(metrics)
    assert came["hypnostream_alive"] == 1
    assert came[f"hypnostream_samples_received_total[{forged}]"] == 5
    metrics.observe(Reading(streams={f"stream {i}": StreamCounts(1) for i in range(1000)}))
    assert sum(name.startswith("hypnostream_samples_received_total") for name in scraped(metrics)) == MOST_STREAMS


def test_operations_lists_every_metric(metrics: Metrics) -> None:
    told(metrics)
    came = {name.partition("[")[0] for name in scraped(metrics) if name.startswith("hypnostream_")}
    stems = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in came}
    stems -= {name for name in stems if name.endswith("_created")}
    assert {code_in(row[0])[0] for row in table("docs/operations.md", "metric")} == stems


def test_health_while_it_starts_runs_hangs_and_runs_again(metrics: Metrics, wall: Wall) -> None:
    status, health = asked(metrics)
    assert (status, health["state"], health["heartbeat_age_s"]) == (200, "starting", None)
    wall.now_s = 21.0
    assert (asked(metrics)[0], metrics.health().state) == (503, "hanging")
    metrics.heartbeat(0.0)
    wall.now_s += SILENT_S - 1
    assert asked(metrics) == (200, {**health, "state": "running", "heartbeat_age_s": SILENT_S - 1})
    wall.now_s += 2
    status, health = asked(metrics)
    assert (status, health["alive"], health["reason"]) == (503, False, "no sign of life for 11 s")
    assert scraped(metrics)["hypnostream_alive"] == 0
    metrics.heartbeat(11.0)
    assert asked(metrics)[0] == 200


def test_a_loop_that_beats_and_closes_no_epoch_is_not_well(metrics: Metrics, wall: Wall) -> None:
    for _ in range(int(WITHOUT_EPOCH_S) + 2):
        metrics.heartbeat(wall.now_s)
        wall.now_s += 1
    assert asked(metrics)[1]["reason"] == "no epoch for 122 s"
    metrics.publish(result(), 30.0)
    assert asked(metrics)[0] == 200


def test_a_session_that_has_ended_may_write_its_report_in_peace(metrics: Metrics, wall: Wall) -> None:
    metrics.heartbeat(0.0)
    metrics.notice(Notice(SESSION_ENDED, "", 1.0))
    wall.now_s += ENDING_S - 1
    assert (asked(metrics)[0], metrics.health().state) == (200, "ending")
    wall.now_s += 2
    assert (asked(metrics)[0], metrics.health().state) == (503, "hanging")


def test_a_stalled_stream_is_said_and_is_no_reason_to_restart(metrics: Metrics) -> None:
    told(metrics)
    status, health = asked(metrics)
    assert (status, health["alive"], health["stalled"]) == (200, True, ["oximeter"])


def test_another_address_needs_insecure() -> None:
    with pytest.raises(UserError, match="only this machine"):
        Metrics("0.0.0.0:0")
