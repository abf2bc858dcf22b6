import json
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import pyxdf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.bridges.recorded import open_recording
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.tables import read_epochs
from hypnostream.bridges.xdf import XdfSource
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import ChannelInfo, Chunk, ListSource, Source, StreamInfo
from tests import xdf_files as xdf
from tests.command_line import Cli
from tests.recordings import between, night, write_night
from tests.xdf_files import RECORDER_S, SenderClock

RATE_HZ = 100
STREAM = StreamInfo("eeg", float(RATE_HZ), (ChannelInfo("C4", "uV"), ChannelInfo("M1", "uV")))


def read_all(source: XdfSource) -> dict[str, Chunk]:
    """Every sample of each stream, in the order in which it was given out."""
    got: dict[str, list[Chunk]] = {}
    while not source.exhausted:
        for chunk in source.read(0.0):
            got.setdefault(chunk.stream_id, []).append(chunk)
    return {
        name: Chunk(name, np.concatenate([c.samples for c in chunks]), np.concatenate([c.timestamps for c in chunks]))
        for name, chunks in got.items()
    }


def numbered(seconds: float, gaps_s: tuple[tuple[float, float], ...] = ()) -> Chunk:
    """Channel 0 counts samples; nothing between the borders of a gap."""
    stamps = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    kept = np.ones(len(stamps), bool)
    for begin_s, end_s in gaps_s:
        kept &= (stamps < begin_s) | (stamps >= end_s)
    count = np.arange(len(stamps), dtype=np.float32)
    return Chunk("eeg", np.stack([count, -count], axis=1)[kept], stamps[kept])


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def oracle(path: Path, **options: bool) -> NDArray[np.float64]:
    """The stamps of the first stream as pyxdf has them, from the first one on."""
    streams, _ = pyxdf.load_xdf(str(path), dejitter_timestamps=False, **options)
    stamps: NDArray[np.float64] = streams[0]["time_stamps"]
    return stamps - RECORDER_S


@pytest.mark.parametrize("sparse", [True, False])
def test_a_recorded_night_comes_back_whatever_the_senders_clocks(tmp_path: Path, sparse: bool) -> None:
    streams, sent = night(4)
    clocks = [SenderClock(1e5, 1e-4), SenderClock(-3000.0, -5e-5), SenderClock(), SenderClock(77.0, 2e-4)]
    content = xdf.recording(streams, sent, clocks[: len(streams)], sparse_stamps=sparse)
    source = XdfSource(written(tmp_path / "night.xdf", content), chunk_s=7.0)
    assert source.warnings == ()
    assert source.duration_s == pytest.approx(120.0, abs=0.11)
    assert source.start_utc == datetime(2026, 3, 28, 21, 41, tzinfo=UTC)
    assert {info.stream_id: info.rate_hz for info in source.streams} == {i.stream_id: i.rate_hz for i in streams}
    got = read_all(source)
    for info, chunk in zip(streams, sent, strict=True):
        own = next(each for each in source.streams if each.stream_id == info.stream_id)
        assert [(c.label, c.unit) for c in own.channels] == [(c.label, c.unit) for c in info.channels]
        assert np.array_equal(got[info.stream_id].samples, chunk.samples, equal_nan=True)
        assert np.abs(got[info.stream_id].timestamps - chunk.timestamps).max() < 1e-4


def test_each_read_reaches_the_same_time_in_all_streams(tmp_path: Path) -> None:
    streams, sent = night(2)
    content = xdf.recording(streams, sent, [SenderClock(n * 100.0) for n in range(len(streams))])
    source = XdfSource(written(tmp_path / "night.xdf", content), chunk_s=7.0)
    reached = 0.0
    while not source.exhausted:
        chunks, reached = source.read(0.0), reached + 7.0
        for chunk in chunks:
            assert reached - 7.0 - 1e-6 <= chunk.timestamps[0]
            assert chunk.timestamps[-1] < reached
        assert len(chunks) == len(streams)


def test_stamps_are_those_of_pyxdf_under_drift_and_jitter(tmp_path: Path) -> None:
    content = xdf.recording([STREAM], [numbered(600.0)], [SenderClock(1234.5, 1e-4)], error_s=5e-4)
    path = written(tmp_path / "drift.xdf", content)
    got = read_all(XdfSource(path))["eeg"]
    theirs = oracle(path)
    assert np.abs(got.timestamps - (theirs - theirs[0])).max() < 1e-3
    assert np.abs(got.timestamps - numbered(600.0).timestamps).max() < 1e-3
    streams, _ = pyxdf.load_xdf(str(path))
    assert np.array_equal(got.samples, streams[0]["time_series"])


