"""Real LSL on this machine alone: what was sent arrives, sample by sample, and is described as it was."""

import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import numpy as np
import pylsl
import pytest
from numpy.typing import NDArray

from hypnostream.bridges.lsl import LslSettings, LslSource
from hypnostream.bridges.lsl_config import private_lsl_config, use_private_lsl
from hypnostream.bridges.lsl_description import buffer_s
from hypnostream.bridges.lsl_outlet import LslOutlets, stream_simulated_night
from hypnostream.errors import UserError
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_faults import typical_faults
from hypnostream.stream.source import ChannelInfo, Chunk, ListSource, Source, StreamInfo

pytestmark = pytest.mark.usefixtures("lsl_session_id")
Read = dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]]
START_UTC = datetime(2026, 3, 4, 22, 15, 30, tzinfo=UTC)


def counting_source(duration_s: int, rates_hz: dict[str, int], gap_s: tuple[float, float] = (0, 0)) -> ListSource:
    """Streams whose channel 0 carries sample numbers and channel 1 NaN in places, in batches of ten seconds."""
    streams = tuple(
        StreamInfo(
            name,
            float(rate),
            (ChannelInfo("EEG Fp1-Ä2", "µV", -500.0, 499.5, "AgCl", "HP:0.1Hz"), ChannelInfo("EOG horizontal", "uV")),
            name,
            "float32",
        )
        for name, rate in rates_hz.items()
    )
    batches = []
    for start_s in range(0, duration_s, 10):
        batch = []
        for name, rate in rates_hz.items():
            numbers = np.arange(start_s * rate, min(start_s + 10, duration_s) * rate)
            numbers = numbers[(numbers / rate < gap_s[0]) | (numbers / rate >= gap_s[1])]
            if len(numbers):
                samples = np.stack([numbers, np.where(numbers % 7, numbers, np.nan)], axis=1).astype(np.float32)
                batch.append(Chunk(name, samples, numbers / rate))
        batches.append(batch)
    return ListSource(streams, batches, start_utc=START_UTC, duration_s=float(duration_s))


@contextmanager
def sending(source: Source, speed: float = float("inf"), prefix: str = "") -> Iterator[threading.Thread]:
    """The source on its outlets, sent from a thread as soon as somebody reads."""
    outlets = LslOutlets(source, speed, prefix)

    def send() -> None:
        if outlets.wait_for_consumers(20.0):
            outlets.run()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30.0)
        outlets.linger(5.0)
        outlets.close()


@contextmanager
def reading(settings: LslSettings) -> Iterator[LslSource]:
    source = LslSource(settings)
    try:
        yield source
    finally:
        source.close()


def read_all(source: Source, within_s: float = 60.0) -> Read:
    chunks: list[Chunk] = []
    deadline = time.monotonic() + within_s
    while not source.exhausted:
        assert time.monotonic() < deadline, "the end never came"
        chunks += source.read(timeout_s=0.5)
    return {
        stream.stream_id: (
            np.concatenate([chunk.samples for chunk in chunks if chunk.stream_id == stream.stream_id]),
            np.concatenate([chunk.timestamps for chunk in chunks if chunk.stream_id == stream.stream_id]),
        )
        for stream in source.streams
    }


def test_every_sample_arrives_once_with_its_time_and_its_gap() -> None:
    rates_hz = {"eeg": 256, "resp": 25, "spo2": 1}
    sent = counting_source(60, rates_hz, gap_s=(21.0, 33.5))
    with sending(sent), reading(LslSettings(minimum=3)) as source:
        assert source.streams == sent.streams
        assert (source.start_s, source.start_utc, source.duration_s) == (0.0, START_UTC, 60.0)
        read = read_all(source)
        assert source.warnings == []
    for name, rate in rates_hz.items():
        numbers = np.arange(60 * rate)
        numbers = numbers[(numbers / rate < 21.0) | (numbers / rate >= 33.5)]
        samples, timestamps = read[name]
        np.testing.assert_array_equal(samples[:, 0], numbers)
        np.testing.assert_array_equal(samples[:, 1], np.where(numbers % 7, numbers, np.nan).astype(np.float32))
        np.testing.assert_allclose(timestamps, numbers / rate, rtol=0, atol=1e-12)
        assert samples.dtype == np.float32
        assert timestamps.dtype == np.float64


