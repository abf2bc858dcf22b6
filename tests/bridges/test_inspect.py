import json
from contextlib import closing
from pathlib import Path

import pytest

from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.inspect import Inspection, inspect, to_builtins, to_text
from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.source import ChannelInfo, ListSource, StreamInfo

SNIPPETS = Path(__file__).parents[2].parent / "shared" / "data" / "psg_snippets"
SPECS = (
    ChannelSpec("eeg_frontal", "eeg", "uV", 100, ("F4-M1", "C4-M1"), 0.3, 35.0),
    ChannelSpec("eog", "eog", "uV", 100, ("E1-E2",), 0.3, 15.0),
    ChannelSpec("spo2", "spo2", "%", 1, ("SpO2",)),
)
CHANNELS = (
    ChannelInfo("C4", "V"),
    ChannelInfo("M1", "V"),
    ChannelInfo("M2", "V"),
    ChannelInfo("C3-M2", "uV"),
    ChannelInfo("C4 Imp", "Ohm"),
    ChannelInfo("Mystery", "V"),
    ChannelInfo("ECG", "mV"),
    ChannelInfo("SpO2", "mV"),
    ChannelInfo("[red]\x1b[2J", ""),
)


def inspected() -> Inspection:
    source = ListSource((StreamInfo("lsl:a", 200.0, CHANNELS),), [], warnings=["the header was \x1b[1mcut"])
    return inspect(source, SPECS)


def test_every_channel_is_told_what_it_is_taken_for_or_why_not() -> None:
    lines = {channel.label: channel for channel in inspected().channels}
    assert len(lines) == len(CHANNELS)
    assert lines["C4"].taken_for == lines["M1"].taken_for == ("eeg_frontal",)
    assert lines["C4"].why == lines["M1"].why
    assert "made from 'C4' minus 'M1'" in lines["C4"].why
    assert lines["M2"].why == "a reference that no derivation here needs"
    assert lines["C3-M2"].why == "not needed: eeg_frontal has C4-M1"
    assert lines["C4 Imp"].why == "impedance, which no input is made of"
    assert lines["Mystery"].why == "its label names no sensor that is known"
    assert lines["ECG"].why == "this model has no ecg input"
    assert lines["SpO2"].why == "cannot serve: its unit 'mV' cannot become %"


def test_every_input_is_told_how_it_is_had_or_why_not() -> None:
    frontal, eog, spo2 = inspected().inputs
    assert frontal.derivation == "C4-M1"
    assert (eog.derivation, eog.why) == (None, "no channel here reads as E1-E2")
    assert spo2.derivation is None
    assert "cannot become %" in spo2.why


def test_a_program_gets_the_same_as_json() -> None:
    plain = json.loads(json.dumps(to_builtins(inspected())))
    assert set(plain) == {"channels", "inputs", "notes", "warnings"}
    assert plain["channels"][0]["taken_for"] == ["eeg_frontal"]
    assert plain["channels"][0]["rate_hz"] == 200.0
    assert plain["inputs"][1]["derivation"] is None


@pytest.mark.parametrize("width", [60, 140])
def test_the_text_shows_all_and_fits_the_terminal(width: int) -> None:
    text = to_text(inspected(), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "\x1b" not in text
    for word in ("eeg_frontal", "missing", "Mystery", "[red]", "Warnings"):
        assert word in text
    assert "\x1b[3" in to_text(inspected(), width=width, color=True)
    assert "\x1b[2J" not in to_text(inspected(), width=width, color=True)


def test_streams_of_one_rate_are_told_apart_by_name() -> None:
    streams = tuple(StreamInfo(name, 200.0, (ChannelInfo("C4-M1", "uV"),)) for name in ("bed one", "bed two"))
    text = to_text(inspect(ListSource(streams, []), SPECS))
    assert "bed one" in text
    assert "bed two" in text
    assert "lsl:a" not in to_text(inspected())


def test_an_override_is_shown_and_a_wrong_one_refused() -> None:
    source = ListSource((StreamInfo("lsl:a", 200.0, CHANNELS),), [])
    assert inspect(source, SPECS, {"eeg_frontal": "Mystery"}).inputs[0].derivation == "Mystery"
    with pytest.raises(UserError, match="Mystery"):
        inspect(source, SPECS, {"eeg_frontal": "Mistery"})


@pytest.mark.skipif(not SNIPPETS.is_dir(), reason="the real recordings of ../shared/data are not here")
def test_a_real_clinical_recording_is_told_in_full() -> None:
    with closing(EdfSource(SNIPPETS / "nox_a1_2min.edf")) as source:
        inspection = inspect(source, SPECS)
        assert len(inspection.channels) == sum(len(stream.channels) for stream in source.streams) == 89
    assert all(channel.why for channel in inspection.channels)
    assert {name for channel in inspection.channels for name in channel.taken_for} == {"eeg_frontal", "eog", "spo2"}
    assert any("Impédance" in line for line in to_text(inspection).splitlines())
