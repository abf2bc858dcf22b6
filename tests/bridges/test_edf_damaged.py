"""EDF files as they come in the wild: each is a one-line error, or a warning and as much as there is."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.edf_timeline import LONGEST_PAUSE_S, believable_onsets, longest_rising
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation

RECORDS, CHANNELS = (
    6,
    3,
)  # of `plain`: two EEG channels of 8 Hz and one of 1 Hz; `gappy` has its annotations as a fourth
RECORD_BYTES = 2 * (8 + 8 + 1)
WIDTHS = {"label": 16, "transducer": 80, "unit": 8, "pmin": 8, "pmax": 8, "dmin": 8, "dmax": 8, "prefilter": 80, "n": 8}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    return _write(tmp_path / "night.edf", None)


@pytest.fixture
def gappy(tmp_path: Path) -> Path:
    return _write(tmp_path / "gappy.edf", np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0]))


def _write(path: Path, onsets: np.ndarray[tuple[int], np.dtype[np.float64]] | None) -> Path:
    numbers = np.arange(8 * RECORDS, dtype=np.float64)
    signals = [EdfSignal(label, numbers, 8, minimum=-100, maximum=100) for label in ("EEG C3", "EEG C4")]
    signals.append(EdfSignal("SpO2", np.full(RECORDS, 97.0), 1, "%", minimum=0, maximum=100))
    notes = [Annotation(2.0, 0.0, "Lights off")] if onsets is not None else []
    write_edf(path, signals, record_onsets_s=onsets, annotations=notes)
    return path


def put(path: Path, at: int, text: str | bytes, width: int = 0) -> Path:
    """Overwrite a field of the header."""
    raw = bytearray(path.read_bytes())
    field = (text if isinstance(text, bytes) else text.encode()).ljust(width)
    raw[at : at + len(field)] = field
    path.write_bytes(raw)
    return path


def put_channel(path: Path, field: str, channel: int, text: str | bytes, channels: int = CHANNELS) -> Path:
    """Overwrite a field of one channel."""
    at = 256
    for name, width in WIDTHS.items():
        if name == field:
            return put(path, at + channel * width, text, width)
        at += width * channels
    raise KeyError(field)


def labels(source: EdfSource) -> list[str]:
    return [channel.label for info in source.streams for channel in info.channels]


def seconds_read(source: EdfSource) -> int:
    """How many samples of the 1 Hz stream come."""
    count = 0
    while not source.exhausted:
        count += sum(len(chunk.samples) for chunk in source.read(0.0) if chunk.stream_id == "edf:1")
    return count


def test_the_undamaged_files_say_nothing(plain: Path, gappy: Path) -> None:
    for path in (plain, gappy):
        source = EdfSource(path)
        assert source.warnings == ()
        assert seconds_read(source) == RECORDS


def test_a_record_count_of_minus_one_is_counted(plain: Path) -> None:
    source = EdfSource(put(plain, 236, "-1", 8))
    assert "never closed" in source.warnings[0]
    assert seconds_read(source) == RECORDS


@pytest.mark.parametrize(("count", "word"), [("x", "no record count"), ("-7", "no record count"), ("4", "promises 4")])
def test_a_wrong_record_count_gives_way_to_the_files_size(plain: Path, count: str, word: str) -> None:
    source = EdfSource(put(plain, 236, count, 8))
    assert [word in warning for warning in source.warnings] == [True]
    assert seconds_read(source) == RECORDS


def test_a_file_cut_in_its_data_is_read_to_its_last_whole_record(plain: Path) -> None:
    os.truncate(plain, plain.stat().st_size - RECORD_BYTES - 5)
    source = EdfSource(plain)
    assert [warning for warning in source.warnings if "cut short" in warning and "6 records promised, 4" in warning]
    assert source.duration_s == 4.0
    assert seconds_read(source) == 4


def test_bytes_after_the_last_record_are_ignored(plain: Path) -> None:
    with plain.open("ab") as file:
        file.write(b"tail")
    source = EdfSource(plain)
    assert source.warnings == ("4 bytes after the last whole record were ignored",)
    assert seconds_read(source) == RECORDS


def test_a_wrong_header_size_gives_way_to_the_channel_count(plain: Path) -> None:
    source = EdfSource(put(plain, 184, "4711", 8))
    assert "4711" in source.warnings[0]
    assert source.read(0.0)[0].samples[3, 0] == pytest.approx(3.0, abs=0.01)


def test_a_padded_header_is_believed_when_the_files_size_proves_it(plain: Path) -> None:
    raw = plain.read_bytes()
    header = 256 * (CHANNELS + 1)
    plain.write_bytes(raw[:header] + b" " * 512 + raw[header:])
    source = EdfSource(put(plain, 184, str(header + 512), 8))
    assert "padded" in source.warnings[0]
    assert source.read(0.0)[0].samples[3, 0] == pytest.approx(3.0, abs=0.01)


def test_duplicate_labels_are_both_kept(plain: Path) -> None:
    source = EdfSource(put_channel(plain, "label", 1, "EEG C3"))
    assert labels(source) == ["EEG C3", "EEG C3", "SpO2"]
    assert source.warnings == ()


@pytest.mark.parametrize(
    ("raw", "label"),
    [
        ("Débit µV".encode(), "Débit µV"),
        ("Débit µV".encode("latin-1"), "Débit µV"),
        (b"EEG\x1b[2J", "EEG?[2J"),
        (b"EEG\0\0", "EEG"),
        (b"", ""),
    ],
)
def test_labels_are_read_in_both_encodings_and_are_safe_to_show(plain: Path, raw: bytes, label: str) -> None:
    assert labels(EdfSource(put_channel(plain, "label", 0, raw)))[0] == label


@pytest.mark.parametrize("day", ["99.99.99", "31.02.20", "", "yesterda", "00.00.00"])
def test_an_absurd_date_costs_the_wall_time_only(plain: Path, day: str) -> None:
    source = EdfSource(put(plain, 168, day, 8))
    assert source.start_utc is None
    assert len(source.warnings) == 1
    assert "calendar" in source.warnings[0]
    assert seconds_read(source) == RECORDS


def test_an_absurd_time_costs_the_wall_time_only(plain: Path) -> None:
    source = EdfSource(put(plain, 176, "25.61.00", 8))
    assert source.start_utc is None
    assert "time of day" in source.warnings[0]


def test_the_edf_plus_date_has_the_century(plain: Path) -> None:
    source = EdfSource(put(plain, 88, "Startdate 03-MAY-1979 X X X", 80))
    assert source.start_utc is not None
    assert source.start_utc.year == 1979


def test_an_anonymous_date_is_no_date_and_no_fault(plain: Path) -> None:
    source = EdfSource(plain)
    assert source.start_utc is None
    assert source.warnings == ()


@pytest.mark.parametrize(
    ("field", "text", "why"),
    [
        ("dmax", "-32768", "equal digital limits"),
        ("pmax", "-100", "equal physical limits"),
        ("pmax", "x", "physical limits"),
        ("pmax", "nan", "physical limits"),
        ("pmax", "9e99", "physical limits"),
        ("dmin", "", "digital limits"),
        ("dmin", "1.5", "digital limits"),
    ],
)
def test_a_channel_without_a_scale_is_skipped(plain: Path, field: str, text: str, why: str) -> None:
    source = EdfSource(put_channel(plain, field, 0, text))
    assert labels(source) == ["EEG C4", "SpO2"]
    assert len(source.warnings) == 1
    assert why in source.warnings[0]
    assert "'EEG C3'" in source.warnings[0]
    assert source.read(0.0)[0].samples[3, 0] == pytest.approx(3.0, abs=0.01)


def test_a_channel_with_a_rate_of_0_is_skipped(tmp_path: Path) -> None:
    # its samples are taken out of the records as well, as a recorder would have it
    signals = [EdfSignal(label, np.arange(16.0), 8, minimum=-100, maximum=100) for label in ("a", "b")]
    write_edf(tmp_path / "a.edf", signals)
    path = put_channel(tmp_path / "a.edf", "n", 0, "0", channels=2)
    raw = path.read_bytes()
    path.write_bytes(raw[:768] + raw[784:800] + raw[816:])
    source = EdfSource(path)
    assert source.warnings == ("channel 1 ('a') has a rate of 0; it was skipped",)
    np.testing.assert_allclose(source.read(0.0)[0].samples[:, 0], np.arange(16.0), atol=0.01)


def test_decimal_commas_are_numbers(plain: Path) -> None:
    source = EdfSource(put_channel(put(plain, 244, "1,0", 8), "pmax", 0, "99,5"))
    assert source.streams[0].channels[0].maximum == 99.5
    assert source.warnings == ()


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(bytes(4096))


def replace(path: Path, make: Callable[[Path], None]) -> None:
    path.unlink()
    make(path)


ERRORS: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda p: p.write_bytes(b""), "is empty"),
    "text": (lambda p: p.write_text("epoch,stage\n" * 400), "is not an EDF file"),
    "bdf": (lambda p: put(p, 0, b"\xffBIOSEMI"), "is BDF"),
    "cut in the fixed header": (lambda p: os.truncate(p, 100), "ends inside its header"),
    "cut in the channels": (lambda p: os.truncate(p, 700), "ends inside its header"),
    "header alone": (lambda p: os.truncate(p, 256 * (CHANNELS + 1)), "no whole data record"),
    "less than a record": (lambda p: os.truncate(p, 256 * (CHANNELS + 1) + 10), "no whole data record"),
    "no channels": (lambda p: put(p, 252, "0", 4), "no usable channel"),
    "channel count": (lambda p: put(p, 252, "x", 4), "no usable channel"),
    "record duration": (lambda p: put(p, 244, "-1", 8), "no rate"),
    "endless record": (lambda p: put(p, 244, "99999999", 8), "no rate"),
    "endless recording": (lambda p: grow(put(p, 244, "600000", 8)), "days"),
    "rate of 0 everywhere": (lambda p: put(p, 244, "0", 8), "no usable channel"),
    "samples": (lambda p: put_channel(p, "n", 1, "8.5"), "samples a record"),
    "negative samples": (lambda p: put_channel(p, "n", 1, "-8"), "samples a record"),
    "countless channels": (lambda p: put(p, 252, "9e99", 4), "ends inside its header"),
    "countless samples": (lambda p: put(put_channel(p, "n", 1, "9e307"), 236, "9e307", 8), "no whole data record"),
    "missing": (lambda p: p.unlink(), "No such file"),
    "folder": (lambda p: replace(p, Path.mkdir), "is a folder"),
    "pipe": (lambda p: replace(p, os.mkfifo), "not a regular file"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_read_is_one_clear_line(plain: Path, case: str) -> None:
    damage, message = ERRORS[case]
    damage(plain)
    with pytest.raises(UserError, match=message) as caught:
        EdfSource(plain)
    assert "night.edf" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_annotations_alone_are_no_signals(tmp_path: Path) -> None:
    write_edf(tmp_path / "notes.edf", [], annotations=[Annotation(0.0, 30.0, "Sleep stage W")])
    with pytest.raises(UserError, match="annotations only"):
        EdfSource(tmp_path / "notes.edf")


@pytest.mark.parametrize("chunk_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_chunk_has_a_length(plain: Path, chunk_s: float) -> None:
    with pytest.raises(UserError, match="chunk_s"):
        EdfSource(plain, chunk_s)


def test_a_file_that_shrinks_while_it_is_read_is_an_error_and_no_noise(plain: Path) -> None:
    source = EdfSource(plain, chunk_s=1.0)
    source.read(0.0)
    os.truncate(plain, plain.stat().st_size - 3 * RECORD_BYTES)
    with pytest.raises(UserError, match="shorter"):
        seconds_read(source)
    source.close()


def onset_at(path: Path, record: int) -> int:
    """Where the onset of a record of `gappy` is written."""
    raw = path.read_bytes()
    header = 256 * (CHANNELS + 2)
    record_bytes = (len(raw) - header) // RECORDS
    return header + record * record_bytes + RECORD_BYTES


def times_read(source: EdfSource) -> list[float]:
    times: list[float] = []
    while not source.exhausted:
        times += [t for chunk in source.read(0.0) if chunk.stream_id == "edf:1" for t in chunk.timestamps.tolist()]
    return times


@pytest.mark.parametrize(
    ("record", "onset", "expected"),
    [
        (1, b"junk", [0, 1, 2, 10, 11, 12]),  # unreadable
        (1, b"+9\x14\x14", [0, 1, 2, 10, 11, 12]),  # later than the next
        (4, b"+1\x14\x14", [0, 1, 2, 10, 11, 12]),  # before the one before
        (3, b"\0\0\0", [0, 1, 2, 3, 11, 12]),  # the one that had the gap
        (5, b"+999999\x14\x14", [0, 1, 2, 10, 11, 12]),  # years of nothing
    ],
)
def test_one_damaged_onset_moves_no_other_record(gappy: Path, record: int, onset: bytes, expected: list[float]) -> None:
    source = EdfSource(put(gappy, onset_at(gappy, record), onset + b"\0" * (4 - len(onset))))
    assert times_read(source) == expected
    assert any("no believable onset" in warning for warning in source.warnings)


def test_jumps_in_a_file_that_is_marked_continuous_are_gaps_and_said(gappy: Path) -> None:
    source = EdfSource(put(gappy, 192, "EDF+C"))
    assert "jump 1 times" in source.warnings[0]
    assert times_read(source) == [0, 1, 2, 10, 11, 12]


def test_edf_plus_d_without_onsets_is_read_as_continuous_and_said(plain: Path) -> None:
    source = EdfSource(put(plain, 192, "EDF+D"))
    assert "gaps are unknown" in source.warnings[0]
    assert times_read(source) == [0, 1, 2, 3, 4, 5]


def test_rounding_of_onsets_is_no_gap() -> None:
    stated = np.round(np.arange(1000) / 3, 3)
    onsets = believable_onsets(stated, 1 / 3, tolerance_s=0.002)
    np.testing.assert_allclose(onsets, np.arange(1000) / 3 + onsets[0], atol=1e-9)


@given(st.lists(st.floats(-10, LONGEST_PAUSE_S * 2) | st.just(float("nan")), min_size=1, max_size=40))
@settings(max_examples=100, deadline=None)
def test_onsets_never_run_backwards_whatever_is_stated(stated: list[float]) -> None:
    onsets = believable_onsets(np.array(stated), 1.0, tolerance_s=0.01)
    assert onsets.shape == (len(stated),)
    assert np.all(np.diff(onsets) >= 1.0 - 1e-6)
    assert onsets[0] >= 0.0
    assert onsets[-1] <= len(stated) + LONGEST_PAUSE_S


@given(st.lists(st.integers(0, 20), min_size=1, max_size=9))
@settings(max_examples=100, deadline=None)
def test_the_longest_chain_is_the_longest(values: list[int]) -> None:
    chain = longest_rising(np.array(values, np.float64))
    picked = [values[i] for i in chain]
    assert picked == sorted(picked)
    assert chain == sorted(set(chain))
    best = [1] * len(values)
    for i in range(len(values)):
        best[i] = 1 + max((best[j] for j in range(i) if values[j] <= values[i]), default=0)
    assert len(chain) == max(best)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    onsets = np.array([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
    return _write(tmp_path_factory.mktemp("fuzz") / "a.edf", onsets).read_bytes()


DIGITS = st.sampled_from(b"0123456789-+.eE, \0\x14\x15ax\xff")


@given(
    edits=st.lists(st.tuples(st.integers(0, 2**16), DIGITS), min_size=1, max_size=12),
    cut=st.none() | st.integers(0, 2**16),
)
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_are_an_error_or_a_reading_and_never_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, edits: list[tuple[int, int]], cut: int | None
) -> None:
    raw = bytearray(sound)
    for at, byte in edits:
        raw[at % len(raw)] = byte
    path = tmp_path_factory.getbasetemp() / "fuzzed.edf"
    path.write_bytes(raw[: cut % len(raw)] if cut is not None else raw)
    try:
        source = EdfSource(path, chunk_s=1e6)
    except UserError:
        return
    assert all("\n" not in warning for warning in source.warnings)
    while not source.exhausted:
        for chunk in source.read(0.0):
            assert np.all(np.isfinite(chunk.samples))
            assert np.all(np.diff(chunk.timestamps) > 0)
