"""What an overseer is told, and the pages of metrics and health as Prometheus and a supervisor read them over HTTP."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from hypnostream.bridges.overseer import Overseer, Reading
from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.source import READER_RESTARTED, SOURCE_STALLED, Notice

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


def told(overseer: Overseer) -> None:
    """Something of everything."""
    overseer.heartbeat(1.0)
    overseer.publish(result(stage=None), 30.0, 0.02)
    overseer.publish(result(1), 60.0, 0.004)
    overseer.publish(result(2, final=False), 61.0, 0.004)
    overseer.notice(Notice(SOURCE_STALLED, "oximeter", 61.0))
    overseer.notice(Notice(READER_RESTARTED, "", 62.0))
    overseer.observe(
        Reading(
            streams={"amplifier": StreamCounts(1000, 24, 3, 2, 1, 5), "oximeter": StreamCounts(7)},
            stalled=("oximeter",),
            backlog_s={"amplifier": 0.25},
            subscribers=2,
            log_bytes=4096,
            journal_bytes=512,
        )
    )


def page_at(address: str) -> dict[str, float]:
    """Every sample by its name and its labels' values, "name[value][value]", as Prometheus reads it."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    assert all(family.documentation for family in families)
    samples = [
        (sample.name + "".join(f"[{value}]" for value in sample.labels.values()), sample.value)
        for family in families
        for sample in family.samples
    ]
    assert len(dict(samples)) == len(samples)
    return dict(samples)


def names_on(page: dict[str, float]) -> set[str]:
    """The names of its metrics as documents give them, those of the process left out."""
    came = {name.partition("[")[0] for name in page if name.startswith("hypnostream_")}
    return {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in came}


def health_at(address: str) -> tuple[int, dict[str, object]]:
    """The status of /health, and what it says."""
    try:
        with urllib.request.urlopen(f"http://{address}/health", timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
