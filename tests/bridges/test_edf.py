"""Sound EDF files of every kind, beside what edfio makes of them."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import edfio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.bridges.edf import EdfSource, read_annotations
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.stream.source import Annotation, Source

SNIPPETS = Path(__file__).parents[2].parent / "shared" / "data" / "psg_snippets"
needs_snippets = pytest.mark.skipif(not SNIPPETS.is_dir(), reason="../shared/data/psg_snippets is not there")

Streams = dict[str, tuple[NDArray[np.float64], NDArray[np.float32]]]


def read_all(source: EdfSource) -> Streams:
    """Every stream's timestamps (n,) and samples (n, channels)."""
    times: dict[str, list[NDArray[np.float64]]] = {info.stream_id: [] for info in source.streams}
    samples: dict[str, list[NDArray[np.float32]]] = {info.stream_id: [] for info in source.streams}
    while not source.exhausted:
        chunks = source.read(0.0)
        assert chunks
        assert len({chunk.stream_id for chunk in chunks}) == len(chunks)
        for chunk in chunks:
            assert chunk.samples.dtype == np.float32
            assert chunk.samples.shape[0] == chunk.timestamps.shape[0] > 0
            times[chunk.stream_id].append(chunk.timestamps)
            samples[chunk.stream_id].append(chunk.samples)
    assert source.read(0.0) == []
    return {key: (np.concatenate(times[key]), np.concatenate(samples[key])) for key in times}


def ramp(count: int) -> NDArray[np.float64]:
    """Samples that say where they belong: 0, 1, 2, ..."""
    return np.arange(count, dtype=np.float64)


def numbered(label: str, rate_hz: float, seconds: float, **more: str) -> EdfSignal:
    return EdfSignal(label, ramp(round(rate_hz * seconds)), rate_hz, minimum=-32768, maximum=32767, **more)


@needs_snippets
@pytest.mark.parametrize("name", ["sleepedf_5min.edf", "nox_a1_2min.edf"])
def test_real_files_read_as_edfio_reads_them(name: str) -> None:
    oracle = edfio.read_edf(SNIPPETS / name)
    source = EdfSource(SNIPPETS / name, chunk_s=7.0)
    assert not source.warnings
    assert source.duration_s == oracle.duration
    read = read_all(source)
    left = list(oracle.signals)
    for info in source.streams:
        times, samples = read[info.stream_id]
        np.testing.assert_allclose(times, np.arange(len(times)) / info.rate_hz, atol=1e-9)
        same_rate = [signal for signal in left if signal.sampling_frequency == info.rate_hz]
        assert [channel.unit.encode() for channel in info.channels] == [
            s._physical_dimension.strip() for s in same_rate
        ]
        assert [channel.label.encode() for channel in info.channels] == [s._label.strip() for s in same_rate]
        for column, signal in enumerate(same_rate):
            span = signal.physical_max - signal.physical_min
            np.testing.assert_allclose(samples[:, column], signal.data, atol=1e-6 * span, rtol=1e-5)
            left.remove(signal)
    assert not left


@needs_snippets
def test_the_clinical_file_keeps_its_accents_units_and_rates() -> None:
    source = EdfSource(SNIPPETS / "nox_a1_2min.edf")
    channels = {channel.label: (info.rate_hz, channel) for info in source.streams for channel in info.channels}
    assert len(channels) == 89
    assert channels["C3-M2"][0] == 200.0
    assert channels["C3-M2"][1].unit == "V"
    assert channels["C3 Impédance"][1].unit == "Ohm"
    assert channels["PosAngle"][1].unit == "°"
    assert (channels["Saturation"][1].minimum, channels["Saturation"][1].maximum) == (-3276.8, 3276.7)
    assert source.start_utc == datetime(2018, 2, 6, 1, 36, 50, tzinfo=UTC)


def test_it_keeps_the_source_protocol(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [numbered("EEG", 4, 2)])
    source: Source = EdfSource(tmp_path / "a.edf")
    assert (source.start_s, source.duration_s, source.exhausted) == (0.0, 2.0, False)
    source.close()
    assert source.exhausted
    assert source.read(1.0) == []