def test_a_measurement_that_waited_in_the_network_moves_no_stamp(tmp_path: Path) -> None:
    clock, sent = SenderClock(50.0), numbered(300.0)
    parts = [b"XDF:", xdf.file_header(), xdf.stream_header(1, "eeg", RATE_HZ, [("C4", "uV"), ("M1", "uV")])]
    for second in range(0, 300, 5):
        late_s = 0.8 if second in (100, 105, 200) else 0.0
        parts.append(clock.measured(1, RECORDER_S + second, late_s))
        rows = slice(second * RATE_HZ, (second + 5) * RATE_HZ)
        stamps = clock.of(sent.timestamps[rows] + RECORDER_S).tolist()
        parts.append(xdf.samples(1, stamps, sent.samples[rows], "float32"))
    source = XdfSource(written(tmp_path / "late.xdf", b"".join(parts)))
    assert np.abs(read_all(source)["eeg"].timestamps - sent.timestamps).max() < 1e-6
    assert source.warnings == ()


@pytest.mark.parametrize("jump_s", [-50_000.0, -20.0, 30.0, 50_000.0])
@pytest.mark.parametrize("gap_s", [0.0, 20.0])
def test_a_sender_s_new_clock_is_a_gap_and_nothing_more(tmp_path: Path, jump_s: float, gap_s: float) -> None:
    before, after = SenderClock(60_000.0, 2e-5), SenderClock(60_000.0 + jump_s, 2e-5)
    sent = numbered(600.0, ((300.0, 300.0 + gap_s), (100.0, 112.0)))
    parts = [b"XDF:", xdf.file_header(), xdf.stream_header(1, "eeg", RATE_HZ, [("C4", "uV"), ("M1", "uV")])]
    for second in range(0, 600, 5):
        clock = before if second < 300 else after
        if second < 300 or second >= 300 + gap_s:
            parts.append(clock.measured(1, RECORDER_S + second + 2.5))
        rows = slice(*np.searchsorted(sent.timestamps, [second, second + 5]))
        if rows.stop > rows.start:
            stamps = clock.of(sent.timestamps[rows] + RECORDER_S).tolist()
            parts.append(xdf.samples(1, stamps, sent.samples[rows], "float32"))
    path = written(tmp_path / "reset.xdf", b"".join(parts))
    source = XdfSource(path)
    got = read_all(source)["eeg"]
    assert np.array_equal(got.samples, sent.samples)
    assert np.abs(got.timestamps - sent.timestamps).max() < 1e-3
    assert "started again 1 times" in source.warnings[0]
    naive = oracle(path, handle_clock_resets=False)
    assert np.abs(naive - naive[0] - sent.timestamps).max() > 1.0  # one line over both clocks is seconds off
    if jump_s == -50_000.0:
        theirs = oracle(path)
        assert np.abs(got.timestamps - (theirs - theirs[0])).max() < 2e-3


def test_gaps_are_gaps(tmp_path: Path) -> None:
    sent = numbered(60.0, ((10.0, 25.0), (40.0, 40.7)))
    path = written(tmp_path / "gaps.xdf", xdf.recording([STREAM], [sent], [SenderClock(9.0)]))
    source = XdfSource(path, chunk_s=5.0)
    got = read_all(source)["eeg"]
    assert np.array_equal(got.samples, sent.samples)
    assert np.abs(got.timestamps - sent.timestamps).max() < 1e-6
    assert source.duration_s == pytest.approx(60.0, abs=0.11)


def test_text_is_annotations_on_the_same_clock(tmp_path: Path) -> None:
    markers = [(12.25, "Lights off"), (30.0, "Körperlage: links"), (50.0, "")]
    content = xdf.recording([STREAM], [numbered(60.0)], [SenderClock(-4000.0, 1e-4)], markers)
    source = XdfSource(written(tmp_path / "markers.xdf", content))
    assert [(a.text, a.duration_s, a.origin) for a in source.annotations] == [
        ("Lights off", 0.0, "markers"),
        ("Körperlage: links", 0.0, "markers"),
    ]
    assert [a.onset_s for a in source.annotations] == pytest.approx([12.25, 30.0], abs=1e-4)


