"""Metrics and health: the numbers are those that the loop told, and a hanging loop is said to hang."""

from collections.abc import Iterator

import pytest

from hypnostream.bridges.messages import SESSION_ENDED
from hypnostream.bridges.metrics import Metrics
from hypnostream.bridges.overseer import Reading
from hypnostream.bridges.tally import ENDING_S, MOST_STREAMS, SILENT_S, WITHOUT_EPOCH_S
from hypnostream.errors import UserError
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.source import Notice
from tests.bridges.metrics_pages import StreamCounts, Wall, health_at, names_on, page_at, result, told
from tests.documentation import code_in, table


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
def metrics(wall: Wall) -> Iterator[Metrics]:
    with Metrics("127.0.0.1:0", starting_s=20.0, wall=wall) as metrics:
        yield metrics


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
        "hypnostream_running": 1,
        "hypnostream_epoch_latency_seconds_count": 2,
        "hypnostream_epoch_latency_seconds_bucket[0.005]": 1,
        "hypnostream_inference_seconds_count": 3,
    }
    came = page_at(metrics.address)
    assert {name: came.get(name) for name in expected} == expected
    assert sum(name.startswith("hypnostream_channel_quality[eog]") for name in came) == len(QUALITY_NAMES)


def test_what_is_not_known_is_left_out(metrics: Metrics) -> None:
    came = page_at(metrics.address)
    assert not {"hypnostream_subscribers", "hypnostream_journal_bytes", "hypnostream_epoch_age_seconds"} & set(came)
    assert came["hypnostream_epochs_total"] == 0


def test_a_name_from_the_network_cannot_forge_a_sample_nor_fill_the_page(metrics: Metrics) -> None:
    forged = 'a"} 1\nhypnostream_alive 0\n\\'
    metrics.observe(Reading(streams={forged: StreamCounts(5)}))
    came = page_at(metrics.address)
    assert came["hypnostream_alive"] == 1
    assert came[f"hypnostream_samples_received_total[{forged}]"] == 5
    metrics.observe(Reading(streams={f"stream {i}": StreamCounts(1) for i in range(1000)}))
    assert (
        sum(name.startswith("hypnostream_samples_received_total") for name in page_at(metrics.address)) == MOST_STREAMS
    )


def test_operations_lists_every_metric(metrics: Metrics) -> None:
    told(metrics)
    named = {code_in(row[0])[0] for row in table("docs/operations.md", "metric")}
    assert named == names_on(page_at(metrics.address))


def test_health_while_it_starts_runs_hangs_and_runs_again(metrics: Metrics, wall: Wall) -> None:
    status, health = health_at(metrics.address)
    assert (status, health["state"], health["heartbeat_age_s"]) == (200, "starting", None)
    wall.now_s = 21.0
    assert (health_at(metrics.address)[0], metrics.health().state) == (503, "hanging")
    metrics.heartbeat(0.0)
    wall.now_s += SILENT_S - 1
    assert health_at(metrics.address) == (200, {**health, "state": "running", "heartbeat_age_s": SILENT_S - 1})
    wall.now_s += 2
    status, health = health_at(metrics.address)
    assert (status, health["alive"], health["reason"]) == (503, False, "no sign of life for 11 s")
    assert page_at(metrics.address)["hypnostream_alive"] == 0
    metrics.heartbeat(11.0)
    assert health_at(metrics.address)[0] == 200


def test_a_loop_that_beats_and_closes_no_epoch_is_not_well(metrics: Metrics, wall: Wall) -> None:
    for _ in range(int(WITHOUT_EPOCH_S) + 2):
        metrics.heartbeat(wall.now_s)
        wall.now_s += 1
    assert health_at(metrics.address)[1]["reason"] == "no epoch for 122 s"
    metrics.publish(result(), 30.0)
    assert health_at(metrics.address)[0] == 200


def test_a_session_that_has_ended_may_write_its_report_in_peace(metrics: Metrics, wall: Wall) -> None:
    metrics.heartbeat(0.0)
    metrics.notice(Notice(SESSION_ENDED, "", 1.0))
    wall.now_s += ENDING_S - 1
    assert (health_at(metrics.address)[0], metrics.health().state) == (200, "ending")
    wall.now_s += 2
    assert (health_at(metrics.address)[0], metrics.health().state) == (503, "hanging")


def test_one_that_was_only_ended_at_the_start_is_not_taken_for_the_next(metrics: Metrics, wall: Wall) -> None:
    metrics.notice(Notice(SESSION_ENDED, "", 1.0))
    metrics.heartbeat(2.0)
    assert metrics.health().state == "running"
    wall.now_s += SILENT_S + 1
    assert metrics.health().state == "hanging"


def test_a_stalled_stream_is_said_and_is_no_reason_to_restart(metrics: Metrics) -> None:
    told(metrics)
    status, health = health_at(metrics.address)
    assert (status, health["alive"], health["stalled"]) == (200, True, ["oximeter"])


def test_another_address_needs_insecure() -> None:
    with pytest.raises(UserError, match="only this machine"):
        Metrics("0.0.0.0:0")