@pytest.mark.parametrize("chunk_s", [0.3, 1.0, 2.5, 30.0, 1000.0])
def test_what_is_read_does_not_depend_on_the_chunk(tmp_path: Path, chunk_s: float) -> None:
    write_edf(tmp_path / "a.edf", [numbered("EEG", 100, 60), numbered("SpO2", 1, 60)], record_s=5)
    source = EdfSource(tmp_path / "a.edf", chunk_s)
    assert [(info.stream_id, info.rate_hz) for info in source.streams] == [("edf:100", 100.0), ("edf:1", 1.0)]
    read = read_all(source)
    for key, rate in (("edf:100", 100), ("edf:1", 1)):
        times, samples = read[key]
        np.testing.assert_allclose(samples[:, 0], ramp(60 * rate), atol=1e-2)
        np.testing.assert_allclose(times, ramp(60 * rate) / rate, atol=1e-9)


def test_a_batch_ends_at_one_time_for_all_streams(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [numbered("EEG", 100, 12), numbered("SpO2", 1, 12)], record_s=4)
    source = EdfSource(tmp_path / "a.edf", chunk_s=5.0)
    ends = [[chunk.timestamps[-1] for chunk in source.read(0.0)] for _ in range(3)]
    np.testing.assert_allclose(ends, [[4.99, 4.0], [9.99, 9.0], [11.99, 11.0]])


@given(
    pauses=st.lists(st.integers(0, 50), min_size=1, max_size=12),
    record_s=st.sampled_from([0.5, 1.0, 30.0]),
    chunk_s=st.floats(0.4, 200.0),
)
@settings(max_examples=40, deadline=None)
def test_gaps_are_jumps_of_the_timestamps(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[int], record_s: float, chunk_s: float
) -> None:
    path = tmp_path_factory.mktemp("gaps") / "a.edf"
    onsets = np.arange(len(pauses)) * record_s + np.cumsum(pauses)
    seconds = len(pauses) * record_s
    write_edf(path, [numbered("a", 16, seconds), numbered("b", 2, seconds)], record_s=record_s, record_onsets_s=onsets)
    source = EdfSource(path, chunk_s)
    assert not source.warnings
    assert source.duration_s == onsets[-1] + record_s
    for key, (times, samples) in read_all(source).items():
        per_record = round(float(key.removeprefix("edf:")) * record_s)
        expected = onsets[:, None] + np.arange(per_record) * (record_s / per_record)
        np.testing.assert_allclose(times, expected.ravel(), atol=1e-9)
        np.testing.assert_allclose(samples[:, 0], ramp(len(times)), atol=1e-2)


def test_nothing_comes_of_a_gap_and_no_batch_is_empty(tmp_path: Path) -> None:
    onsets = np.array([0.0, 100.0])
    write_edf(tmp_path / "a.edf", [numbered("a", 10, 20)], record_s=10, record_onsets_s=onsets)
    source = EdfSource(tmp_path / "a.edf", chunk_s=10)
    firsts = [source.read(0.0)[0].timestamps[0] for _ in range(2)]
    assert firsts == [0.0, 100.0]
    assert source.exhausted


def test_a_fraction_of_the_start_second_moves_the_start_and_not_the_samples(tmp_path: Path) -> None:
    start = datetime(2020, 3, 1, 22, 0, 5)
    onsets = np.arange(3) + 0.25
    write_edf(
        tmp_path / "a.edf",
        [numbered("a", 8, 3)],
        record_onsets_s=onsets,
        annotations=[Annotation(1.25, 0.0, "Lights off")],
        start=start,
    )
    source = EdfSource(tmp_path / "a.edf")
    assert source.start_utc == start.replace(tzinfo=UTC, microsecond=250_000)
    assert source.duration_s == 3.0
    assert source.annotations == (Annotation(1.0, 0.0, "Lights off"),)
    assert source.read(0.0)[0].timestamps[0] == 0.0
    assert edfio.read_edf(tmp_path / "a.edf").annotations[0].onset == 1.0
    source.close()