@pytest.mark.parametrize("sample_format", ["float32", "double64", "int8", "int16", "int32", "int64"])
def test_every_kind_of_number_is_read_as_pyxdf_reads_it(tmp_path: Path, sample_format: str) -> None:
    values = np.array([[1, -2], [100, 7], [0, 127]])
    content = b"XDF:" + xdf.file_header() + xdf.stream_header(7, "x", 10.0, [("a", ""), ("b", "")], None, sample_format)
    content += xdf.samples(7, [5.0, None, 5.2], values, sample_format)
    path = written(tmp_path / "kinds.xdf", content)
    got = read_all(XdfSource(path))["x"]
    theirs = pyxdf.load_xdf(str(path))[0][0]
    assert np.array_equal(got.samples, theirs["time_series"])
    assert got.samples.dtype == np.float32
    assert got.timestamps == pytest.approx([0.0, 0.1, 0.2])


def test_an_irregular_stream_has_rate_0_and_channels_without_a_description_have_names(tmp_path: Path) -> None:
    content = b"XDF:" + xdf.file_header() + xdf.stream_header(1, "oximeter", 0.0, count=2, kind="SpO2")
    content += xdf.samples(1, [1.0, 1.7, 9.0], np.array([[97, 60], [96, 61], [95, 62]]), "float32")
    source = XdfSource(written(tmp_path / "irregular.xdf", content))
    assert source.streams[0].rate_hz == 0.0
    assert [channel.label for channel in source.streams[0].channels] == ["SpO2 1", "SpO2 2"]
    assert read_all(source)["oximeter"].timestamps == pytest.approx([0.0, 0.7, 8.0])


def test_streams_of_one_name_are_two_and_results_of_a_session_are_none(tmp_path: Path) -> None:
    content = b"XDF:" + xdf.file_header()
    for number in (1, 2):
        content += xdf.stream_header(number, "eeg", RATE_HZ, [("C4", "uV")])
        content += xdf.samples(number, [1.0, None], np.zeros((2, 1)), "float32")
    results = "<results_of>a1b2</results_of>"
    content += xdf.stream_header(3, "bed stages", 0.0, [], 1, "string", "Stages", results) + xdf.texts(3, [(1.0, "N2")])
    source = XdfSource(written(tmp_path / "two.xdf", content))
    assert [info.stream_id for info in source.streams] == ["eeg", "eeg'"]
    assert source.annotations == ()


def test_stamps_that_are_declared_as_stream_time_are_taken_as_they_are(tmp_path: Path) -> None:
    declared = "<clock>stream</clock><start_utc>2026-01-02T22:00:00+00:00</start_utc>"
    content = b"XDF:" + xdf.file_header()
    content += xdf.stream_header(1, "night", RATE_HZ, [("C4", "uV")], extra=declared)
    content += xdf.stream_header(2, "other", RATE_HZ, [("C3", "uV")])
    content += xdf.clock_offset(1, 60.0, 777.0) + xdf.samples(1, [60.0, None], np.zeros((2, 1)), "float32")
    content += xdf.samples(2, [60.0, None], np.zeros((2, 1)), "float32")
    source = XdfSource(written(tmp_path / "declared.xdf", content))
    assert read_all(source)["night"].timestamps == pytest.approx([60.0, 60.01])
    assert source.start_utc == datetime(2026, 1, 2, 22, tzinfo=UTC)
    assert "'other' has another clock" in source.warnings[0]


@pytest.fixture(scope="module")
def minute() -> bytes:
    return xdf.recording([STREAM], [numbered(60.0)], [SenderClock(9.0)], [(5.0, "lights off")])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.77, 0.999])
def test_of_a_file_that_was_cut_short_all_that_is_there_is_read(tmp_path: Path, minute: bytes, share: float) -> None:
    source = XdfSource(written(tmp_path / "cut.xdf", minute[: int(len(minute) * share)]))
    got, sent = read_all(source)["eeg"], numbered(60.0)
    assert len(got.samples) == pytest.approx(share * len(sent.samples), abs=0.6 * RATE_HZ)
    assert np.array_equal(got.samples, sent.samples[: len(got.samples)])
    assert np.abs(got.timestamps - sent.timestamps[: len(got.samples)]).max() < 1e-6
    assert len(source.warnings) <= 2