def test_nothing_is_lost_when_the_reader_sleeps_while_an_hour_is_sent_at_once() -> None:
    sent = counting_source(3600, {"eeg": 128, "spo2": 1})
    with sending(sent) as sender, reading(LslSettings(minimum=2)) as source:
        sender.join(60.0)  # not a sample is read before the last one was sent
        assert not sender.is_alive()
        read = read_all(source)
    np.testing.assert_array_equal(read["eeg"][0][:, 0], np.arange(3600 * 128))
    np.testing.assert_array_equal(read["spo2"][0][:, 0], np.arange(3600))


def test_a_backlog_is_read_with_the_streams_in_step() -> None:
    with sending(counting_source(300, {"eeg": 100, "spo2": 1})) as sender, reading(LslSettings(minimum=2)) as source:
        sender.join(30.0)
        newest = {"eeg": 0.0, "spo2": 0.0}
        while not source.exhausted:
            for chunk in source.read(0.5):
                newest[chunk.stream_id] = float(chunk.timestamps[-1])
            assert abs(newest["eeg"] - newest["spo2"]) <= 21.0


def test_a_night_from_another_process_is_the_simulated_night(lsl_session_id: str) -> None:
    settings = NightSettings(duration_s=90.0, rate_hz=128, faults=typical_faults(90.0, seed=4))
    spawn = multiprocessing.get_context("spawn")
    monitor = spawn.Process(target=stream_simulated_night, args=(settings, 60.0, lsl_session_id, 9, 20.0, 20.0))
    monitor.start()
    try:
        with reading(LslSettings(minimum=4, resolve_timeout_s=30.0)) as source:
            begun = time.monotonic()
            read = read_all(source)
            took_s = time.monotonic() - begun
        monitor.join(10.0)
        assert monitor.exitcode == 0
    finally:
        monitor.kill()
        monitor.join()
    assert 0.5 < took_s < 10.0  # 90 s at sixty times the speed of life
    local = read_all(SimulatedSource(simulate_night(settings, seed=9)))
    assert read.keys() == local.keys()
    for stream_id, (samples, timestamps) in local.items():
        np.testing.assert_array_equal(read[stream_id][0], samples)
        np.testing.assert_allclose(read[stream_id][1], timestamps, rtol=0, atol=1e-12)


def test_another_session_is_not_seen() -> None:
    spawn = multiprocessing.get_context("spawn")
    night = NightSettings(duration_s=30.0)
    stranger = spawn.Process(target=stream_simulated_night, args=(night, 60.0, "somebody-else", 0, 20.0, 0.0))
    stranger.start()
    try:
        with pytest.raises(UserError, match="no LSL streams matched"):
            LslSource(LslSettings(types=("EEG",), resolve_timeout_s=3.0))
        assert stranger.is_alive()
    finally:
        stranger.kill()
        stranger.join()


def foreign_outlet(
    name: str, stream_type: str = "EEG", rate_hz: float = 100.0, fmt: str = "float32"
) -> pylsl.StreamOutlet:
    """A stream of three channels as other senders make them, without a word of ours in its description."""
    info = pylsl.StreamInfo(name, stream_type, 3, rate_hz, fmt, f"foreign-{name}")
    channels = info.desc().append_child("channels")
    first = channels.append_child("channel")
    first.append_child_value("label", "C3")
    first.append_child_value("unit", "microvolts")
    channels.append_child("channel").append_child_value("type", "EOG")
    return pylsl.StreamOutlet(info)


def test_a_stream_on_the_clock_of_lsl_gets_its_offset_and_its_labels() -> None:
    outlet = foreign_outlet("amplifier", fmt="int16")
    with reading(LslSettings(predicates=("name='amplifier'",), max_silence_s=0.3)) as source:
        stream = source.streams[0]
        assert [channel.label for channel in stream.channels] == ["C3", "EOG 2", "EEG 3"]
        assert stream.channels[0].unit == "microvolts"
        assert stream.rate_hz == 100.0
        assert "describes 2 of its 3 channels" in source.warnings[0]
        sent_at = pylsl.local_clock() + np.arange(-49, 1) / 100
        outlet.push_chunk(np.arange(150, dtype=np.int16).reshape(50, 3), sent_at.tolist())
        read = read_all(source)
        assert source.exhausted  # by silence
        samples, timestamps = read["amplifier"]
        np.testing.assert_array_equal(samples, np.arange(150).reshape(50, 3))
        np.testing.assert_allclose(timestamps, sent_at, rtol=0, atol=0.005)
        np.testing.assert_allclose(np.diff(timestamps), 0.01, atol=1e-6)
        assert source.start_s == timestamps[0]
        assert source.start_utc is not None
        assert abs(source.start_utc - datetime.now(UTC)) < timedelta(seconds=5)
        assert source.duration_s is None


