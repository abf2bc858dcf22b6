"""The whole way of a sample: the same answer however it was cut, whatever is missing, and never another one later."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.edf import EdfSource
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.stream.grid import epoch_count
from hypnostream.stream.montage import resolve
from hypnostream.stream.simulator_faults import Fault
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from tests.recordings import RATE_HZ, Recording, between, night, write_night

BUNDLE = load_bundle()
BACKEND = OnnxBackend(BUNDLE)
EPOCHS = 4
END_S = float(EPOCHS * EPOCH_S)


def bed_of(streams: Sequence[StreamInfo], t0_s: float = 0.0, provisional: bool = False) -> Bed:
    montage = resolve(streams, BUNDLE.channels)
    assert montage.derivations
    return Bed(streams, montage, Session(BUNDLE, BACKEND, t0_s), provisional=provisional)


def said(results: Sequence[StageResult]) -> list[StageResult]:
    """The final results, but for how long they took."""
    return [replace(result, compute_s=0.0) for result in results if result.final]


@lru_cache(maxsize=1)
def two_streams() -> Recording:
    """EEG at 128 Hz and EOG at 64 Hz, each with gaps of its own, one across an epoch's border."""
    streams, chunks = night(EPOCHS)
    head, eyes = streams[0].channels[:2], streams[0].channels[2:3]
    eeg = Chunk("head", chunks[0].samples[:, :2], chunks[0].timestamps)
    eog = Chunk("eyes", chunks[0].samples[::2, 2:3], chunks[0].timestamps[::2])
    infos = (StreamInfo("head", float(RATE_HZ), head), StreamInfo("eyes", RATE_HZ / 2, eyes))
    return infos, (without(eeg, (50.3, 63.0)), without(eog, (20.0, 20.4), (75.2, 95.7)))


def without(chunk: Chunk, *gaps_s: tuple[float, float]) -> Chunk:
    keep = np.ones(len(chunk.timestamps), bool)
    for start_s, stop_s in gaps_s:
        keep &= (chunk.timestamps < start_s) | (chunk.timestamps >= stop_s)
    return Chunk(chunk.stream_id, chunk.samples[keep], chunk.timestamps[keep])


def played(
    recording: Recording, times_s: Sequence[float], end_s: float | None, provisional: bool = False
) -> list[StageResult]:
    """The recording pushed in the stretches between `times_s`, the clock at the end of each; closed at `end_s`."""
    streams, chunks = recording
    bed = bed_of(streams, provisional=provisional)
    results: list[StageResult] = []
    for from_s, until_s in pairwise([-1.0, *times_s]):
        bed.push([part for chunk in chunks for part in between(chunk, from_s, until_s)])
        results += bed.advance(until_s)
    if end_s is not None:
        results += bed.finish(end_s)
    return said(results)


cuts = st.lists(st.floats(0.01, END_S), max_size=40).map(sorted)


@settings(max_examples=15, deadline=None)
@given(cuts)
def test_any_chunking_of_the_night_gives_the_same_answers(times_s: list[float]) -> None:
    recording = two_streams()
    expected = played(recording, [END_S], END_S)
    assert len(expected) == EPOCHS
    assert played(recording, [*times_s, END_S], END_S) == expected


@pytest.mark.parametrize("step_s", [0.05, 0.7, 1.0, 30.0, 60.0])
def test_even_chunks_of_any_size_give_the_same_answers(step_s: float) -> None:
    recording = two_streams()
    times_s = np.arange(step_s, END_S, step_s).tolist()
    assert played(recording, [*times_s, END_S], END_S, provisional=step_s == 1.0) == played(recording, [END_S], END_S)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=30))
def test_a_streams_chunks_may_be_cut_anywhere_within_a_stretch(sizes: list[int]) -> None:
    streams, chunks = two_streams()
    bed = bed_of(streams)
    for chunk in chunks:
        edges = [
            0,
            *(edge for edge in np.cumsum(sizes).tolist() if edge < len(chunk.timestamps)),
            len(chunk.timestamps),
        ]
        bed.push([Chunk(chunk.stream_id, chunk.samples[a:b], chunk.timestamps[a:b]) for a, b in pairwise(edges)])
    results = bed.advance(END_S) + bed.finish(END_S)
    assert said(results) == played((streams, chunks), [END_S], END_S)


@settings(max_examples=15, deadline=None)
@given(cut_s=st.floats(0.1, END_S), step_s=st.sampled_from([0.3, 1.0, 10.0]))
def test_cutting_the_night_never_changes_what_was_final(cut_s: float, step_s: float) -> None:
    recording = two_streams()
    times_s = [*np.arange(step_s, cut_s, step_s).tolist(), cut_s]
    before = played(recording, times_s, None)
    assert before == played(recording, [END_S], END_S)[: len(before)]
    ended = played(recording, times_s, cut_s)
    assert ended[: len(before)] == before
    assert len(ended) == epoch_count(cut_s)
    assert len(before) >= epoch_count(cut_s - EPOCH_S - 4.0)  # and finals are not held back to keep the promise


