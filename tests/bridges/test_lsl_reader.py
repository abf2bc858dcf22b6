"""The process that reads LSL is killed, stopped, crashed and starved; senders die, come back and change."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pylsl
import pytest

from hypnostream.bridges.lsl import LslSettings, LslSource
from hypnostream.bridges.lsl_frames import Crash
from hypnostream.errors import UserError
from hypnostream.stream.source import (
    READER_RESTARTED,
    SOURCE_FOUND,
    SOURCE_LOST,
    SOURCE_REFUSED,
    Annotation,
    Arrival,
    Chunk,
    Notice,
    StreamInfo,
)
from tests.bridges.lsl_sender import Device, kill, outlet_of, prove, sending_device

SAFE_S = 15.0  # where only the order matters, not the time
Some = TypeVar("Some")


@contextmanager
def reading(name: str, required: bool = True, **settings: object) -> Iterator[LslSource]:
    """The streams whose name begins so, and no other test's."""
    source = LslSource(
        replace(LslSettings(predicates=(f"starts-with(name,'{name}')",)), **settings),  # type: ignore[arg-type]
        required,
    )
    try:
        yield source
    finally:
        source.close()


def take_until(source: LslSource, enough: Callable[[list[Arrival]], bool], within_s: float = SAFE_S) -> list[Arrival]:
    """Everything that came until it was enough."""
    arrivals: list[Arrival] = []
    deadline = time.monotonic() + within_s
    while not enough(arrivals):
        assert time.monotonic() < deadline, [a for a in arrivals if not isinstance(a, Chunk)]
        arrivals += source.take(0.2)
    return arrivals


def of(kind: type[Some], arrivals: list[Arrival], stream_id: str | None = None) -> list[Some]:
    return [a for a in arrivals if isinstance(a, kind) and stream_id in (None, getattr(a, "stream_id", None))]


def said(arrivals: list[Arrival], kind: str) -> list[str]:
    return [notice.subject for notice in of(Notice, arrivals) if notice.kind == kind]


def flowing(*stream_ids: str, least: int = 64) -> Callable[[list[Arrival]], bool]:
    """So many samples of each came."""
    return lambda arrivals: all(
        sum(len(chunk.timestamps) for chunk in of(Chunk, arrivals, stream_id)) >= least for stream_id in stream_ids
    )


def sender_time() -> float:
    return float(pylsl.local_clock())


@pytest.mark.parametrize(
    "how",
    [
        "killed",
        "crashed in native code",
        pytest.param("stopped", marks=pytest.mark.slow),
        pytest.param("hung", marks=pytest.mark.slow),
    ],
)
def test_a_reader_that_dies_is_replaced_and_what_was_missed_is_a_gap(lsl_session_id: str, how: str) -> None:
    device = Device(f"victim {how}", base_s=sender_time())
    with sending_device(lsl_session_id, device), reading(device.name) as source:
        before = take_until(source, flowing(device.name))
        assert said(before, SOURCE_FOUND) == [device.name]
        assert isinstance(before[0], StreamInfo)
        struck, pid = time.monotonic(), source.reader_pid
        match how:
            case "killed":
                os.kill(pid, signal.SIGKILL)
            case "stopped":
                os.kill(pid, signal.SIGSTOP)
            case _:
                source._reader.send(Crash(hang=how == "hung"))
        after = take_until(source, lambda arrivals: said(arrivals, READER_RESTARTED) != [])
        after += take_until(source, flowing(device.name, least=1))
        took_s = time.monotonic() - struck
        after += take_until(source, flowing(device.name))
        assert source.reader_pid != pid
        # The same stream as before: nothing else is said of it.
        assert said(after, READER_RESTARTED) == [""]
        assert len(of(Notice, after)) == 1
        assert of(StreamInfo, after) == []
        missing = prove(before + after, device.name)
        assert 0 < missing <= took_s * device.rate_hz
        assert took_s < (4.0 if how in ("killed", "crashed in native code") else 7.0)
        print(f"{how}: samples came again after {took_s:.2f} s, {missing} missing")


def test_a_reader_that_is_dead_can_be_told_things_until_another_takes_over(lsl_session_id: str) -> None:
    device = Device("told", base_s=sender_time())
    with sending_device(lsl_session_id, device), reading(device.name) as source:
        take_until(source, flowing(device.name))
        os.kill(source.reader_pid, signal.SIGKILL)
        after: list[Arrival] = []
        until = time.monotonic() + SAFE_S
        while not said(after, READER_RESTARTED) and time.monotonic() < until:
            after += source.take(0.02)
            source.expect(float(len(after)))
        assert said(after, READER_RESTARTED) == [""]