def test_an_irregular_rate_is_taken() -> None:
    buttons = foreign_outlet("buttons", "Buttons", 0.0)
    with reading(LslSettings(types=("Buttons",), max_silence_s=0.3)) as source:
        assert [(stream.stream_id, stream.rate_hz) for stream in source.streams] == [("buttons", 0.0)]
        buttons.push_sample([1.0, 2.0, 3.0])
        assert read_all(source)["buttons"][0].tolist() == [[1.0, 2.0, 3.0]]


def test_two_streams_of_one_name_are_two_streams() -> None:
    outlets = [foreign_outlet("twin"), foreign_outlet("twin")]
    with reading(LslSettings(predicates=("name='twin'",), minimum=2)) as source:
        assert [stream.stream_id for stream in source.streams] == ["twin", "twin'"]
    del outlets


@pytest.mark.slow
def test_no_stream_in_time_names_the_predicate_and_what_was_seen() -> None:
    outlet = foreign_outlet("somebody")
    with pytest.raises(UserError, match=r"type='Sonar'.*0\.8 s.*'somebody' \(EEG\)"):
        LslSource(LslSettings(types=("Sonar",), resolve_timeout_s=0.8))
    with pytest.raises(UserError, match=r"1 LSL stream matched .*\(2 wanted\)"):
        LslSource(LslSettings(predicates=("name='somebody'",), minimum=2, resolve_timeout_s=0.8))
    with pytest.raises(UserError, match="no LSL streams matched"):
        LslSource(LslSettings(predicates=("name='",), resolve_timeout_s=0.8))
    with pytest.raises(UserError, match="quote"):
        LslSource(LslSettings(types=("' or '1'='1",)))
    del outlet


def test_streams_on_different_clocks_are_refused() -> None:
    outlet = foreign_outlet("amplifier")
    ours = LslOutlets(counting_source(10, {"simulated": 10}))
    with pytest.raises(UserError, match="simulated carry stream time and amplifier the clock of LSL"):
        LslSource(LslSettings(minimum=2))
    ours.close()
    del outlet


def test_a_reader_of_some_streams_is_enough_to_begin() -> None:
    sent = counting_source(10, {"eeg": 64, "ecg": 64})
    with sending(sent), reading(LslSettings(types=("ECG",))) as source:
        assert len(read_all(source)["ecg"][0]) == 640


def test_without_a_reader_the_wait_ends() -> None:
    outlets = LslOutlets(counting_source(10, {"eeg": 64}), float("inf"))
    assert not outlets.wait_for_consumers(0.1)
    assert outlets.run() == 640
    assert outlets.linger(0.1)
    outlets.close()


def test_buffers_hold_what_a_sender_can_be_ahead() -> None:
    assert buffer_s(1.0, None, 256) == 360
    assert buffer_s(60.0, 28800.0, 256) == 1200
    assert buffer_s(float("inf"), 28800.0, 256) == 28860
    assert buffer_s(float("inf"), None, 1.0) == 12 * 3600
    assert buffer_s(1e9, 1e9, 1e6) == 16  # a stranger's word does not take the memory


@pytest.mark.parametrize("session_id", ["", "a b", "x\nResolveScope = site", "y" * 65])
def test_a_session_id_cannot_smuggle_settings(session_id: str) -> None:
    with pytest.raises(UserError, match="LSL session id"):
        private_lsl_config(session_id)


def test_one_process_has_one_session(lsl_session_id: str) -> None:
    use_private_lsl(lsl_session_id)
    with pytest.raises(UserError, match="already"):
        use_private_lsl("another")
