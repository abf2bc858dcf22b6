"""One process reads LSL for many: each hears its own streams, and what befalls the process or one of them is mended."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from hypnostream.bridges.lsl import LslSettings, LslSource, StoppedError
from hypnostream.bridges.lsl_config import reader_config
from hypnostream.bridges.lsl_frames import Alive, Begin, Lost, Message, Overflowed, Samples, Together
from hypnostream.bridges.lsl_shared_reader import ReaderShare, SharedReader
from hypnostream.stream.clock import VirtualClock
from hypnostream.stream.source import READER_RESTARTED, SOURCE_FOUND, Arrival, Chunk, Notice
from tests.bridges.lsl_sender import Device, prove, sending_device

WITHIN_S = 30.0


@contextmanager
def shared(session_id: str) -> Iterator[SharedReader]:
    reader = SharedReader(Together(reader_config(session_id, many=True), 64_000_000))
    try:
        yield reader
    finally:
        reader.close()


def source_of(reader: SharedReader, name: str, required: bool = True) -> LslSource:
    settings = LslSettings(predicates=(f"name='{name}'",), resolve_timeout_s=WITHIN_S)
    return LslSource(settings, required, reader.share)


def taken(source: LslSource, samples: int) -> list[Arrival]:
    arrivals: list[Arrival] = []
    deadline = time.monotonic() + WITHIN_S
    while sum(len(each.timestamps) for each in arrivals if isinstance(each, Chunk)) < samples:
        assert time.monotonic() < deadline, [each for each in arrivals if not isinstance(each, Chunk)]
        arrivals += source.take(0.2)
    return arrivals


def notices(arrivals: list[Arrival]) -> list[str]:
    return [each.kind for each in arrivals if isinstance(each, Notice)]


@pytest.mark.slow
def test_each_hears_its_own_streams_and_all_go_on_after_the_process_was_killed(lsl_session_id: str) -> None:
    names = ("left", "right")
    devices = [Device(f"shared {name}", base_s=time.monotonic()) for name in names]
    with sending_device(lsl_session_id, *devices), shared(lsl_session_id) as reader, ExitStack() as stack:
        nonsense = source_of(reader, "'", required=False)  # a query that is none
        stack.callback(nonsense.close)
        sources = [source_of(reader, device.name) for device in devices]
        for source in sources:
            stack.callback(source.close)
        came = [taken(source, 256) for source in sources]
        before = reader.pid
        os.kill(before, signal.SIGKILL)
        for arrivals, source in zip(came, sources, strict=True):
            while READER_RESTARTED not in notices(arrivals):
                arrivals += taken(source, 1)
            arrivals += taken(source, 256)
        assert reader.pid != before
        for arrivals, device in zip(came, devices, strict=True):
            assert {each.stream_id for each in arrivals if isinstance(each, Chunk)} == {device.name}
            assert notices(arrivals) == [SOURCE_FOUND, READER_RESTARTED]
            prove(arrivals, device.name)
        assert any("is no query" in each.detail for each in nonsense.take(1.0) if isinstance(each, Notice))


def test_who_leaves_is_read_for_no_more_and_the_others_are(lsl_session_id: str) -> None:
    device = Device("shared by two", base_s=time.monotonic())
    with sending_device(lsl_session_id, device), shared(lsl_session_id) as reader:
        first, second = (source_of(reader, device.name) for _ in range(2))
        taken(first, 64)
        first.close()
        came = taken(second, 512)
        assert prove(came, device.name) == 0
        second.close()


def test_who_waits_for_streams_can_be_told_to_stop(lsl_session_id: str) -> None:
    stop = threading.Event()
    with shared(lsl_session_id) as reader:
        threading.Timer(0.5, stop.set).start()
        began = time.monotonic()
        with pytest.raises(StoppedError):
            LslSource(
                LslSettings(predicates=("name='no one'",), resolve_timeout_s=60.0), True, reader.share, stop.is_set
            )
        assert time.monotonic() - began < 30.0


def test_a_bed_that_takes_nothing_loses_its_oldest_samples_and_holds_up_no_other(lsl_session_id: str) -> None:
    wall = VirtualClock()
    with shared(lsl_session_id) as reader:
        share = ReaderShare(reader, 1, lambda: Begin("", "", (), 0), wall.now)
        share._life = reader.lives  # it is read for already
        lost = Lost("ecg", "its sender is gone")
        share.put(([lost], bytearray()), 100)
        for second in range(8):
            wall.wait_until(2.0 * second)
            assert not share.held_up or second >= 6
            share.put(([Samples("eeg", 1, 8, float(second))], bytearray(40)), 100)
        assert share.held_up
        assert share.bytes == 80
        came: list[Message] = []
        while share.waiting:
            frame = share.take(0.0)
            assert frame is not None
            came += [message for message in frame[0] if not isinstance(message, Alive)]
        assert came == [lost, Overflowed(6), Samples("eeg", 1, 8, 6.0), Samples("eeg", 1, 8, 7.0)]
        assert not share.held_up