def test_damage_costs_what_is_up_to_the_next_boundary_and_is_said(tmp_path: Path, minute: bytes) -> None:
    at = len(minute) // 2
    damaged = minute[:at] + b"\xff" * 40 + minute[at + 40 :]
    source = XdfSource(written(tmp_path / "damaged.xdf", damaged))
    got, sent = read_all(source)["eeg"], numbered(60.0)
    assert len(sent.samples) - 10.5 * RATE_HZ <= len(got.samples) < len(sent.samples)
    place = np.round(got.timestamps * RATE_HZ).astype(int)
    whole = (got.samples[:, 0] == place) | ~np.isfinite(got.samples).all(axis=1)
    assert whole.mean() > 0.99
    assert place[-1] == len(sent.samples) - 1
    assert source.warnings


def test_a_damaged_header_costs_its_stream_alone(tmp_path: Path) -> None:
    good = xdf.stream_header(1, "eeg", RATE_HZ, [("C4", "uV")])
    good += xdf.samples(1, [1.0, None], np.zeros((2, 1)), "float32")
    bad = xdf.chunk(2, b"\2\0\0\0<info><name>broken") + xdf.samples(2, [1.0], np.zeros((1, 1)), "float32")
    source = XdfSource(written(tmp_path / "header.xdf", b"XDF:" + xdf.file_header() + bad + good))
    assert [info.stream_id for info in source.streams] == ["eeg"]
    assert any("a stream was left out" in warning for warning in source.warnings)
    assert any("without a header" in warning for warning in source.warnings)


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("<!DOCTYPE x [<!ENTITY a 'aaaa'>]><info>&a;</info>", "DOCTYPE"),
        (
            "<info><name>x</name><channel_format>float32</channel_format><channel_count>9e9</channel_count></info>",
            "9e9",
        ),
        ("<info><name>x</name><channel_format>pickle</channel_format></info>", "pickle"),
    ],
)
def test_a_hostile_header_is_refused_by_name(tmp_path: Path, what: str, reason: str) -> None:
    content = b"XDF:" + xdf.chunk(2, b"\1\0\0\0" + what.encode())
    content += xdf.stream_header(2, "eeg", RATE_HZ, [("C4", "uV")])
    content += xdf.samples(2, [1.0, None], np.zeros((2, 1)), "float32")
    source = XdfSource(written(tmp_path / "hostile.xdf", content))
    assert any(reason in warning for warning in source.warnings)


def test_a_count_of_samples_that_are_not_there_costs_no_memory(tmp_path: Path) -> None:
    good = xdf.stream_header(1, "eeg", RATE_HZ, [("C4", "uV")]) + xdf.samples(1, [1.0], np.zeros((1, 1)), "float32")
    bomb = xdf.chunk(3, b"\1\0\0\0\x08" + b"\xff" * 7 + b"\x7f" + b"\x08" + b"\0" * 12)
    source = XdfSource(written(tmp_path / "bomb.xdf", b"XDF:" + good + bomb))
    assert len(read_all(source)["eeg"].samples) <= 2
    assert "could not be read whole" in source.warnings[0]


def test_a_stamp_of_another_century_makes_no_longer_night(tmp_path: Path) -> None:
    content = b"XDF:" + xdf.stream_header(1, "eeg", RATE_HZ, [("C4", "uV")])
    for second in range(20):
        stamp = {7: 1e12, 9: math.nan, 11: -1e300}.get(second, 100.0 + second)
        content += xdf.samples(1, [stamp, *[None] * (RATE_HZ - 1)], np.full((RATE_HZ, 1), second), "float32")
    source = XdfSource(written(tmp_path / "century.xdf", content))
    assert source.duration_s == pytest.approx(20.0)
    got = read_all(source)["eeg"]
    assert set(got.samples[:, 0].astype(int)) >= set(range(20)) - {7, 9, 11}
    assert "impossible stamps" in " ".join(source.warnings)


@pytest.mark.parametrize("content", [b"", b"XDF", b"XDF:", b"EDF:", b"XDF:" + b"\0" * 50, b"\x1f\x8b\x08\0"])
def test_what_is_no_recording_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError) as error:
        XdfSource(written(tmp_path / "none.xdf", content))
    assert "\n" not in str(error.value)
    assert "none.xdf" in str(error.value)


def test_a_file_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read"):
        open_recording(tmp_path / "nothing.xdf")


