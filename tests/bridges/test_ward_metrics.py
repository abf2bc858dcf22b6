"""One page of metrics and one of health for a whole ward: by real HTTP, beside a real loop, and of a real process."""

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.bridges.messages import BED_FAILED
from hypnostream.bridges.metric_families import FAMILIES
from hypnostream.bridges.metrics import Metrics, MetricsEndpoint
from hypnostream.bridges.overseer import Reading
from hypnostream.bridges.spread import BOUNDS_S, Spread, Times
from hypnostream.bridges.tally import Tally
from hypnostream.bridges.ward_families import MOST_BEDS, MOST_STREAMS, ward_families
from hypnostream.bridges.ward_loop import WardLoop
from hypnostream.bridges.ward_tally import MOST_NAMED, SILENT_S, STARTING_S, WardTally
from hypnostream.engine.slots import Arrays
from hypnostream.stream.source import Notice
from tests.bridges.hearing import WITHIN_S
from tests.bridges.looped_beds import BACKEND, EPOCHS, InLoop
from tests.bridges.lsl_sender import Device, sending_device
from tests.bridges.metrics_pages import StreamCounts, Wall, health_at, names_on, page_at, told
from tests.bridges.test_ward import bed_file, serving, stopped, ward_file
from tests.command_line import Cli, assert_one_line
from tests.documentation import code_in, table


class Serving:
    """A ward's tally and its page, before any bed."""

    def __init__(self, wall: Wall, fresh_s: float = 0.0) -> None:
        self.wall, self.ward, self.loop, self.times = wall, WardTally(wall), WardLoop(), Times()
        self.endpoint = MetricsEndpoint(
            "127.0.0.1:0",
            lambda: ward_families(self.ward, self.loop, self.times),
            self.ward.health,
            fresh_s=fresh_s,
        )

    def bed(self, starting_s: float = 20.0) -> Tally:
        tally = Tally(starting_s, self.times, self.wall)
        tally.begin()
        return tally

    def stands(self, **beds: Tally) -> None:
        self.ward.stands(beds, len(beds), (), False)
        self.ward.heartbeat(0.0)

    @property
    def page(self) -> dict[str, float]:
        return page_at(self.endpoint.address)

    @property
    def health(self) -> tuple[int, dict[str, object]]:
        return health_at(self.endpoint.address)


@pytest.fixture
def served() -> Iterator[Serving]:
    serving = Serving(Wall())
    with serving.endpoint:
        yield serving