@pytest.mark.slow
def test_what_nobody_takes_is_dropped_whole_and_exactly_missing(lsl_session_id: str) -> None:
    device = Device("stalled", rate_hz=2000.0, channels=32, chunk=50, base_s=sender_time())
    with sending_device(lsl_session_id, device), reading("stalled", backlog_bytes=200_000) as source:
        before = take_until(source, flowing("stalled", least=2000))
        time.sleep(3.0)  # 800 kB; the pipe between the processes holds some more than the backlog
        after = take_until(source, flowing("stalled", least=4000))
        caught_up_s = sender_time()
        after += take_until(source, lambda arrivals: any(c.timestamps[-1] > caught_up_s for c in of(Chunk, arrivals)))
        assert any("were dropped" in warning for warning in source.warnings)
        assert said(after, READER_RESTARTED) == []  # it was our own silence
        assert 500 < prove(before + after, "stalled", device.rate_hz) < 6000


def test_a_sender_reborn_is_the_same_stream_while_the_others_go_on(lsl_session_id: str) -> None:
    base_s = sender_time()
    mortal, other = Device("mortal a", base_s=base_s), Device("mortal b", base_s=base_s)
    with (
        sending_device(lsl_session_id, other),
        sending_device(lsl_session_id, mortal) as first,
        reading("mortal", minimum=2) as source,
    ):
        arrivals = take_until(source, flowing("mortal a", "mortal b"))
        kill(first)
        arrivals += take_until(source, lambda arrivals: said(arrivals, SOURCE_LOST) == ["mortal a"])
        arrivals += take_until(source, flowing("mortal b", least=256))
        with sending_device(lsl_session_id, mortal):
            again = take_until(source, flowing("mortal a"))
        assert said(again, SOURCE_FOUND) == ["mortal a"]
        assert of(StreamInfo, again) == []  # it is what it was
        assert prove(arrivals + again, "mortal b") == 0
        assert prove(arrivals + again, "mortal a") >= 256 - 2 * 26
        first_s = next(c.timestamps[0] for c in of(Chunk, again) if c.stream_id == "mortal a")
        found_s = next(notice.at_s for notice in of(Notice, again))
        print(f"reborn: first sample {first_s - found_s:+.2f} s from its being found")


def test_the_other_life_of_a_stream_declares_itself_before_its_first_chunk(lsl_session_id: str) -> None:
    device = Device("fickle", base_s=sender_time())
    with reading("fickle", required=False) as source:
        with sending_device(lsl_session_id, device):
            take_until(source, flowing("fickle"))
        take_until(source, lambda arrivals: said(arrivals, SOURCE_LOST) == ["fickle"])
        with sending_device(lsl_session_id, replace(device, rate_hz=128.0, channels=3, unit="mV")):
            again = take_until(source, flowing("fickle"))
    infos = of(StreamInfo, again)
    assert [(info.stream_id, info.rate_hz, len(info.channels)) for info in infos] == [("fickle", 128.0, 3)]
    assert infos[0].channels[0].unit == "mV"
    chunks = of(Chunk, again)
    assert again.index(infos[0]) < min(i for i, arrival in enumerate(again) if isinstance(arrival, Chunk))
    assert all(chunk.samples.shape[1] == 3 for chunk in chunks)


def test_a_stream_of_samples_that_comes_back_as_text_is_refused_until_it_has_samples_again(lsl_session_id: str) -> None:
    device = Device("mute", base_s=sender_time())
    with reading("mute", required=False) as source:
        with sending_device(lsl_session_id, device):
            (info,) = of(StreamInfo, take_until(source, flowing("mute")))
        assert info.format == "float32"
        take_until(source, lambda arrivals: said(arrivals, SOURCE_LOST) == ["mute"])
        outlet = pylsl.StreamOutlet(pylsl.StreamInfo("mute", "EEG", 2, 256.0, "string", "id mute"))
        arrivals = take_until(source, lambda arrivals: said(arrivals, SOURCE_REFUSED) == ["mute"])
        assert "came back as text" in of(Notice, arrivals)[-1].detail
        assert source.streams == ()
        del outlet
        with sending_device(lsl_session_id, device):
            again = take_until(source, flowing("mute"))
        assert of(StreamInfo, again) == [info]
        assert of(Annotation, arrivals + again) == []


@pytest.mark.slow
def test_a_hung_sender_gives_way_to_its_next_life(lsl_session_id: str) -> None:
    device = Device("hung", base_s=sender_time())
    with sending_device(lsl_session_id, device) as first, reading("hung") as source:
        arrivals = take_until(source, flowing("hung"))
        assert first.pid is not None
        os.kill(first.pid, signal.SIGSTOP)
        with sending_device(lsl_session_id, device):
            arrivals += take_until(source, lambda arrivals: said(arrivals, SOURCE_FOUND) == ["hung"])
            arrivals += take_until(source, flowing("hung"))
        assert said(arrivals, SOURCE_LOST) == ["hung"]
        assert {chunk.stream_id for chunk in of(Chunk, arrivals)} == {"hung"}
        assert prove(arrivals, "hung") > 0