def test_the_first_bytes_say_what_a_recording_is(tmp_path: Path, edf: Path, minute: bytes) -> None:
    assert open_recording(edf).streams[0].stream_id.startswith("edf:")
    source = open_recording(written(tmp_path / "named.edf", minute), chunk_s=2.0)
    assert source.streams[0].stream_id == "eeg"
    assert source.annotations[0].text == "lights off"
    source.close()
    assert source.exhausted


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_gives_a_recording_or_one_clear_line(tmp_path: Path, minute: bytes, data: st.DataObject) -> None:
    content = bytearray(minute[:30_000])
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(4, len(content) - 1))
        put = data.draw(st.binary(min_size=1, max_size=12))
        content[at : at + data.draw(st.integers(0, 12))] = put
    path = written(tmp_path / "fuzzed.xdf", bytes(content))
    try:
        source = XdfSource(path, chunk_s=3600.0)
    except UserError:
        return
    assert 0 <= source.duration_s < 30 * 86400
    got = read_all(source)
    assert sum(len(chunk.samples) for chunk in got.values()) <= len(content)
    assert all(np.isfinite(chunk.timestamps).all() for chunk in got.values())
    assert all("\n" not in warning for warning in source.warnings)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_any_bytes_give_one_clear_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError):
        XdfSource(written(tmp_path / "bytes.xdf", b"XDF:" + content))


def test_a_night_in_xdf_gives_the_stages_that_it_gives_in_edf(tmp_path: Path) -> None:
    streams, sent = night(10)
    clocks = [SenderClock(1e5, 5e-5), SenderClock(-3000.0), SenderClock(0.0, -2e-5), SenderClock(77.0)]
    content = xdf.recording(streams, sent, clocks, [(40.0, "Lights off"), (200.0, "lights on")], error_s=1e-3)
    options = [ReplayOptions(out=tmp_path / name) for name in ("xdf-report", "edf-report")]
    from_xdf, _ = replay(written(tmp_path / "night.xdf", content), options[0])
    from_edf, _ = replay(write_night(tmp_path / "night.edf", 10), options[1])
    (_, ours), (_, theirs) = (read_epochs(option.out / "epochs.parquet") for option in options if option.out)
    assert [row.stage for row in ours] == [row.stage for row in theirs]
    assert len(ours) == 10
    assert max(abs(a.probability("N2") - b.probability("N2")) for a, b in zip(ours, theirs, strict=True)) < 0.02
    assert from_xdf.lights_off_s == pytest.approx(40.0, abs=0.01)
    assert from_xdf.lights_on_s == pytest.approx(200.0, abs=0.01)
    assert from_xdf.sleep.recording_min == pytest.approx(160 / 60, abs=1e-3)
    assert from_edf.lights_off_s is None
    assert [channel.label for channel in from_xdf.channels] == [channel.label for channel in from_edf.channels]


def test_the_same_samples_give_the_same_night_from_xdf_and_from_memory(tmp_path: Path) -> None:
    streams, sent = night(4)
    content = xdf.recording(streams, sent, [SenderClock()] * len(streams), sparse_stamps=False)
    source = XdfSource(written(tmp_path / "night.xdf", content), chunk_s=30.0)
    assert staged(source) == staged(
        ListSource(
            source.streams,
            [
                [part for chunk in sent for part in between(chunk, begin_s - 1e-3, begin_s + 30 - 1e-3)]
                for begin_s in (0.0, 30.0, 60.0, 90.0)
            ],
        )
    )


def staged(source: Source) -> list[tuple[int, str | None, tuple[float, ...]]]:
    """What a bed says of a source, probabilities to a thousandth: stamps differ by a microsecond."""
    bundle = load_bundle()
    bed = Bed(source.streams, resolve(source.streams, bundle.channels), Session(bundle, OnnxBackend(bundle), 0.0))
    bed.provisional = False
    results = []
    while not source.exhausted:
        bed.push(source.read(0.0))
        results += bed.advance(bed.reached_s)
    results += bed.finish(120.0)
    return [(r.epoch, r.stage, tuple(round(p, 3) for p in r.probabilities)) for r in results if r.final]


def test_the_command_line_takes_an_xdf_file(cli: Cli, tmp_path: Path, minute: bytes) -> None:
    path = written(tmp_path / "minute.xdf", minute)
    inspected = cli("inspect", path, "--json")
    assert inspected.code == 0
    assert [channel["label"] for channel in json.loads(inspected.out)["channels"]] == ["C4", "M1"]
    replayed = cli("replay", path, "--out", tmp_path / "report")
    assert (replayed.code, "Traceback" in replayed.err) == (0, False)
    assert "2 epochs" in replayed.out
    assert cli("replay", written(tmp_path / "none.xdf", b"XDF:")).code == 2
