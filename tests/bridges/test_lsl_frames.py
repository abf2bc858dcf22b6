"""Frames between the session and its reader, its backlog, and liblsl's configuration."""

import io
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.bridges.lsl_backlog import Backlog
from hypnostream.bridges.lsl_config import config_file, lsl_config, reader_config
from hypnostream.bridges.lsl_frames import (
    Alive,
    Begin,
    FromReader,
    Known,
    Lost,
    Overflowed,
    Samples,
    frame,
    read_commands,
    read_reports,
    unpack,
)
from hypnostream.errors import UserError


def test_samples_come_out_as_they_went_in() -> None:
    stamps = [np.array([1.0, np.nextafter(2.0, 3.0)]), np.array([5.0])]
    samples = [np.array([[1, np.nan, 3], [4, 5, np.inf]], np.float32), np.array([[7]], np.float32)]
    messages = [Samples("a", 2, 3, 9.5), Samples("b", 1, 1, 9.5, untimed=4)]
    raw = b"".join(t.tobytes() + x.tobytes() for t, x in zip(stamps, samples, strict=True))
    came = read_reports(io.BytesIO(frame(messages, raw)))
    assert came is not None
    assert came[0] == messages
    at = 0
    for message, t, x in zip(messages, stamps, samples, strict=True):
        got_t, got_x, at = unpack(message, came[1], at)
        np.testing.assert_array_equal(got_t, t)
        np.testing.assert_array_equal(got_x, x)
        got_x[:] = 0.0  # they are the receiver's own
    assert at == len(raw)


def test_commands_come_out_as_they_went_in() -> None:
    begin = Begin("[lab]\n", "type='EEG'", (Known("a", ("n", "t", "s"), "u"),), 1000, 2.5)
    stream = io.BytesIO(frame([begin]) * 2)
    assert [read_commands(stream), read_commands(stream), read_commands(stream)] == [[begin], [begin], None]


@given(st.binary(max_size=200))
def test_what_is_no_frame_is_told_from_one(noise: bytes) -> None:
    """A reader that dies in the middle of a word, or a library that prints into the pipe."""
    try:
        read_reports(io.BytesIO(noise))
    except (ValueError, msgspec.DecodeError):
        return


@given(st.integers(0, 200))
def test_half_a_frame_is_the_end(length: int) -> None:
    body = frame([Alive(1.0), Lost("eeg", "x" * 200)], b"12345678")
    assert read_reports(io.BytesIO(body[:length])) is None


def test_a_backlog_drops_the_oldest_samples_and_nothing_else() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x" * 65536)  # full: whoever writes next waits
    backlog = Backlog(writing, 20_000)
    for number in range(100):
        backlog.put([Samples("a", 1, 248, float(number))], bytes(1000), droppable=True)
        if number % 10 == 0:
            backlog.put([Lost("a", str(number))])
    assert backlog.bytes <= 20_000
    with os.fdopen(reading, "rb") as stream:
        assert stream.read(65536) == b"x" * 65536
        came: list[FromReader] = []
        while not came or came[-1] != Samples("a", 1, 248, 99.0):
            report = read_reports(stream)
            assert report is not None
            came += report[0]
        backlog.flush(5.0)
    numbers = [int(message.arrival_s) for message in came if isinstance(message, Samples)]
    dropped = sum(message.chunks for message in came if isinstance(message, Overflowed))
    assert [message.detail for message in came if isinstance(message, Lost)] == [str(n) for n in range(0, 100, 10)]
    assert len(numbers) + dropped == 100
    assert dropped > 70
    assert numbers[-15:] == list(range(85, 100))  # of the latest, nothing is missing


def test_the_readers_configuration_stands_on_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own.cfg"
    own.write_text("; ours\n[lab]\nSessionID = ward 3\nKnownPeers = {a}\n[tuning]\nTimeProbeInterval = 0.5\n")
    monkeypatch.setenv("LSLAPICFG", str(own))
    assert config_file() == own
    lines = reader_config(known_peers=("bed-1.local", "10.0.0.7")).splitlines()
    assert "SessionID = ward 3" in lines
    assert "KnownPeers = {bed-1.local, 10.0.0.7}" in lines  # asked for here: stands above the file
    assert "TimeProbeInterval = 0.5" in lines
    assert "MulticastMinRTT = 0.1" in lines
    assert "ward" not in reader_config("tests")  # a private session is nobody's
    own.write_text("[lab]\nnonsense\n")
    with pytest.raises(UserError, match="line 2: 'nonsense'"):
        reader_config()


def test_a_configuration_to_hand_out_is_complete() -> None:
    assert lsl_config(known_peers=("a", "fe80::1%eth0")) == "[lab]\nKnownPeers = {a, fe80::1%eth0}\n"
    lines = lsl_config("night").splitlines()
    assert {"ResolveScope = machine", "SessionID = night"} <= set(lines)
    assert [line for line in lines if line.startswith("[")] == ["[multicast]", "[lab]", "[log]"]
    with pytest.raises(UserError, match="LSL peer"):
        lsl_config(known_peers=("a}\n[lab]\nSessionID = x",))