def test_a_stream_that_appears_late_is_taken_up(lsl_session_id: str) -> None:
    early = outlet_of(Device("party early"))
    with reading("party") as source:
        take_until(source, lambda arrivals: said(arrivals, SOURCE_FOUND) == ["party early"])
        late, appeared = outlet_of(Device("party late")), time.monotonic()
        arrivals = take_until(source, lambda arrivals: said(arrivals, SOURCE_FOUND) == ["party late"])
        took_s = time.monotonic() - appeared
        assert [info.stream_id for info in of(StreamInfo, arrivals)] == ["party late"]
        assert [stream.stream_id for stream in source.streams] == ["party early", "party late"]
        assert took_s < 3.0
        print(f"a late stream was found after {took_s:.2f} s")
    del early, late


@pytest.mark.slow
@pytest.mark.parametrize("source_id", ["", "the same"])
def test_twins_are_never_mixed(lsl_session_id: str, source_id: str) -> None:
    name = f"twin {source_id}".strip()
    device = Device(name, source_id=source_id, base_s=sender_time())
    other = replace(device, base_s=device.base_s - 10_000.0)  # its numbers are others
    with sending_device(lsl_session_id, device) as first, reading(name) as source:
        arrivals = take_until(source, flowing(name))
        with sending_device(lsl_session_id, other) as second:
            arrivals += take_until(source, flowing(name + "'"))
            kill(first)
            kill(second)
            arrivals += take_until(source, lambda arrivals: len(said(arrivals, SOURCE_LOST)) == 2)
        with sending_device(lsl_session_id, device), sending_device(lsl_session_id, other):
            # Nothing tells which is which now: they are streams of their own.
            arrivals += take_until(source, flowing(name + "''", name + "'''"))
    for stream_id in (name, name + "'", name + "''", name + "'''"):
        assert prove(arrivals, stream_id) == 0


def test_text_becomes_annotations_whatever_it_is(lsl_session_id: str) -> None:
    info = pylsl.StreamInfo("notes markers", "Markers", 2, 0.0, "string", "")
    outlet, samples = pylsl.StreamOutlet(info), outlet_of(Device("notes eeg"))
    with reading("notes", minimum=2) as source:
        assert [stream.stream_id for stream in source.streams] == ["notes eeg"]
        arrivals = take_until(source, lambda arrivals: len(said(arrivals, SOURCE_FOUND)) == 2)
        time.sleep(0.6)  # until the offset is known liblsl keeps what is sent
        said_s = sender_time()
        outlet.push_sample(["Lights off", "bed 3"], said_s)
        outlet.push_sample(["x" * 100_000, ""], float("nan"))
        outlet.push_sample(["y" * 100_000, "\x00\x1b[2J"], sender_time())
        arrivals += take_until(source, lambda arrivals: len(of(Annotation, arrivals)) >= 2)
        first, last = of(Annotation, arrivals)
        assert (first.text, first.origin, first.duration_s) == ("Lights off; bed 3", "notes markers", 0.0)
        assert first.onset_s == pytest.approx(said_s, abs=0.05)
        assert last.text == "y" * 500
        assert [info.stream_id for info in of(StreamInfo, arrivals)] == ["notes eeg"]
    del outlet, samples


def test_samples_without_a_time_are_left_out_and_said(lsl_session_id: str) -> None:
    outlet = outlet_of(Device("timeless"))
    with reading("timeless") as source:
        outlet.push_sample([1.0, 1.0], float("nan"))
        outlet.push_sample([2.0, 2.0], sender_time())
        arrivals = take_until(source, lambda arrivals: of(Chunk, arrivals) != [])
        assert of(Chunk, arrivals)[0].samples.tolist() == [[2.0, 2.0]]
        assert source.warnings == ["LSL stream 'timeless' sent 1 samples without a time"]
    del outlet


def test_a_late_stream_on_another_clock_is_refused_with_its_reason(lsl_session_id: str) -> None:
    device = Device("clock of lsl", base_s=sender_time())
    with sending_device(lsl_session_id, device), reading("clock") as source:
        take_until(source, flowing(device.name))
        info = pylsl.StreamInfo("clock of its own", "EEG", 1, 100.0, "float32", "its own")
        info.desc().append_child_value("clock", "stream")
        outlet = pylsl.StreamOutlet(info)
        arrivals = take_until(source, lambda arrivals: said(arrivals, SOURCE_REFUSED) != [])
        assert said(arrivals, SOURCE_REFUSED) == ["clock of its own"]
        assert "carries stream time; the session runs on the clock of LSL" in of(Notice, arrivals)[-1].detail
        for _ in range(20):
            outlet.push_sample([0.0])
        arrivals = take_until(source, flowing(device.name, least=128))
        assert of(Chunk, arrivals, "clock of its own") == []
        assert [stream.stream_id for stream in source.streams] == ["clock of lsl"]
        del outlet


