"""A session's promises: every epoch once, provisional stages that leave no trace, state that is its own and moves."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import NEVER_S, Session
from hypnostream.stream.channels import FLAT, MISSING, NEVER_PRESENT, OK
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S, STAGES

EPOCHS = 6


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle()


@pytest.fixture(scope="module")
def backend(bundle: Bundle) -> OnnxBackend:
    return OnnxBackend(bundle)


def seconds(bundle: Bundle, count: int, seed: int = 0, quality: NDArray[np.uint8] | None = None) -> Seconds:
    """Noise with the colour of an EEG in all channels; zeros where the quality is not OK."""
    rng = np.random.default_rng(seed)
    channels = len(bundle.channels)
    quality = np.full((channels, count), OK, np.uint8) if quality is None else quality
    samples = []
    for spec, codes in zip(bundle.channels, quality, strict=True):
        signal = np.cumsum(rng.normal(0, 8, (count, spec.rate_hz)), axis=1).astype(np.float32)
        signal[codes != OK] = 0
        samples.append(signal)
    return Seconds(0, tuple(range(channels)), tuple(samples), quality)


def cut(whole: Seconds, start: int, stop: int) -> Seconds:
    """The seconds [start, stop) of a block that starts at 0."""
    samples = tuple(channel[start:stop] for channel in whole.samples)
    return Seconds(start, whole.channels, samples, whole.quality[:, start:stop])


def fed(session: Session, whole: Seconds, cuts: Sequence[int] = (), provisional: bool = False) -> list[StageResult]:
    edges = [0, *cuts, whole.count]
    results: list[StageResult] = []
    for start, stop in pairwise(edges):
        results += session.advance(cut(whole, start, stop), provisional)
    return results


def said(results: Sequence[StageResult]) -> list[StageResult]:
    """The final results, but for how long they took."""
    return [replace(result, compute_s=0.0) for result in results if result.final]


def test_every_epoch_comes_exactly_once_and_in_order(bundle: Bundle, backend: OnnxBackend) -> None:
    session = Session(bundle, backend, t0_s=1000.5)
    results = fed(session, seconds(bundle, EPOCHS * EPOCH_S), cuts=[1, 29, 31, 95, 150])
    assert [result.epoch for result in results] == list(range(EPOCHS))
    assert [result.t_start_s for result in results] == [1000.5 + EPOCH_S * epoch for epoch in range(EPOCHS)]
    assert all(result.final and result.seconds == EPOCH_S for result in results)
    assert all(result.stage in STAGES and result.absent_reason is None for result in results)


def test_an_open_epoch_says_nothing_final(bundle: Bundle, backend: OnnxBackend) -> None:
    session = Session(bundle, backend)
    assert session.advance(seconds(bundle, EPOCH_S - 1), provisional=False) == []
    assert len(session.advance(cut(seconds(bundle, EPOCH_S), 29, 30), provisional=False)) == 1


def test_a_provisional_stage_comes_each_second_and_leaves_no_trace(bundle: Bundle, backend: OnnxBackend) -> None:
    whole = seconds(bundle, EPOCHS * EPOCH_S)
    plain, chatty = Session(bundle, backend), Session(bundle, backend)
    silent_results = fed(plain, whole)
    results = fed(chatty, whole, provisional=True)
    assert said(results) == said(silent_results)  # bit by bit
    for name, array in plain.state.model.items():
        np.testing.assert_array_equal(chatty.state.model[name], array)
    assert [(result.epoch, result.seconds, result.final) for result in results] == [
        (second // EPOCH_S, second % EPOCH_S + 1, second % EPOCH_S == EPOCH_S - 1) for second in range(EPOCHS * EPOCH_S)
    ]
    provisional = np.array([result.probabilities for result in results if not result.final])
    assert np.isfinite(provisional).all()
    assert len(np.unique(provisional, axis=0)) > EPOCHS * 20  # each is of its own second


def test_a_provisional_stage_is_of_the_last_thirty_seconds_in_order(bundle: Bundle, backend: OnnxBackend) -> None:
    """Ten seconds into epoch 2 it is what a final stage of those thirty seconds would be, from the same state."""
    whole = seconds(bundle, 2 * EPOCH_S + 10)
    session = Session(bundle, backend)
    results = fed(session, cut(whole, 0, 2 * EPOCH_S))
    state = {name: array.copy() for name, array in session.state.model.items()}
    (*_, last) = session.advance(cut(whole, 2 * EPOCH_S, whole.count), provisional=True)
    inputs = {
        "signal": np.stack([channel[-EPOCH_S:].reshape(-1) for channel in whole.samples])[None],
        "valid": np.ones((1, len(bundle.channels), EPOCH_S), np.float32),
        "age_s": np.zeros((1, len(bundle.channels)), np.float32),
        **state,
    }
    np.testing.assert_array_equal(np.array(last.probabilities, np.float32), backend.run(inputs)["probabilities"][0])
    assert not last.final
    assert len(results) == 2


def test_the_answer_does_not_depend_on_how_the_seconds_come(bundle: Bundle, backend: OnnxBackend) -> None:
    whole = seconds(bundle, EPOCHS * EPOCH_S)
    at_once = said(fed(Session(bundle, backend), whole))
    assert said(fed(Session(bundle, backend), whole, cuts=range(1, whole.count))) == at_once
    assert said(fed(Session(bundle, backend), whole, cuts=[7, 50, 51, 130], provisional=True)) == at_once


def test_two_beds_interleaved_are_two_beds_apart(bundle: Bundle, backend: OnnxBackend) -> None:
    nights = [seconds(bundle, EPOCHS * EPOCH_S, seed) for seed in (1, 2)]
    apart = [said(fed(Session(bundle, OnnxBackend(bundle)), night)) for night in nights]
    assert apart[0] != apart[1]
    beds = [Session(bundle, backend), Session(bundle, backend)]
    together: list[list[StageResult]] = [[], []]
    for second in range(EPOCHS * EPOCH_S):
        for bed, night, results in zip(beds, nights, together, strict=True):
            results += bed.advance(cut(night, second, second + 1), provisional=bed is beds[0])
    assert [said(results) for results in together] == apart


def test_the_state_moves_at_every_step_and_matters(bundle: Bundle, backend: OnnxBackend) -> None:
    session = Session(bundle, backend)
    whole = seconds(bundle, EPOCHS * EPOCH_S)
    seen = [{name: array.copy() for name, array in session.state.model.items()}]
    for epoch in range(EPOCHS):
        session.advance(cut(whole, epoch * EPOCH_S, (epoch + 1) * EPOCH_S), provisional=False)
        now = {name: array.copy() for name, array in session.state.model.items()}
        for name, array in now.items():
            assert np.isfinite(array).all()
            assert not np.array_equal(array, seen[-1][name]), f"{name} stood still in epoch {epoch}"
        seen.append(now)
    again = Session(bundle, backend)
    fresh = Seconds(0, whole.channels, tuple(c[-EPOCH_S:] for c in whole.samples), whole.quality[:, -EPOCH_S:])
    assert again.advance(fresh)[-1].probabilities != fed(Session(bundle, backend), whole)[-1].probabilities


def test_with_everything_missing_it_says_no_data_and_stays_finite(bundle: Bundle, backend: OnnxBackend) -> None:
    count = 40 * EPOCH_S
    nothing = np.full((len(bundle.channels), count), MISSING, np.uint8)
    session = Session(bundle, backend)
    results = fed(session, seconds(bundle, count, quality=nothing))
    assert [(result.stage, result.absent_reason) for result in results] == [(None, "no_data")] * 40
    for result in results:
        assert all(math.isfinite(p) for p in result.probabilities)
        assert sum(result.probabilities) == pytest.approx(1.0, abs=1e-4)
        assert [(c.quality, c.ok_fraction, c.imputed) for c in result.channels] == [("missing", 0.0, True)] * 3
    assert (session.state.age_s == NEVER_S).all()


def test_no_data_in_the_midst_of_a_night_comes_and_goes(bundle: Bundle, backend: OnnxBackend) -> None:
    quality = np.full((len(bundle.channels), EPOCHS * EPOCH_S), OK, np.uint8)
    quality[:, 2 * EPOCH_S : 4 * EPOCH_S] = MISSING
    results = fed(Session(bundle, backend), seconds(bundle, EPOCHS * EPOCH_S, quality=quality))
    assert [result.absent_reason for result in results] == [None, None, "no_data", "no_data", None, None]
    assert np.isfinite([result.probabilities for result in results]).all()


@pytest.mark.parametrize("enough", [False, True])
def test_a_channel_counts_from_the_bundles_least_number_of_seconds(
    bundle: Bundle, backend: OnnxBackend, enough: bool
) -> None:
    quality = np.full((len(bundle.channels), EPOCH_S), MISSING, np.uint8)
    quality[0, : bundle.content.min_valid_s - (not enough)] = OK
    (result,) = Session(bundle, backend).advance(seconds(bundle, EPOCH_S, quality=quality), provisional=False)
    assert (result.stage is not None) is enough
    assert [state.imputed for state in result.channels] == [not enough, True, True]


def test_ages_count_the_seconds_since_the_last_good_one(bundle: Bundle, backend: OnnxBackend) -> None:
    quality = np.full((3, 20), OK, np.uint8)
    quality[0, 13:] = FLAT
    quality[1] = NEVER_PRESENT
    quality[2, :5] = MISSING
    session = Session(bundle, backend)
    session.advance(seconds(bundle, 20, quality=quality), provisional=False)
    assert session.state.age_s.tolist() == [7, NEVER_S, 0]
    more = np.full((3, 25), MISSING, np.uint8)
    block = seconds(bundle, 25, quality=more)
    session.advance(Seconds(20, block.channels, block.samples, block.quality), provisional=False)
    assert session.state.age_s.tolist() == [32, NEVER_S, 25]


@pytest.mark.parametrize("start", [0, 9, 11, 40, -1])
def test_a_second_that_is_skipped_or_repeated_is_an_error(bundle: Bundle, backend: OnnxBackend, start: int) -> None:
    session = Session(bundle, backend)
    whole = seconds(bundle, 10)
    session.advance(whole)
    before = session.state.signal.copy()
    with pytest.raises(ValueError, match=f"second {start} came, second 10 was due"):
        session.advance(Seconds(start, whole.channels, whole.samples, whole.quality))
    np.testing.assert_array_equal(session.state.signal, before)


def test_the_quality_named_is_that_of_most_seconds(bundle: Bundle, backend: OnnxBackend) -> None:
    quality = np.full((3, EPOCH_S), OK, np.uint8)
    quality[0, :15] = FLAT  # a tie goes to ok
    quality[1, :16] = FLAT
    quality[2, :20] = MISSING
    (result,) = Session(bundle, backend).advance(seconds(bundle, EPOCH_S, quality=quality), provisional=False)
    assert [state.quality for state in result.channels] == ["ok", "flat", "missing"]
    assert [state.ok_fraction for state in result.channels] == pytest.approx([0.5, 14 / 30, 1 / 3])
    assert [state.name for state in result.channels] == [spec.name for spec in bundle.channels]