@contextmanager
def turning(loop: WardLoop, ward: WardTally) -> Iterator[None]:
    """The loop in a thread, as `run_ward` drives it."""
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            began_s = time.monotonic()
            ward.heartbeat(began_s)
            waited_s = loop.turn(0.05)
            ward.turns.add(time.monotonic() - began_s - waited_s)

    thread = threading.Thread(target=turn, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(WITHIN_S)


def test_what_beds_in_a_loop_say_is_on_one_page(served: Serving) -> None:
    tallies = [served.bed(), served.bed()]
    served.stands(north=tallies[0], south=tallies[1])
    with turning(served.loop, served.ward):
        beds = [InLoop(served.loop, seed, sinks=(tally,)) for seed, tally in enumerate(tallies)]
        for bed in beds:
            bed.join(WITHIN_S)
    for tally, bed in zip(tallies, beds, strict=True):
        tally.observe(Reading(streams=bed.bed.counts, subscribers=0))
    page = served.page
    said = [len(bed.driven.outcome.final) for bed in beds]
    assert sum(said) >= 2 * (EPOCHS - 1)
    assert [page["hypnostream_epochs_total[north]"], page["hypnostream_epochs_total[south]"]] == [
        tally.epochs for tally in tallies
    ]
    assert page["hypnostream_samples_received_total[north][eeg]"] == beds[0].bed.counts["eeg"].received > 0
    assert page["hypnostream_running[south]"] == page["hypnostream_alive[south]"] == 1
    assert page["hypnostream_ward_beds[running]"] == page["hypnostream_ward_beds_wanted"] == 2
    assert page["hypnostream_ward_alive"] == 1
    assert 0 < page["hypnostream_ward_batches_total"] < page["hypnostream_ward_batch_rows_total"]
    assert page["hypnostream_ward_asks_waiting"] == 0
    turns, worked_s = (page[f"hypnostream_ward_turn_seconds_{each}"] for each in ("count", "sum"))
    assert turns > 10
    assert 0 < worked_s < 60
    stages = sum(tally.epochs + tally.provisional for tally in tallies)
    assert page["hypnostream_inference_seconds_count"] == stages
    assert page["hypnostream_epoch_latency_seconds_count"] == sum(tally.epochs for tally in tallies)


def test_of_each_bed_stands_there_what_stands_on_a_page_of_its_own(served: Serving) -> None:
    tally = served.bed()
    told(tally)
    served.stands(north=tally)
    with Metrics("127.0.0.1:0", wall=served.wall) as metrics:
        told(metrics)
        alone = page_at(metrics.address)
    shown = {f"hypnostream_{family.name}" for family in FAMILIES}
    expected = {name: value for name, value in alone.items() if name.partition("[")[0].removesuffix("_total") in shown}
    assert len(expected) > 25
    ours = {name.replace("[north]", ""): value for name, value in served.page.items() if "[north]" in name}
    assert ours == expected


def test_a_bed_that_leaves_is_gone_from_the_page_and_one_without_a_session_keeps_what_it_counted(
    served: Serving,
) -> None:
    north, south = served.bed(), served.bed()
    told(north)
    told(south)
    served.stands(north=north)
    assert not [name for name in served.page if "[south]" in name]
    north.end()
    page = served.page
    assert page["hypnostream_epochs_total[north]"] == 2
    assert page["hypnostream_running[north]"] == 0
    assert page["hypnostream_ward_beds[waiting]"] == 1
    assert not [name for name in page if name.startswith("hypnostream_samples_received_total")]
    north.begin()
    told(north)
    page = served.page
    assert page["hypnostream_epochs_total[north]"] == 4
    assert page["hypnostream_samples_received_total[north][amplifier]"] == 1000


def test_the_page_is_bounded_however_many_beds_and_streams_there_are(served: Serving) -> None:
    beds = {f"bed {number:04}": served.bed() for number in range(MOST_BEDS + 50)}
    crowded = Reading(streams={f"stream {number}": StreamCounts(1) for number in range(10 * MOST_STREAMS)})
    for tally in beds.values():
        tally.heartbeat(0.0)
    beds["bed 0000"].observe(crowded)
    served.stands(**beds)
    page = served.page
    assert sum(name.startswith("hypnostream_alive") for name in page) == MOST_BEDS
    assert sum(name.startswith("hypnostream_samples_received_total[bed 0000]") for name in page) == MOST_STREAMS
    assert page["hypnostream_ward_beds[running]"] == MOST_BEDS + 50
    served.wall.now_s += 30
    hanging = served.health[1]["hanging"]
    assert isinstance(hanging, list)
    assert len(hanging) == MOST_NAMED


def test_whoever_asks_too_often_gets_the_page_that_is_there() -> None:
    serving = Serving(Wall(), fresh_s=3600.0)
    with serving.endpoint:
        assert serving.page["hypnostream_ward_beds_wanted"] == 0
        serving.stands(north=serving.bed())
        assert serving.page["hypnostream_ward_beds_wanted"] == 0
        assert serving.health[1]["wanted"] == 1


def test_beds_that_stall_hang_or_are_not_there_are_named_and_the_ward_is_alive(served: Serving) -> None:
    well, stalled, hanging, absent = (served.bed() for _ in range(4))
    told(stalled)
    hanging.heartbeat(0.0)
    absent.end()
    served.wall.now_s = 15.0
    well.heartbeat(15.0)
    stalled.heartbeat(15.0)
    served.ward.stands(
        {"well": well, "stalled": stalled, "hanging": hanging, "absent": absent}, 4, ("beds/5.toml",), False
    )
    served.ward.heartbeat(15.0)
    served.ward.notice(Notice(BED_FAILED, "absent", 15.0))
    assert served.health == (
        200,
        {
            "alive": True,
            "state": "running",
            "heartbeat_age_s": 0.0,
            "behind_s": 0.0,
            "wanted": 4,
            "running": 2,
            "waiting": ["absent"],
            "hanging": ["hanging"],
            "stalled": ["stalled"],
            "refused": ["beds/5.toml"],
            "reason": "",
        },
    )
    page = served.page
    assert (page["hypnostream_alive[hanging]"], page["hypnostream_ward_alive"]) == (0, 1)
    assert (page["hypnostream_ward_beds[hanging]"], page["hypnostream_ward_files_refused"]) == (1, 1)
    assert page["hypnostream_ward_notices_total[bed_failed]"] == 1


def test_a_loop_that_is_held_up_is_behind_and_one_that_hangs_is_dead(served: Serving) -> None:
    """A model that does not return holds up a real loop: the page is of another thread and says so."""
    held, let_go = threading.Event(), threading.Event()

    class Stuck:
        name = "stuck"

        def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
            held.set()
            let_go.wait(WITHIN_S)
            return BACKEND.run(inputs)

    served.stands(north=served.bed(starting_s=1000.0))
    with turning(served.loop, served.ward):
        InLoop(served.loop, 0, Stuck())
        assert held.wait(WITHIN_S)
        served.wall.now_s += 5.0
        assert served.health[0] == 200
        assert served.page["hypnostream_ward_behind_seconds"] == 4.0
        served.wall.now_s += SILENT_S
        status, health = served.health
        assert (status, health["state"], health["reason"]) == (503, "hanging", "no sign of life for 65 s")
        assert served.page["hypnostream_ward_alive"] == 0
        let_go.set()
        deadline = time.monotonic() + WITHIN_S
        while served.health[0] != 200:
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert (served.health[1]["state"], served.health[1]["reason"]) == ("running", "")


def test_a_ward_may_take_long_until_its_first_beat_but_not_for_ever(served: Serving) -> None:
    served.wall.now_s = STARTING_S
    assert (served.health[0], served.health[1]["state"]) == (200, "starting")
    served.wall.now_s += 1
    assert (served.health[0], served.health[1]["state"]) == (503, "hanging")
    served.ward.stands({}, 0, (), True)
    served.ward.heartbeat(0.0)
    assert (served.health[0], served.health[1]["state"]) == (200, "ending")


def test_a_spread_counts_by_bounds() -> None:
    spread = Spread()
    for seconds in (-1.0, 0.001, 0.002, 7.0):
        spread.add(seconds)
    counts, sum_s = spread.read()
    assert counts == [2, *[3] * (len(BOUNDS_S) - 1), 4]
    assert sum_s == pytest.approx(7.003)


def test_the_pages_of_docs_list_every_metric(served: Serving) -> None:
    tally = served.bed()
    told(tally)
    served.stands(north=tally)
    served.ward.notice(Notice(BED_FAILED, "north", 1.0))
    own = {code_in(row[0])[0] for row in table("docs/ward.md", "metric")}
    of_beds = {code_in(row[0])[0] for row in table("docs/operations.md", "metric")}
    came = names_on(served.page)
    assert own == {name for name in came if name.startswith("hypnostream_ward_")}
    assert of_beds - came == {"hypnostream_channel_quality"}
    assert came - own <= of_beds


def test_a_folder_for_one_session_is_not_for_a_ward(cli: Cli, tmp_path: Path) -> None:
    said = cli("run", "--config", ward_file(tmp_path, "none"), "--out", tmp_path)
    assert_one_line(said, "--out is for one bed", "keep.folder")


@pytest.mark.slow
def test_a_real_ward_serves_its_page_while_beds_come_and_go(tmp_path: Path, lsl_session_id: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    text = f'[channels]\neeg_frontal = "C0"\n[metrics]\naddress = "{address}"\n'
    ward = ward_file(tmp_path, lsl_session_id, text)
    for bed in ("north", "south", "absent"):
        bed_file(tmp_path, bed, "timeout_s = 0.5\n" if bed == "absent" else "")
    (tmp_path / "beds" / "wrong.toml").write_text("name = ")

    def until(*wanted: str, gone: str = "[nowhere]") -> dict[str, float]:
        deadline = time.monotonic() + WITHIN_S
        while True:
            try:
                page = page_at(address)
            except OSError:  # it is not up yet
                page = {}
            if all(page.get(name) for name in wanted) and not [name for name in page if gone in name]:
                return page
            assert time.monotonic() < deadline, (page, (tmp_path / "err").read_text())
            time.sleep(0.2)

    with ExitStack() as stack:
        devices = [Device(name) for name in ("north", "south")]
        stack.enter_context(sending_device(lsl_session_id, *devices))
        process = stack.enter_context(serving(ward))
        page = until(
            *(f"hypnostream_samples_received_total[{bed}][{bed}]" for bed in ("north", "south")),
            *(f"hypnostream_running[{bed}]" for bed in ("north", "south")),
            "hypnostream_ward_notices_total[bed_failed]",
        )
        assert page["hypnostream_ward_beds_wanted"] == 3
        assert page["hypnostream_ward_files_refused"] == 1
        assert page["hypnostream_running[absent]"] == 0
        assert page["hypnostream_provisional_stages_total[north]"] >= 0
        assert page["hypnostream_ward_turn_seconds_count"] > 1
        assert page["hypnostream_reader_restarts_total[north]"] == 0
        status, health = health_at(address)
        assert (status, health["alive"], health["state"]) == (200, True, "running")
        assert (health["waiting"], health["refused"]) == (["absent"], [str(tmp_path / "beds" / "wrong.toml")])
        (tmp_path / "other").mkdir()
        second = ward_file(tmp_path / "other", lsl_session_id)
        bed_file(tmp_path / "other", "east")
        for refused, words in ((address, "in use"), ("0.0.0.0:0", "only this machine can reach")):
            with serving(second, "--metrics", refused) as other:
                assert other.wait(WITHIN_S) == 2
            *_, last = (tmp_path / "other" / "err").read_text().splitlines()
            assert last.startswith("hypnostream: ")
            assert words in last
        (tmp_path / "beds" / "south.toml").unlink()
        page = until("hypnostream_running[north]", gone="[south]")
        assert page["hypnostream_ward_beds_wanted"] == 2
        err = stopped(process, tmp_path)
    assert f"metrics and health are at {address}" in err