def test_a_session_that_resumes_keeps_its_clock_whoever_is_there_first(lsl_session_id: str) -> None:
    info = pylsl.StreamInfo("clock of its own", "EEG", 1, 100.0, "float32", "its own")
    info.desc().append_child_value("clock", "stream")
    outlet = pylsl.StreamOutlet(info)
    with reading("clock", required=False) as source:
        source.go_on(stream_clock=False)
        arrivals = take_until(source, lambda arrivals: said(arrivals, SOURCE_REFUSED) != [])
        assert said(arrivals, SOURCE_REFUSED) == ["clock of its own"]
        with sending_device(lsl_session_id, Device("clock of lsl", base_s=sender_time())):
            take_until(source, flowing("clock of lsl"))
    del outlet


def test_a_session_that_resumes_waits_for_nothing(lsl_session_id: str) -> None:
    with reading("nobody yet", required=False) as source:
        assert source.streams == ()
        assert not source.exhausted
        assert (source.speed, source.duration_s, source.uncertainty_s) == (1.0, None, None)
        with sending_device(lsl_session_id, Device("nobody yet", base_s=sender_time())):
            arrivals = take_until(source, flowing("nobody yet"))
        assert source.uncertainty_s is not None
        chunk = of(Chunk, arrivals)[0]
        assert abs(source.now_s - chunk.timestamps[-1]) < SAFE_S
        assert source.start_s == chunk.timestamps[0]


@pytest.mark.slow
@pytest.mark.parametrize("stream_clock", [False, True])
def test_with_seconds_expected_samples_come_when_one_is_complete(lsl_session_id: str, stream_clock: bool) -> None:
    """The moment is measured within this machine: what is left is the time from push to `take`."""
    begins_s = sender_time()
    devices = [
        Device(f"prompt {name}", base_s=begins_s + shift, stream_clock=stream_clock)
        for name, shift in (("a", 0.0), ("b", 0.011))
    ]
    with sending_device(lsl_session_id, *devices), reading("prompt", minimum=2) as source:
        t0_s = of(Chunk, take_until(source, lambda arrivals: of(Chunk, arrivals) != []))[0].timestamps[0]
        source.expect(float(t0_s))
        arrivals: list[Arrival] = []
        late_s, batches = [], 0
        deadline = time.monotonic() + 8.0
        while time.monotonic() < deadline:
            taken = source.take(0.2)
            batches += bool(taken)
            arrivals += taken
            for chunk in of(Chunk, taken):
                ends_s = t0_s + np.floor(chunk.timestamps[-1] - t0_s + 1.02 / 256)
                completing = np.flatnonzero(chunk.timestamps >= ends_s - 1.02 / 256)
                if len(completing) and chunk.timestamps[0] < ends_s and time.monotonic() > deadline - 5.0:
                    last_s = chunk.timestamps[-1] + (begins_s if stream_clock else 0.0)
                    late_s.append(sender_time() - last_s)
        assert prove(arrivals, "prompt a") == prove(arrivals, "prompt b") == 0
        assert batches < 8 * 60  # of 256 pushes in that time
        assert np.median(late_s) < 0.05
        print(f"median {1e3 * np.median(late_s):.1f} ms, {batches / 8:.0f} batches a second")


def test_the_reader_ends_with_its_session(lsl_session_id: str) -> None:
    program = (
        "import os, sys; from hypnostream.bridges.lsl import *; from hypnostream.bridges.lsl_settings import *;"
        f"source = LslSource(LslSettings(private_session={lsl_session_id!r}), required=False); source.take(1.0);"
        "assert 'pylsl' not in sys.modules; print(source.reader_pid, flush=True); os.kill(os.getpid(), 9)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ran.returncode == -9, ran.stderr
    pid, deadline = int(ran.stdout), time.monotonic() + SAFE_S
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_session_of_a_bed_never_loads_liblsl() -> None:
    program = "import sys, hypnostream.bridges.live; sys.exit('pylsl' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unusable_session_or_peer_is_one_line() -> None:
    with pytest.raises(UserError, match="LSL session id"):
        LslSource(LslSettings(private_session="a b"))
    with pytest.raises(UserError, match="LSL peer"):
        LslSource(LslSettings(known_peers=("a, b}",)))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:  # a zombie that nobody waits for has ended
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
