"""Results over ZeroMQ become LSL samples with the right stamps, read by a real inlet on this machine alone."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pylsl
import pytest

from hypnostream.bridges.client import Client
from hypnostream.bridges.lsl_results import SAME_CLOCK_S, StampClock, bridge_lsl
from hypnostream.bridges.messages import HEARTBEAT_TOPIC, Moment, Origin, StatusMessage
from hypnostream.bridges.publisher import Publisher
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import ChannelState, StageResult

pytestmark = pytest.mark.usefixtures("lsl_session_id")
SOON_S = 20.0
PROBABILITIES = (0.05, 0.1, 0.7, 0.1, 0.05)


RULE, SIGNALS, WHY = "AASM 1A", ("flow", "spo2"), "flow down to 41 %; SpO2 fell by 4.6 %"


def result(epoch: int, t0_s: float, stage: str | None = "N2", *, final: bool = True) -> StageResult:
    reason = None if stage else "no_data"
    channels = (ChannelState("eog", "ok", 1.0, False),)
    return StageResult(epoch, t0_s + 30.0 * epoch, final, 30, stage, reason, PROBABILITIES, channels)


def event(t_start_s: float, t_end_s: float | None, revision: int = 0) -> Event:
    return Event("a1", revision, "hypopnea", "preliminary", t_start_s, t_end_s, 0.8, RULE, SIGNALS, WHY)


@dataclass(frozen=True)
class Inlets:
    stages: pylsl.StreamInlet
    probabilities: pylsl.StreamInlet
    events: pylsl.StreamInlet


def inlet(name: str) -> pylsl.StreamInlet:
    found: list[pylsl.StreamInfo] = []
    for _ in range(20):  # a single long look may go on without seeing what a new one finds at once
        found = found or pylsl.resolve_byprop("name", name, 1, 1.0)
    assert found, f"no stream {name!r}"
    opened = pylsl.StreamInlet(found[0], recover=False)
    opened.open_stream(SOON_S)
    return opened


def inlets_of(name: str) -> Inlets:
    return Inlets(inlet(f"{name} stages"), inlet(f"{name} stage probabilities"), inlet(f"{name} events"))


def pulled(stream: pylsl.StreamInlet) -> tuple[list[Any], float]:
    sample, stamp = stream.pull_sample(timeout=SOON_S)
    assert sample is not None, "no sample came"
    return sample, stamp


@contextmanager
def bridged(name: str) -> Iterator[tuple[Publisher, Inlets]]:
    """A publisher, and inlets to the streams that the bridge between makes of it."""
    stopped = threading.Event()
    with (
        Publisher("tcp://127.0.0.1:*", model_hash="9f", backend="none") as publisher,
        Client(publisher.address, ("epoch", "event")) as client,
    ):
        thread = threading.Thread(target=bridge_lsl, args=(client, name, lambda line: None, stopped.is_set))
        thread.start()
        try:
            assert publisher.wait_for_subscriber(SOON_S, HEARTBEAT_TOPIC)  # which a client subscribes to last
            yield publisher, inlets_of(name)
        finally:
            stopped.set()
            thread.join()


def test_stages_of_a_live_session_are_stamped_with_their_epoch_s_beginning() -> None:
    with bridged("live") as (publisher, inlets):
        t0_s = pylsl.local_clock() - 61.5
        publisher.publish(result(0, t0_s, final=False), pylsl.local_clock())
        publisher.publish(result(0, t0_s), pylsl.local_clock())
        publisher.publish(result(1, t0_s, None), pylsl.local_clock())
        publisher.publish(result(1, t0_s, "W"), pylsl.local_clock())  # said before
        publisher.status("session_ended", pylsl.local_clock())
        publisher.publish(result(2, t0_s, "R"), pylsl.local_clock())
        said = [pulled(inlets.stages) for _ in range(3)]
        numbers = [pulled(inlets.probabilities) for _ in range(3)]
    assert [sample for sample, _ in said] == [["N2"], ["?"], ["R"]]
    assert [stamp - t0_s for _, stamp in said] == pytest.approx([0.0, 30.0, 60.0], abs=1e-6)
    assert [stamp for _, stamp in numbers] == [stamp for _, stamp in said]
    assert [sample[0] for sample, _ in numbers] == [2.0, -1.0, 4.0]
    assert numbers[0][0][1:] == pytest.approx(PROBABILITIES)


def test_an_event_is_json_with_its_onset_and_duration() -> None:
    with bridged("apnea bed") as (publisher, inlets):
        onset_s = pylsl.local_clock() - 30.0
        publisher.event(event(onset_s, None), pylsl.local_clock())
        publisher.event(event(onset_s, onset_s + 12.5, revision=1), pylsl.local_clock())
        publisher.event(event(onset_s, onset_s + 12.5, revision=1), pylsl.local_clock())
        publisher.event(event(onset_s, onset_s + 13.0, revision=2), pylsl.local_clock())
        said = [pulled(inlets.events) for _ in range(3)]
    content = [json.loads(sample[0]) for sample, _ in said]
    assert [each["duration_s"] for each in content] == [None, pytest.approx(12.5), pytest.approx(13.0)]
    assert [each["revision"] for each in content] == [0, 1, 2]
    assert content[0]["event"] == "hypopnea"
    assert (content[0]["rule"], content[0]["signals"]) == (RULE, list(SIGNALS))
    assert content[0]["reason"] == WHY
    for (_, stamp), each in zip(said, content, strict=True):
        assert stamp == pytest.approx(onset_s, abs=1e-6)
        assert each["onset_s"] == pytest.approx(onset_s)


def test_a_replay_is_stamped_from_now_on_at_its_own_distances() -> None:
    with bridged("replay") as (publisher, inlets):
        before_s = pylsl.local_clock()
        for epoch in range(3):
            publisher.publish(result(epoch, 0.0), 30.0 * (epoch + 1))
        stamps = [pulled(inlets.stages)[1] for _ in range(3)]
    assert stamps[0] + 30.0 == pytest.approx(before_s, abs=5.0)  # epoch 0 ended when it was said
    assert [b - a for a, b in pairwise(stamps)] == pytest.approx([30.0, 30.0])


def test_a_stream_is_found_again_by_its_source_id_and_says_what_it_is() -> None:
    with bridged("same") as (_, inlets):
        first = inlets.stages.info(SOON_S)
        numbers = inlets.probabilities.info(SOON_S)
    with bridged("same") as (_, inlets):
        again = inlets.stages.info(SOON_S)
    assert first.source_id() == again.source_id() == "hypnostream-same-stages"
    assert first.uid() != again.uid()
    assert (first.type(), numbers.type()) == ("Stages", "StageProbabilities")
    assert first.desc().child_value("results_of") == "same"
    assert numbers.get_channel_labels() == ["stage", "p_w", "p_n1", "p_n2", "p_n3", "p_r"]
    assert first.nominal_srate() == numbers.nominal_srate() == 0.0


def said(stream_s: float, published_utc_s: float, boot: str = "b1") -> StatusMessage:
    return StatusMessage(
        topic="status",
        seq=0,
        origin=Origin(session_id="s", boot_id=boot, model_hash="m", backend="b"),
        time=Moment(stream_s=stream_s, utc_s=None, utc_uncertainty_s=None, published_utc_s=published_utc_s),
        state="session_started",
    )


def test_stream_time_of_a_live_session_on_this_machine_is_the_clock_of_the_stamps() -> None:
    clock = StampClock(local=lambda: 5000.0, utc=lambda: 1e9)
    assert clock.shift_s(said(5000.0 - SAME_CLOCK_S + 0.1, 1e9)) == 0.0
    # what was said hours ago and asked for now is of the same clock
    assert StampClock(lambda: 5000.0, lambda: 1e9).shift_s(said(1400.0, 1e9 - 3600)) == 0.0


def test_another_clock_is_shifted_once_for_all_that_a_process_says() -> None:
    now = [5000.0]
    clock = StampClock(local=lambda: now[0], utc=lambda: 1e9 + now[0])
    assert clock.shift_s(said(30.0, 1e9 + 5000.0)) == pytest.approx(4970.0)
    now[0] = 5001.0  # a replay that is faster than life is ahead of the clock, and stays whole
    assert clock.shift_s(said(900.0, 1e9 + 5001.0)) == pytest.approx(4970.0)
    assert clock.shift_s(said(5001.0, 1e9 + 5001.0, boot="b2")) == 0.0


def test_an_old_message_does_not_settle_the_clock() -> None:
    clock = StampClock(local=lambda: 5000.0, utc=lambda: 1e9)
    assert clock.shift_s(said(0.0, 1e9 - 7200)) != 0.0  # a wall clock that was set since then, say
    assert clock.shift_s(said(5000.0, 1e9)) == 0.0


def test_the_command_is_a_process_of_its_own_that_ends_when_asked(lsl_session_id: str) -> None:
    with Publisher("tcp://127.0.0.1:*", model_hash="9f", backend="none") as publisher:
        command = [sys.executable, "-m", "hypnostream", "bridge", "lsl", "--connect", publisher.address]
        options = ["--name", "bed 3", "--private-session", lsl_session_id]
        with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
            try:
                assert publisher.wait_for_subscriber(SOON_S, HEARTBEAT_TOPIC)  # which a client subscribes to last
                stages = inlet("bed 3 stages")
                publisher.publish(result(0, pylsl.local_clock() - 31.0), pylsl.local_clock())
                assert pulled(stages)[0] == ["N2"]
                process.send_signal(signal.SIGTERM)
                _, err = process.communicate(timeout=SOON_S)
            finally:
                process.kill()
    assert process.returncode == 0
    assert "bed 3 stages" in err
    assert "Traceback" not in err