def test_a_first_record_a_second_late_or_more_is_a_gap_at_the_start(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [numbered("a", 8, 2)], record_onsets_s=np.array([60.0, 61.0]))
    source = EdfSource(tmp_path / "a.edf")
    assert source.duration_s == 62.0
    assert source.read(0.0)[0].timestamps[0] == 60.0


def test_the_recorders_clock_is_in_the_zone_that_is_given(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", [numbered("a", 8, 2)], start=datetime(2020, 1, 1, 0, 30))
    source = EdfSource(tmp_path / "a.edf", timezone=timezone(timedelta(hours=1)))
    assert source.start_utc == datetime(2019, 12, 31, 23, 30, tzinfo=UTC)


def test_annotations_come_by_onset_with_duration_and_any_letter(tmp_path: Path) -> None:
    annotations = [Annotation(70.5, 12.25, "Apnée centrale"), Annotation(3.0, 0.0, "Lights off")]
    write_edf(tmp_path / "a.edf", [numbered("a", 8, 2)], annotations=annotations)
    source = EdfSource(tmp_path / "a.edf")
    assert source.annotations == (annotations[1], annotations[0])
    assert read_annotations(tmp_path / "a.edf")[0] == source.annotations
    by_edfio = edfio.read_edf(tmp_path / "a.edf").annotations
    assert [(a.onset, a.duration or 0.0, a.text) for a in by_edfio] == [
        (a.onset_s, a.duration_s, a.text) for a in source.annotations
    ]


def test_limits_written_upside_down_invert_the_samples(tmp_path: Path) -> None:
    samples = np.linspace(-90, 90, 100)
    write_edf(tmp_path / "a.edf", [EdfSignal("a", samples, 100, minimum=100, maximum=-100)])
    source = EdfSource(tmp_path / "a.edf")
    assert (source.streams[0].channels[0].minimum, source.streams[0].channels[0].maximum) == (-100, 100)
    np.testing.assert_allclose(source.read(0.0)[0].samples[:, 0], samples, atol=0.01)


@pytest.mark.parametrize("scale", [1e-7, 1e-4, 1.0, 50.0, 12345.6, 3e6])
def test_what_is_written_is_read_again_by_both_readers(tmp_path: Path, scale: float) -> None:
    samples = np.random.default_rng(1).normal(size=(2, 256)) * scale
    write_edf(tmp_path / "a.edf", [EdfSignal(f"c{i}", row, 64, unit="V") for i, row in enumerate(samples)])
    read = EdfSource(tmp_path / "a.edf").read(0.0)[0].samples
    step = np.abs(samples).max() * 1.2 / 32768
    np.testing.assert_allclose(read.T, samples, atol=step)
    np.testing.assert_allclose(edfio.read_edf(tmp_path / "a.edf").signals[1].data, samples[1], atol=step)


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (EdfSignal("a", np.array([1.0, np.nan]), 2), "no number"),
        (EdfSignal("a", ramp(4), 2.5), "whole number"),
        (EdfSignal("a", ramp(4), 3), "must fill"),
        (EdfSignal("a label beyond sixteen", ramp(4), 2), "16 bytes"),
        (EdfSignal("a", ramp(4), 2, minimum=1, maximum=1), "limits"),
    ],
)
def test_what_edf_has_no_room_for_is_not_written(tmp_path: Path, signal: EdfSignal, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_edf(tmp_path / "a.edf", [signal])
    with pytest.raises(ValueError, match="rise"):
        write_edf(tmp_path / "a.edf", [numbered("a", 2, 2)], record_onsets_s=np.array([0.0, 0.5]))
    with pytest.raises(ValueError, match="1985"):
        write_edf(tmp_path / "a.edf", [numbered("a", 2, 2)], start=datetime(1900, 1, 1))