def test_what_comes_later_cannot_change_what_was_final() -> None:
    streams, chunks = two_streams()
    after_s = 65.0
    noise = tuple(
        Chunk(
            c.stream_id, np.where((c.timestamps < after_s)[:, None], c.samples, -400.0).astype(np.float32), c.timestamps
        )
        for c in chunks
    )
    calm, disturbed = (played((streams, c), np.arange(1, END_S + 1).tolist(), END_S) for c in (chunks, noise))
    assert calm[:2] == disturbed[:2]
    assert calm[2:] != disturbed[2:]


def test_two_beds_interleaved_through_one_backend_are_two_beds_apart() -> None:
    nights = [night(EPOCHS, seed=seed) for seed in (5, 6)]
    times_s = np.arange(2.0, END_S + 1, 2.0).tolist()
    apart = [played(each, times_s, END_S) for each in nights]
    beds = [bed_of(streams, provisional=True) for streams, _ in nights]
    together: list[list[StageResult]] = [[], []]
    for from_s, until_s in pairwise([0.0, *times_s]):
        for bed, (_, chunks), results in zip(beds, nights, together, strict=True):
            bed.push([part for chunk in chunks for part in between(chunk, from_s, until_s)])
            results += bed.advance(until_s)
    for bed, results in zip(beds, together, strict=True):
        results += bed.finish(END_S)
    assert [said(results) for results in together] == apart
    assert apart[0] != apart[1]


EIGHT_HOURS_S = 8 * 3600.0


def eight_hours(missing: Sequence[tuple[float, float]]) -> tuple[list[StageResult], Bed]:
    """Eight hours of noise at 100 Hz in minutes, without the stretches `missing`, as a stream that then is silent."""
    labels = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")
    info = StreamInfo("head", 100.0, tuple(ChannelInfo(label, "uV") for label in labels))
    bed, rng = bed_of([info]), np.random.default_rng(0)
    results: list[StageResult] = []
    noise = rng.normal(0, 20, (6000, 3)).astype(np.float32)
    for minute in range(480):
        start_s = 60.0 * minute
        if not any(a <= start_s < b for a, b in missing):
            bed.push([Chunk("head", np.roll(noise, minute, axis=0), start_s + np.arange(6000) / 100)])
        results += bed.advance(start_s + 60)
    return results + bed.finish(EIGHT_HOURS_S), bed


def assert_whole_night(results: Sequence[StageResult]) -> None:
    assert [result.epoch for result in results] == list(range(960))
    assert np.isfinite([result.probabilities for result in results]).all()
    assert np.isfinite([state.ok_fraction for result in results for state in result.channels]).all()


def test_eight_hours_with_half_of_them_missing_are_960_epochs() -> None:
    missing = [(start, start + 1800.0) for start in np.arange(0.0, EIGHT_HOURS_S, 3600.0)]
    results, bed = eight_hours(missing)
    assert_whole_night(results)
    absent = [result.absent_reason == "no_data" for result in results]
    assert absent == [any(a <= result.t_start_s < b for a, b in missing) for result in results]
    assert sum(absent) == 480
    assert all(np.isfinite(array).all() for array in bed.session.state.model.values())


def test_eight_hours_with_the_second_half_missing_are_960_epochs() -> None:
    results, _ = eight_hours([(EIGHT_HOURS_S / 2, EIGHT_HOURS_S)])
    assert_whole_night(results)
    assert [result.stage is None for result in results] == [epoch >= 480 for epoch in range(960)]


def test_eight_hours_with_everything_missing_are_960_epochs() -> None:
    results, _ = eight_hours([(0.0, EIGHT_HOURS_S)])
    assert_whole_night(results)
    assert {(result.stage, result.absent_reason) for result in results} == {(None, "no_data")}
    assert {state.quality for result in results for state in result.channels} == {"never_present"}


def test_a_night_of_nothing_but_nan_has_no_nan_in_its_answers() -> None:
    streams, chunks = night(EPOCHS)
    absent = tuple(Chunk(c.stream_id, np.full_like(c.samples, np.nan), c.timestamps) for c in chunks)
    results = played((streams, absent), [END_S], END_S)
    assert [(result.stage, result.absent_reason) for result in results] == [(None, "no_data")] * EPOCHS
    assert np.isfinite([result.probabilities for result in results]).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38, 1e30])
