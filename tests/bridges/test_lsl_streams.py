"""The streams of a session, by what the process that reads them says."""

import numpy as np

from hypnostream.bridges.lsl_frames import Alive, Found, Known, Probe, Samples
from hypnostream.bridges.lsl_streams import LiveStreams
from hypnostream.bridges.stream_description import Description
from hypnostream.stream.source import ChannelInfo, StreamInfo


def found(name: str) -> Found:
    info = StreamInfo(name, 256.0, (ChannelInfo("C4-M1", "uV"),))
    description = Description(info, False, 1.0, 0.0, None, None, ())
    return Found(Known(name, (name, "EEG", "id 1"), f"uid of {name}"), description, False)


def test_of_a_clock_that_was_not_measured_yet_no_one_says_how_sure_it_is() -> None:
    streams = LiveStreams(lambda message: None, choosing=False)
    streams.hear([found("EEG")], bytearray())
    assert streams.uncertainty_s is None
    streams.hear([Probe("EEG", 100.0, 0.5, 0.001)], bytearray())
    assert streams.uncertainty_s is not None
    assert 0 < streams.uncertainty_s < 0.01
    streams.hear([found("SpO2")], bytearray())
    assert streams.uncertainty_s is None


def test_that_a_senders_stamps_are_not_on_its_clock_is_a_warning() -> None:
    streams = LiveStreams(lambda message: None, choosing=False)
    streams.hear([found("EEG"), Probe("EEG", 100.0, 0.0, 0.001)], bytearray())
    for at_s in (100.0, 101.0):
        stamps = at_s + 5000.0 + np.arange(256) / 256
        raw = bytearray(stamps.tobytes() + np.zeros((256, 1), np.float32).tobytes())
        streams.hear([Samples("EEG", 256, 1, at_s + 1, 0)], raw)
    assert len(streams.warnings) == 1
    assert streams.warnings[0].startswith("LSL stream 'EEG': the stamps are -5000 s off")


def test_samples_are_here_since_the_first_of_them_were_taken_from_lsl() -> None:
    streams = LiveStreams(lambda message: None, choosing=False)
    streams.hear([Alive(ahead_s=40.0), found("EEG"), Probe("EEG", 100.0, 0.0, 0.001)], bytearray())
    assert streams.here_s is None
    for at_s in (100.0, 101.0):  # of two that waited together the first counts
        stamps = at_s + np.arange(256) / 256
        raw = bytearray(stamps.tobytes() + np.zeros((256, 1), np.float32).tobytes())
        streams.hear([Samples("EEG", 256, 1, at_s + 1.25)], raw)
    assert streams.here_s == 61.25
