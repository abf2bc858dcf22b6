"""WFDB files: annotations at their exact times, signals in their units, and nothing outside of the record's folder."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.errors import UserError
from hypnostream.training.recordings.wfdb import (
    BEATS,
    frames_there,
    read_wfdb_annotations,
    read_wfdb_header,
    read_wfdb_signals,
)

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "apnea_ecg").exists(), reason="../shared/data is not here")
NORMAL, VENTRICULAR, NOTE = 1, 5, 22


def annotation_bytes(rows: list[tuple[int, int, str]]) -> bytes:
    """(sample, code, text) rows as annot(5) describes them."""
    out, before = b"", 0
    for sample, code, text in rows:
        passed = sample - before
        before = sample
        if not 0 <= passed < 1024:
            out += struct.pack("<HHH", 59 << 10, (passed >> 16) & 0xFFFF, passed & 0xFFFF)
            passed = 0
        out += struct.pack("<H", code << 10 | passed)
        if text:
            raw = text.encode("latin-1")
            out += struct.pack("<H", 63 << 10 | len(raw)) + raw + b"\0" * (len(raw) % 2)
    return out + b"\0\0"


def pack_212(samples: list[int]) -> bytes:
    out = b""
    for first, second in zip(samples[::2], samples[1::2], strict=True):
        a, b = first & 0xFFF, second & 0xFFF
        out += bytes((a & 0xFF, (a >> 8) | (b >> 8) << 4, b & 0xFF))
    return out


def record(folder: Path, header: str) -> Path:
    path = folder / "r1.hea"
    path.write_text(header)
    return path


def test_annotations_come_at_their_samples_with_their_texts(tmp_path: Path) -> None:
    record(tmp_path, "r1 0 250 1000\n")
    rows = [(1, NOTE, "4 LA LA"), (7500, NOTE, "2"), (7600, NORMAL, ""), (200_000, VENTRICULAR, "(V")]
    (tmp_path / "r1.st").write_bytes(annotation_bytes(rows))
    found = read_wfdb_annotations(tmp_path / "r1.st")
    assert found == [(0.004, '"', "4 LA LA"), (30.0, '"', "2"), (30.4, "N", ""), (800.0, "V", "(V")]
    assert {"N", "V"} <= BEATS
    assert '"' not in BEATS


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5_000_000), st.sampled_from([1, 5, 22]), st.text("ab c", max_size=9))))
def test_any_list_of_annotations_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, str]]
) -> None:
    path = tmp_path_factory.mktemp("wfdb") / "x.atr"
    rows = sorted(rows)
    path.write_bytes(annotation_bytes(rows))
    found = read_wfdb_annotations(path, rate_hz=100.0)
    assert [(round(a.time_s * 100), a.aux) for a in found] == [(sample, text) for sample, _, text in rows]


def test_a_file_that_says_its_own_rate_needs_no_header(tmp_path: Path) -> None:
    path = tmp_path / "r1.atr"
    path.write_bytes(annotation_bytes([(0, NOTE, "## time resolution: 500"), (1000, NORMAL, "")]))
    assert read_wfdb_annotations(path) == [(2.0, "N", "")]


def test_a_cut_annotation_and_a_missing_header_are_one_line(tmp_path: Path) -> None:
    whole = annotation_bytes([(1, NOTE, "4 LA LA")])
    (tmp_path / "r1.st").write_bytes(whole[:7])
    with pytest.raises(UserError, match=r"r1\.st ends within"):
        read_wfdb_annotations(tmp_path / "r1.st", rate_hz=250.0)
    (tmp_path / "r1.st").write_bytes(whole)
    with pytest.raises(UserError, match=r"r1\.hea"):
        read_wfdb_annotations(tmp_path / "r1.st")


def test_signals_of_both_formats_in_their_units_from_any_frame(tmp_path: Path) -> None:
    path = record(
        tmp_path,
        "r1 3 100 6 23:07:00 19/1/1989\nr1.dat 212 200/mV 12 0 0 0 0 ECG I\nr1.dat 212 10(-20)/mmHg 12 0 0 0 0 BP\n"
        "r1x.dat 16+4 100/uV 16 5 0 0 0 EEG\n# a remark\n",
    )
    ecg, pressure = [0, 1, -1, 2047, -2048, 100], [5, -5, 7, -2047, 0, 1]
    (tmp_path / "r1.dat").write_bytes(pack_212([v for pair in zip(ecg, pressure, strict=True) for v in pair]))
    (tmp_path / "r1x.dat").write_bytes(b"abcd" + np.array([5, 105, -32768, -95, 6, 7], "<i2").tobytes())
    header = read_wfdb_header(path)
    assert header.start is not None
    assert header.start.isoformat() == "1989-01-19T23:07:00+00:00"
    assert header.comments == ("a remark",)
    assert [s.label for s in header.signals] == ["ECG I", "BP", "EEG"]
    whole = read_wfdb_signals(header, 0, 100)
    np.testing.assert_allclose(whole[0], [0, 0.005, -0.005, 2047 / 200, np.nan, 0.5], rtol=1e-6)
    np.testing.assert_allclose(whole[1], [(v + 20) / 10 for v in pressure], rtol=1e-6)
    np.testing.assert_allclose(whole[2], [0, 1, np.nan, -1, 0.01, 0.02], rtol=1e-6)
    for first in range(6):
        for part, signal in zip(read_wfdb_signals(header, first, 2), whole, strict=True):
            np.testing.assert_array_equal(part, signal[first : first + 2])


def test_an_odd_number_of_signals_in_format_212_is_read_from_any_frame(tmp_path: Path) -> None:
    path = record(tmp_path, "r1 1 100 8\nr1.dat 212 1/mV 12 0 0 0 0 ECG\n")
    (tmp_path / "r1.dat").write_bytes(pack_212([1, -2, 3, -4, 5, -6, 7, -8]))
    header = read_wfdb_header(path)
    assert read_wfdb_signals(header, 3, 3)[0].tolist() == [-4, 5, -6]


def test_a_cut_signal_file_has_as_many_frames_as_are_there(tmp_path: Path) -> None:
    header = read_wfdb_header(record(tmp_path, "r1 1 100 2957000\nr1.dat 16 200 12 0 0 0 0 ECG\n"))
    assert frames_there(header) == 0
    (tmp_path / "r1.dat").write_bytes(np.zeros(50, "<i2").tobytes() + b"x")
    assert frames_there(header) == 50


@pytest.mark.parametrize(
    ("header", "names"),
    [
        ("", "no line"),
        ("r1/3 1 100\n", "segments"),
        ("r1 one\n", "'one'"),
        ("r1 1 1.2.3 5\nr1.dat 16\n", "'1.2.3'"),
        ("r1 5 100 5\nr1.dat 16\n", "5 signals"),
        ("r1 1 100 5\n../../etc/passwd 16\n", "not beside"),
        ("r1 1 100 5\nr1.dat 16 much/mV\n", "'much/mV'"),
        ("r1 1 100 5\nr1.dat sixteen\n", "no file and format"),
    ],
)
def test_a_bad_header_is_one_line_that_names_it(tmp_path: Path, header: str, names: str) -> None:
    with pytest.raises(UserError, match=r"r1\.hea") as error:
        read_wfdb_header(record(tmp_path, header))
    assert names in str(error.value)


def test_an_unknown_format_is_said(tmp_path: Path) -> None:
    header = read_wfdb_header(record(tmp_path, "r1 1 100 5\nr1.dat 310\n"))
    with pytest.raises(UserError, match="310"):
        read_wfdb_signals(header, 0, 5)


@needs_data
def test_real_records_are_read_as_their_documents_say() -> None:
    stages = read_wfdb_annotations(DATA / "slpdb_labels" / "slp01a.st")
    assert [a.time_s for a in stages[1:]] == [30.0 * i for i in range(1, 240)]
    minutes = read_wfdb_annotations(DATA / "apnea_ecg" / "a01.apn")
    assert {a.symbol for a in minutes} == {"A", "N"}
    assert [a.time_s for a in minutes] == [60.0 * i for i in range(489)]
    beats = np.array([a.time_s for a in read_wfdb_annotations(DATA / "apnea_ecg" / "a01.qrs")])
    assert 0.5 < float(np.median(np.diff(beats))) < 1.2
    header = read_wfdb_header(DATA / "apnea_ecg" / "a01.hea")
    assert (header.frames, frames_there(header)) == (2957000, 1570816)
