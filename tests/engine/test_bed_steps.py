"""A bed by its steps: streams that come, go and come back different, and a bed that is taken up where it was."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bed_state import BedState, Said
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.engine.written_state import read_state, write_state
from hypnostream.stream.channels import Montage
from hypnostream.stream.source import (
    SAMPLES_LOST,
    SOURCE_CHANGED,
    SOURCE_FOUND,
    SOURCE_LOST,
    SOURCE_REFUSED,
    SOURCE_RESUMED,
    SOURCE_STALLED,
    Annotation,
    Arrival,
    ChannelInfo,
    Chunk,
    Notice,
    Step,
    StreamInfo,
)

BUNDLE = load_bundle()
BACKEND = OnnxBackend(BUNDLE)
EEG = StreamInfo("EEG", 128.0, (ChannelInfo("Fpz-Cz", "uV"), ChannelInfo("Pz-Oz", "uV")))
EOG = StreamInfo("EOG", 64.0, (ChannelInfo("EOG horizontal", "uV"),))
POSITION = StreamInfo("Position", 1.0, (ChannelInfo("Body position"),))


def empty_bed(t0_s: float = 0.0, overrides: dict[str, str] | None = None, provisional: bool = False) -> Bed:
    return Bed(
        (),
        Montage(tuple(BUNDLE.channels), ()),
        Session(BUNDLE, BACKEND, t0_s),
        2.0,
        provisional,
        overrides,
        reorder_s=0.3,
    )


def signal(info: StreamInfo, from_s: float, until_s: float) -> Chunk:
    """The same signal however it is cut: sample k of a stream depends on k alone."""
    first, last = round(from_s * info.rate_hz), round(until_s * info.rate_hz)
    k = np.arange(first, last)
    noise = np.sin(k[:, None] * 0.37 + np.arange(len(info.channels))) + np.sin(k[:, None] ** 2 % 1009)
    return Chunk(info.stream_id, (20 * noise).astype(np.float32), k / info.rate_hz)


def play(bed: Bed, infos: list[StreamInfo], from_s: float, until_s: float, step_s: float = 1.0) -> Said:
    """All that the streams send, in steps; declarations belong to the caller."""
    total = Said()
    for at_s in np.arange(from_s, until_s, step_s).tolist():
        say(bed, at_s + step_s, [signal(info, at_s, at_s + step_s) for info in infos], total)
    return total


def say(bed: Bed, now_s: float, arrivals: Sequence[Arrival], total: Said | None = None) -> Said:
    said = bed.step(Step(now_s, tuple(arrivals)))
    if total is not None:
        total.results += said.results
        total.notices += said.notices
        total.annotations += said.annotations
    return said


def kinds(said: Said) -> list[tuple[str, str]]:
    return [(notice.kind, notice.subject) for notice in said.notices]


def quality(result: StageResult) -> dict[str, str]:
    return {channel.name: channel.quality for channel in result.channels}


def served(bed: Bed) -> dict[str, str]:
    return {derivation.spec.name: derivation.stream_id for derivation in bed.montage.derivations}


def test_a_stream_that_comes_late_is_taken_up_and_its_past_was_never_there() -> None:
    bed = empty_bed()
    assert kinds(say(bed, 0.0, [EEG])) == [(SOURCE_FOUND, "EEG")]
    play(bed, [EEG], 0.0, 40.0)
    assert kinds(say(bed, 40.0, [EOG])) == [(SOURCE_FOUND, "EOG")]
    said = play(bed, [EEG, EOG], 40.0, 91.0)
    first, second = said.results
    assert quality(first)["eog"] == "ok"  # 20 of its 30 s
    assert next(c.ok_fraction for c in first.channels if c.name == "eog") == pytest.approx(19 / 30, abs=0.05)
    assert set(quality(second).values()) == {"ok"}


def test_streams_declared_together_are_weighed_together() -> None:
    poor = StreamInfo("A", 128.0, (ChannelInfo("EEG 1", "uV"),))
    bed = empty_bed()
    say(bed, 0.0, [poor, EEG])
    assert served(bed)["eeg_frontal"] == "EEG"


def test_a_stream_that_nothing_is_taken_from_is_said_and_harms_nobody() -> None:
    bed = empty_bed()
    said = say(bed, 0.0, [EEG, POSITION])
    assert kinds(said) == [(SOURCE_FOUND, "EEG"), (SOURCE_FOUND, "Position")]
    detail = next(notice.detail for notice in said.notices if notice.subject == "Position")
    assert detail.startswith("serves nothing")
    assert len(play(bed, [EEG, POSITION], 0.0, 31.0).results) == 1


def test_a_stream_that_came_back_the_same_goes_on_with_a_gap() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG, EOG])
    play(bed, [EEG, EOG], 0.0, 20.0)
    play(bed, [EOG], 20.0, 40.0)
    said = Said()
    assert kinds(say(bed, 40.0, [EEG], said)) == []
    say(bed, 40.5, [signal(EEG, 40.0, 40.5)], said)
    assert kinds(said) == [(SOURCE_RESUMED, "EEG")]
    assert said.notices[0].seconds == pytest.approx(20.0, abs=0.02)


def test_a_stream_that_was_lost_is_said_to_be_back_however_soon() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0, 0.2)
    said = say(bed, 10.1, [Notice(SOURCE_LOST, "EEG", 10.0)])
    assert kinds(said) == [(SOURCE_LOST, "EEG")]
    said = say(bed, 11.0, [EEG, signal(EEG, 10.5, 11.0)])
    assert kinds(said) == [(SOURCE_RESUMED, "EEG")]
    assert said.notices[0].seconds == pytest.approx(0.5, abs=0.01)


def test_a_stream_that_came_back_with_another_rate_is_a_new_segment_and_said() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 25.0)
    faster = replace(EEG, rate_hz=256.0)
    said = say(bed, 35.0, [faster])
    assert kinds(said)[0] == (SOURCE_CHANGED, "EEG")
    assert "128 Hz, now 256 Hz" in said.notices[0].detail
    results = play(bed, [faster], 35.0, 91.0).results
    assert [result.epoch for result in results] == [0, 1, 2]
    assert next(c.ok_fraction for c in results[1].channels if c.name == "eeg_frontal") == pytest.approx(
        25 / 30, abs=0.1
    )
    assert quality(results[2])["eeg_frontal"] == "ok"


def test_a_stream_that_came_back_as_something_else_is_refused_and_said() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0)
    other = StreamInfo("EEG", 128.0, (ChannelInfo("Body position"), ChannelInfo("Light")))
    said = say(bed, 12.0, [other])
    assert kinds(said) == [(SOURCE_REFUSED, "EEG")]
    assert "now 'Body position'" in said.notices[0].detail
    results = play(bed, [other], 12.0, 64.0).results
    assert [result.stage for result in results][-1] is None


def test_other_units_are_another_stream_not_a_louder_one() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0)
    volts = replace(EEG, channels=tuple(replace(channel, unit="V") for channel in EEG.channels))
    said = say(bed, 10.0, [volts])
    assert kinds(said) == [(SOURCE_CHANGED, "EEG")]
    assert "unit of 'Fpz-Cz' 'uV', now 'V'" in said.notices[0].detail


def test_another_sample_format_is_a_new_segment_where_both_say_theirs() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0)
    floats, integers = replace(EEG, format="float32"), replace(EEG, format="int16")
    assert kinds(say(bed, 10.0, [floats])) == []  # a session of before this was known goes on
    assert kinds(say(bed, 10.0, [EEG])) == []
    said = say(bed, 11.0, [floats, integers])
    assert kinds(said) == [(SOURCE_CHANGED, "EEG")]
    assert "samples as float32, now int16" in said.notices[0].detail
    results = play(bed, [integers], 11.0, 61.0).results
    assert quality(results[-1])["eeg_frontal"] == "ok"


def test_a_sensor_that_replaces_one_that_fell_silent_takes_its_place_and_gives_it_back() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0)
    spare = replace(EEG, stream_id="Spare")
    assert kinds(say(bed, 10.0, [spare])) == [(SOURCE_FOUND, "Spare")]
    assert set(served(bed).values()) == {"EEG"}  # the first is well: nothing changes hands
    other = replace(EEG, stream_id="Other")
    play(bed, [], 10.0, 15.0)
    assert "EEG" in bed.stalled
    say(bed, 15.0, [other])
    assert set(served(bed).values()) == {"EEG"}  # a short silence hands no night over
    said = play(bed, [other, spare], 15.0, 60.0)
    assert (SOURCE_FOUND, "Other") in kinds(said)
    assert set(served(bed).values()) == {"Other"}
    said = play(bed, [EEG], 60.0, 110.0)  # now the replacement falls silent, and the first speaks again
    assert (SOURCE_FOUND, "EEG") in kinds(said)
    assert set(served(bed).values()) == {"EEG"}
    assert bed.counts["EEG"].received > 30 * 128  # 10 s of its first time, 20 s of its second


def test_a_stall_is_said_once_within_three_seconds_of_the_last_sample_and_so_is_its_end() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0, 0.2)
    said = play(bed, [], 10.0, 20.0, 0.2)
    (stall,) = [notice for notice in said.notices if notice.kind == SOURCE_STALLED]
    assert stall.at_s == pytest.approx(10.0)
    assert stall.seconds is not None
    assert 2.0 < stall.seconds <= 3.0
    assert kinds(play(bed, [EEG], 20.0, 22.0, 0.2)) == [(SOURCE_RESUMED, "EEG")]


def test_a_stream_of_no_use_to_the_model_is_looked_after_too() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG, POSITION])
    play(bed, [EEG, POSITION], 0.0, 10.0)
    said = play(bed, [EEG], 10.0, 31.0)
    assert kinds(said) == [(SOURCE_STALLED, "Position")]
    assert bed.stalled == ("Position",)
    assert len(said.results) == 1
    assert (SOURCE_RESUMED, "Position") in kinds(play(bed, [EEG, POSITION], 31.0, 33.0))
    assert bed.counts["Position"].received == 12
    assert set(served(bed).values()) == {"EEG"}


def test_a_stream_that_asks_for_a_place_in_vain_goes_on_as_it_was_and_nothing_is_said() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG, POSITION])
    play(bed, [EEG, POSITION], 0.0, 10.0)
    said = play(bed, [POSITION], 10.0, 45.0)  # from 40 s on the EEG's places are free: asked for, in vain
    play(bed, [], 45.0, 55.0)
    said.notices += play(bed, [POSITION], 55.0, 70.0).notices
    of_position = [notice for notice in said.notices if notice.subject == "Position"]
    assert [(notice.kind, notice.samples) for notice in of_position] == [(SOURCE_RESUMED, None), (SAMPLES_LOST, 10)]
    assert bed.gaps["Position"] == 1
    assert bed.counts["Position"].lost == 10


def test_a_stream_that_gave_its_place_away_is_looked_after_when_it_asks_for_it_in_vain() -> None:
    bed = empty_bed()
    other = replace(EEG, stream_id="Other")
    say(bed, 0.0, [EEG, EOG])
    play(bed, [EEG, EOG], 0.0, 10.0)
    say(bed, 20.0, [])
    say(bed, 45.0, [other])
    said = play(bed, [EEG, other], 45.0, 65.0)  # the EOG's place is free, and the EEG has no use for it
    assert [notice.detail[:15] for notice in said.notices if notice.kind == SOURCE_FOUND] == ["serves nothing:"]
    assert bed.counts["EEG"].received == 30 * 128


def test_what_a_stream_lost_is_said_before_it_takes_a_place() -> None:
    bed = empty_bed()
    spare = replace(EEG, stream_id="Spare")
    say(bed, 0.0, [EEG, spare])
    play(bed, [EEG, spare], 0.0, 31.0)
    play(bed, [spare], 31.0, 33.0)
    said = play(bed, [spare], 33.5, 61.5)
    assert [kind for kind in kinds(said) if kind[1] == "Spare"] == [(SAMPLES_LOST, "Spare"), (SOURCE_FOUND, "Spare")]
    assert [notice.samples for notice in said.notices if notice.subject == "Spare"] == [64, None]


def test_what_was_asked_for_and_is_not_there_is_said() -> None:
    bed = empty_bed(overrides={"eeg_frontal": "Kanal 7"})
    said = say(bed, 0.0, [EEG])
    assert "'Kanal 7' names no channel here" in said.notices[0].detail
    assert "'Kanal 7' names no channel here" in dict(bed.montage.missing)["eeg_frontal"]


def test_what_was_lost_is_counted_to_the_sample_and_said_with_the_epoch() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    generator = np.random.default_rng(5)
    lost = 0
    total = Said()
    for packet in range(31 * 8):  # packets of 16 samples
        if packet > 8 and packet < 200 and generator.random() < 0.1:
            lost += 16
            continue
        say(bed, (packet + 1) / 8, [signal(EEG, packet / 8, (packet + 1) / 8)], total)
    assert bed.counts["EEG"].lost == lost
    assert [(notice.kind, notice.samples) for notice in total.notices] == [(SAMPLES_LOST, lost)]


def test_what_a_stream_lost_is_said_before_it_becomes_another() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 5.0)
    play(bed, [EEG], 5.5, 8.5)
    said = say(bed, 9.0, [replace(EEG, rate_hz=256.0)])
    assert [(notice.kind, notice.samples) for notice in said.notices] == [(SAMPLES_LOST, 64), (SOURCE_CHANGED, None)]


def test_chunks_that_overtook_one_another_are_put_in_order() -> None:
    in_order, swapped = empty_bed(), empty_bed()
    told = []
    for bed, order in ((in_order, (0, 1)), (swapped, (1, 0))):
        say(bed, 0.0, [EEG])
        total = Said()
        for at in np.arange(0.0, 31.0, 0.25).tolist():
            halves = [signal(EEG, at, at + 0.125), signal(EEG, at + 0.125, at + 0.25)]
            first, second = order if at else (0, 1)  # of the very first no one knows what was before it
            say(bed, at + 0.2, [halves[first]], total)
            say(bed, at + 0.25, [halves[second]], total)
        told.append([replace(result, compute_s=0.0) for result in total.results])
        assert bed.counts["EEG"].lost == 0
    assert told[0] == told[1]


def test_an_override_waits_for_the_stream_that_has_it() -> None:
    bed = empty_bed(overrides={"eeg_frontal": "Odd label"})
    say(bed, 0.0, [EEG])
    assert "eeg_frontal" not in served(bed)
    odd = StreamInfo("Odd", 128.0, (ChannelInfo("Odd label", "uV"),))
    say(bed, 1.0, [odd])
    assert served(bed)["eeg_frontal"] == "Odd"


def test_markers_and_notices_pass_through_in_order() -> None:
    bed = empty_bed()
    note = Notice("reader_restarted", "", 1.0)
    said = say(bed, 1.0, [EEG, Annotation(0.5, 0.0, "lights off", "Markers"), note, Notice(SOURCE_FOUND, "EEG", 1.0)])
    assert kinds(said) == [(SOURCE_FOUND, "EEG"), ("reader_restarted", "")]
    assert [annotation.text for annotation in said.annotations] == ["lights off"]


def _story() -> list[Step]:
    """Two minutes in which much happens."""
    steps: list[Step] = []
    faster = replace(EOG, rate_hz=128.0)
    oximeter = StreamInfo("SpO2", 0.0, (ChannelInfo("SpO2", "%"),))
    for at_s in np.arange(0.0, 125.0, 0.5).tolist():
        arrivals: list[Arrival] = []
        if at_s == 0.0:
            arrivals += [EEG]
        if at_s == 20.0:
            arrivals += [EOG, oximeter]
        if at_s == 70.0:
            arrivals += [faster]
        if not 33.0 <= at_s < 45.0:
            arrivals.append(signal(EEG, at_s, at_s + 0.5))
        if 20.0 <= at_s < 60.0:
            arrivals.append(signal(EOG, at_s, at_s + 0.5))
        if at_s >= 70.0:
            arrivals.append(signal(faster, at_s, at_s + 0.5))
        if at_s >= 20.0 and at_s % 3 == 0:
            arrivals.append(Chunk("SpO2", np.array([[95.0]], np.float32), np.array([at_s])))
        steps.append(Step(at_s + 0.5, tuple(arrivals)))
    return steps


STORY = _story()


def _told(bed: Bed, steps: list[Step]) -> list[object]:
    told: list[object] = []
    for step in steps:
        said = bed.step(step)
        told += [replace(result, compute_s=0.0) for result in said.results]
        told += said.notices
    return told


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, len(STORY)), max_size=4).map(sorted))
def test_written_down_and_taken_up_anywhere_it_says_the_same(cuts: list[int]) -> None:
    whole = _told(empty_bed(provisional=True), STORY)
    bed, told, begin = empty_bed(provisional=True), list[object](), 0
    for cut in [*cuts, len(STORY)]:
        told += _told(bed, STORY[begin:cut])
        begin = cut
        written = write_state(bed.snapshot())
        bed = empty_bed(provisional=True)
        bed.restore(read_state(written, BedState))
        assert write_state(bed.snapshot()) == written
    assert told == whole
    assert any(isinstance(each, Notice) and each.kind == SOURCE_CHANGED for each in whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 255))
def test_a_state_that_was_garbled_is_refused_or_is_one(position: int, value: int) -> None:
    bed = empty_bed()
    _told(bed, STORY[:50])
    data = bytearray(write_state(bed.snapshot()))
    data[position % len(data)] = value
    try:
        state = read_state(bytes(data), BedState)
    except ValueError:
        return
    assert isinstance(state, BedState)


def test_a_stream_that_was_silent_from_its_beginning_has_a_gap_since_then() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 100.0)
    say(bed, 100.0, [EOG])
    stalled = play(bed, [EEG], 100.0, 105.0)
    assert [(notice.kind, notice.at_s) for notice in stalled.notices] == [(SOURCE_STALLED, 100.0)]
    said = say(bed, 106.0, [signal(EOG, 105.0, 106.0)])
    assert kinds(said)[0] == (SOURCE_RESUMED, "EOG")
    assert said.notices[0].seconds == pytest.approx(5.0)


def test_a_stamp_that_no_one_believes_says_nothing_of_a_gap() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0)
    say(bed, 20.0, [])
    absurd = signal(EEG, 19.5, 20.0)
    said = say(bed, 20.0, [replace(absurd, timestamps=absurd.timestamps + 1e15)])
    assert kinds(said)[0] == (SOURCE_RESUMED, "EEG")
    assert said.notices[0].seconds == pytest.approx(10.0, abs=0.1)


def test_what_a_stream_lost_is_said_before_it_gives_way() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0)
    say(bed, 12.0, [signal(EEG, 11.0, 12.0)])
    say(bed, 25.0, [])
    said = say(bed, 45.0, [replace(EEG, stream_id="spare")])
    said.notices = [notice for notice in said.notices if notice.kind != SOURCE_STALLED]
    assert [(notice.kind, notice.samples) for notice in said.notices] == [(SAMPLES_LOST, 128), (SOURCE_FOUND, None)]


def test_what_was_lost_in_the_last_epoch_can_be_asked_for() -> None:
    bed = empty_bed()
    say(bed, 0.0, [EEG])
    play(bed, [EEG], 0.0, 10.0)
    say(bed, 12.0, [signal(EEG, 11.0, 12.0)])
    bed.finish(12.0)
    assert [notice.samples for notice in bed.losses()] == [128]
    assert bed.losses() == []