def test_samples_that_no_amplifier_sends_do_no_lasting_harm(value: float) -> None:
    streams, chunks = night(EPOCHS)
    eeg = Chunk("eeg", chunks[0].samples.copy(), chunks[0].timestamps)
    eeg.samples[40 * RATE_HZ : 45 * RATE_HZ, :3] = value
    results = played((streams, (eeg, *chunks[1:])), [END_S], END_S)
    assert [result.stage is None for result in results] == [False] * EPOCHS
    assert np.isfinite([result.probabilities for result in results]).all()


def test_a_sensor_that_is_lost_in_the_night_leaves_the_others_at_work() -> None:
    lost = Fault("missing", "eeg", 62.0, 1e6, "EOG horizontal")
    results = played(night(EPOCHS, (lost,)), [END_S], END_S)
    whole = played(night(EPOCHS), [END_S], END_S)
    assert results[:2] == whole[:2]
    assert results[2:] != whole[2:]
    assert all(result.stage is not None for result in results)
    eog = [next(state for state in result.channels if state.name == "eog") for result in results]
    assert [(state.quality, state.imputed) for state in eog] == [("ok", False)] * 2 + [("missing", True)] * 2


def test_a_stream_that_is_lost_in_the_night_does_not_hold_the_others() -> None:
    streams, (eeg, eog) = two_streams()
    gone = without(eog, (65.0, END_S))
    bed = bed_of(streams)
    results: list[StageResult] = []
    waited_s: dict[int, float] = {}
    for from_s, until_s in pairwise(np.arange(0.0, END_S + 1, 1.0).tolist()):
        bed.push([part for chunk in (eeg, gone) for part in between(chunk, from_s, until_s)])
        for result in bed.advance(until_s):
            waited_s[result.epoch] = until_s - (result.epoch + 1) * EPOCH_S
            results.append(result)
    assert sorted(waited_s) == [0, 1, 2]
    assert max(waited_s.values()) <= 4.0


def test_the_gaps_of_an_edf_plus_d_are_epochs_without_data(tmp_path: Path) -> None:
    path = write_night(tmp_path / "gap.edf", 8, gaps_s=[(50, 130), (200, 205)])
    source = EdfSource(path, chunk_s=7.0)
    bed = bed_of(source.streams)
    results: list[StageResult] = []
    while not source.exhausted:
        chunks = source.read(0.0)
        bed.push(chunks)
        results += bed.advance(max(float(chunk.timestamps[-1]) for chunk in chunks))
    results += bed.finish(source.duration_s)
    assert [result.epoch for result in results] == list(range(8))
    assert [result.absent_reason for result in results] == [None, None, *["no_data"] * 2, None, None, None, None]
    assert [round(result.channels[0].ok_fraction * EPOCH_S) for result in results] == [30, 20, 0, 0, 20, 30, 25, 30]
    assert bed.gaps == {"edf:128": 2, "edf:64": 2}


def test_the_grid_starts_where_the_session_does() -> None:
    streams, chunks = night(EPOCHS)
    late = tuple(Chunk(c.stream_id, c.samples, c.timestamps + 12345.678) for c in chunks)
    bed = bed_of(streams, t0_s=12345.678)
    bed.push(late)
    results = bed.advance(12345.678 + END_S) + bed.finish(12345.678 + END_S)
    expected = played((streams, chunks), [END_S], END_S)
    assert [r.t_start_s for r in results] == [12345.678 + EPOCH_S * epoch for epoch in range(EPOCHS)]
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.probabilities, wanted.probabilities, atol=1e-4)


def test_reached_is_where_believable_samples_end() -> None:
    streams, chunks = two_streams()
    bed = bed_of(streams)
    assert bed.reached_s == 0.0
    bed.push([part for chunk in chunks for part in between(chunk, 0.0, 31.0)])
    assert bed.reached_s == pytest.approx(31.0, abs=0.02)
    bed.push([Chunk("eyes", np.zeros((1, 1), np.float32), np.array([1e12]))])
    assert bed.reached_s == pytest.approx(31.0, abs=0.02)
    assert [result.epoch for result in bed.finish(bed.reached_s)] == [0, 1]


@pytest.mark.parametrize(("step_s", "expected"), [(1.0, 29), (5.0, 6), (20.0, 2)])
def test_a_provisional_stage_that_is_overtaken_is_not_said(step_s: float, expected: int) -> None:
    """Of 30 s that come `step_s` at a time, the latest whole second each time; the last one is the final."""
    streams, chunks = night(1)
    bed = bed_of(streams, provisional=True)
    results: list[StageResult] = []
    for until_s in np.arange(step_s, 31.0 + step_s, step_s):
        bed.push([part for chunk in chunks for part in between(chunk, until_s - step_s, until_s)])
        results += bed.advance(float(until_s))
    results += bed.finish(30.0)
    assert sum(result.final for result in results) == 1
    assert sum(not result.final for result in results) == expected
