import copy
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.written_state import read_state, write_state
from hypnostream.errors import UserError
from hypnostream.stream.channels import LEAD_OFF, MISSING, OK, ChannelSpec, Derivation, Term
from hypnostream.stream.conditioner import Conditioner, conditioner_for
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.grid import Grid
from hypnostream.stream.irregular import HOLD_S, IrregularConditioner, IrregularState
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from tests.stream.conditioning_cases import chunk, joined, spec

SPO2 = spec("spo2", "spo2", 1, "%")
HOLD = int(HOLD_S["spo2"])


def _irregular(
    specs: tuple[ChannelSpec, ...] = (SPO2,), t0_s: float = 0.0, rate_hz: float = 0.0
) -> IrregularConditioner:
    info = StreamInfo("stream", rate_hz, (ChannelInfo("raw", "%", 0.0, 100.0),) * len(specs))
    derivations = [Derivation(each, "stream", (Term(i, 1.0),), each.name, "") for i, each in enumerate(specs)]
    return IrregularConditioner(info, derivations, range(len(specs)), t0_s)


def _said(*pairs: tuple[float, float]) -> Chunk:
    """One channel's values: (time, value)."""
    return chunk(np.array([[value] for _, value in pairs]), np.array([time for time, _ in pairs]))


def _values(blocks: list[Seconds]) -> dict[int, float]:
    """Second -> value, of the first channel at 1 Hz; NaN where it is missing."""
    numbers, (samples, *_), quality = joined(blocks)
    return {n: float(v) if q == OK else math.nan for n, v, q in zip(numbers, samples[:, 0], quality[0], strict=True)}


def test_a_value_holds_until_the_next_and_never_shows_early() -> None:
    one = _irregular()
    blocks = one.push(_said((0.0, 97.0), (2.5, 95.0), (4.0, 94.0))) + one.flush(6)
    assert _values(blocks) == {0: 97.0, 1: 97.0, 2: 97.0, 3: 95.0, 4: 94.0, 5: 94.0}


def test_a_value_holds_for_hold_s_and_not_longer() -> None:
    one = _irregular()
    values = _values(one.push(_said((0.5, 96.0))) + one.flush(100))
    assert math.isnan(values[0])  # nothing was known when it began
    assert [n for n, value in values.items() if value == 96.0] == list(range(1, HOLD + 1))
    assert sorted(values) == list(range(100))


def test_a_second_comes_out_once_a_later_sample_proves_it_or_the_bed_asks() -> None:
    one = _irregular()
    assert _values(one.push(_said((0.2, 97.0)))) == pytest.approx({0: math.nan}, nan_ok=True)
    assert one.push(_said((0.9, 96.0))) == []
    assert _values(one.push(_said((2.0, 95.0)))) == {1: 96.0}
    assert _values(one.push(_said((2.1, 94.0)))) == {2: 95.0}
    assert _values(one.flush(4, incomplete=False)) == {3: 94.0}
    assert (one.next_second, one.flush(4)) == (4, [])


def test_what_comes_behind_a_closed_second_is_held_for_the_next_ones() -> None:
    one = _irregular()
    one.push(_said((0.0, 97.0)))
    assert _values(one.flush(5, incomplete=False)) == dict.fromkeys(range(5), 97.0)
    assert one.push(_said((3.2, 91.0), (4.2, 90.0))) == []
    assert _values(one.flush(7)) == {5: 90.0, 6: 90.0}
    assert one.dropped_samples == 0


def test_no_number_ends_what_was_held() -> None:
    one = _irregular()
    values = _values(one.push(_said((0.0, 97.0), (2.0, math.nan), (4.0, math.inf), (5.0, 93.0))) + one.flush(7))
    assert values == pytest.approx({0: 97, 1: 97, 2: math.nan, 3: math.nan, 4: math.nan, 5: 93, 6: 93}, nan_ok=True)


def test_a_probe_without_a_finger_is_a_lead_that_is_off() -> None:
    one = _irregular()
    blocks = one.push(_said((0.0, 97.0), (1.0, 0.0), (2.0, 127.0), (3.0, 62.0))) + one.flush(4)
    assert joined(blocks)[2][0].tolist() == [OK, LEAD_OFF, LEAD_OFF, OK]


def test_time_that_goes_backward_repeats_itself_or_is_none_is_dropped_and_counted() -> None:
    one = _irregular()
    blocks = one.push(_said((0.0, 97.0), (2.0, 95.0), (1.0, 80.0), (2.0, 81.0), (math.nan, 82.0), (3.0, 94.0)))
    assert _values(blocks + one.flush(4)) == {0: 97.0, 1: 97.0, 2: 95.0, 3: 94.0}
    assert one.dropped_samples == 3
    counts = one.timeline
    assert (counts.received, counts.dropped, counts.duplicated, counts.out_of_order, counts.lost) == (6, 3, 1, 1, 0)


def test_a_leap_is_believed_when_the_next_sample_agrees() -> None:
    one = _irregular()
    blocks = one.push(_said((0.0, 97.0), (90000.0, 50.0), (1.0, 96.0)))
    assert one.dropped_samples == 1
    blocks += one.push(_said((9000.0, 95.0), (9003.0, 94.0))) + one.flush(9005)
    assert one.dropped_samples == 2
    values = _values(blocks)
    assert sorted(values) == list(range(9005))
    assert {n for n, value in values.items() if not math.isnan(value)} == {*range(HOLD + 2), 9003, 9004}
    assert one.gaps == 1
    assert one.push(_said((1e12, 90.0), (1e12 + 1, 90.0))) == []


def test_channels_of_several_rates_come_together() -> None:
    one = _irregular((SPO2, spec("hr", "hr", 4, "bpm")))
    stamps = np.array([0.0, 0.6, 1.0, 2.3])
    blocks = one.push(chunk(np.array([[97, 60], [96, 61], [95, 62], [94, np.nan]]), stamps)) + one.flush(4)
    numbers, (spo2, rate), quality = joined(blocks)
    assert numbers == [0, 1, 2, 3]
    assert spo2.tolist() == [[97], [95], [95], [94]]
    assert rate.tolist() == [[60, 60, 60, 61], [62, 62, 62, 62], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert quality.tolist() == [[OK] * 4, [OK, OK, MISSING, MISSING]]


def test_a_stated_slow_rate_is_held_for_two_of_its_periods() -> None:
    one = _irregular((spec("hr", "hr", 1, "bpm"),), rate_hz=0.05)
    values = _values(one.push(_said((0.0, 60.0), (20.0, 61.0), (60.0, 62.0))) + one.flush(120))
    assert [n for n, value in values.items() if math.isnan(value)] == list(range(101, 120))
    assert (values[60 - 1], values[60]) == (61.0, 62.0)


def test_the_values_of_before_t0_count_while_they_are_held() -> None:
    one = _irregular(t0_s=1000.0)
    values = _values(one.push(_said((900.0, 90.0), (994.0, 96.0))) + one.flush(8))
    assert [n for n, value in values.items() if value == 96.0] == [0, 1, 2, 3, 4]


Stamps = st.lists(
    st.one_of(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0, 11.0, 40.0, 5000.0, -2.0, 1e-9, math.nan]), st.floats(0, 3)),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_chunking_gives_the_same_bits(data: st.DataObject) -> None:
    steps = data.draw(Stamps)
    stamps: NDArray[np.float64] = data.draw(st.sampled_from([-3.0, 0.0, 0.25])) + np.nancumsum(steps)
    stamps[np.isnan(steps)] = np.nan
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    samples = rng.choice([97.0, 55.0, np.nan, np.inf, 0.0, 1e30], (len(stamps), 2), p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05])
    specs = (SPO2, spec("hr", "hr", data.draw(st.sampled_from([1, 4, 25])), "bpm"))
    asked_at = data.draw(st.one_of(st.none(), st.integers(0, len(stamps))))
    until = data.draw(st.integers(0, 300))
    end = max(300, math.ceil(np.nanmax([0.0, *stamps])) + 20)

    def played(borders: list[int]) -> tuple[IrregularConditioner, list[Seconds]]:
        one = _irregular(specs)
        blocks: list[Seconds] = []
        cuts = sorted({0, len(stamps), *borders, *([asked_at] if asked_at is not None else [])})
        for start, stop in zip([0, *cuts], cuts, strict=False):
            blocks += one.push(chunk(samples[start:stop], stamps[start:stop]))
            if stop == asked_at:
                blocks += one.flush(until, incomplete=False)
            state = one.snapshot()
            assert sum(points.nbytes for points in state.points) <= 4 * 2 * 26
            one = _irregular(specs)
            one.restore(copy.deepcopy(state))
        return one, blocks + one.flush(end)

    whole, expected = played([])
    cut, got = played(data.draw(st.lists(st.integers(0, len(stamps)), max_size=40)))
    (numbers_a, samples_a, quality_a), (numbers_b, samples_b, quality_b) = joined(expected), joined(got)
    assert numbers_a == numbers_b == list(range(len(numbers_a)))
    np.testing.assert_array_equal(quality_a, quality_b)
    for a, b in zip(samples_a, samples_b, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()
    assert (whole.dropped_samples, whole.gaps, whole.reached_s) == (cut.dropped_samples, cut.gaps, cut.reached_s)


def test_a_week_of_silence_takes_no_memory() -> None:
    one = _irregular((spec("hr", "hr", 100, "bpm"),))
    week = 6 * 86400
    blocks = one.push(_said((0.0, 60.0))) + one.flush(week) + one.push(_said((week, 60.0), (week + 3000.0, 60.0)))
    assert sum(block.count for block in blocks) == week + 3000
    assert sum(samples.base is None and samples.nbytes for block in blocks for samples in block.samples) < 1e5


def test_its_state_is_arrays_and_numbers_only() -> None:
    one = _irregular()
    one.push(_said((0.0, 97.0), (1.5, 96.0)))
    state = one.snapshot()
    assert isinstance(state, IrregularState)
    for name in IrregularState.__slots__:
        value = getattr(state, name)
        values = value if isinstance(value, list) else [value]
        assert all(isinstance(each, int | float | np.ndarray) for each in values), name


@pytest.mark.parametrize(
    ("rate_hz", "kind"), [(0.0, IrregularConditioner), (0.5, IrregularConditioner), (1.0, StreamConditioner)]
)
def test_the_rate_says_which_conditioner_serves(rate_hz: float, kind: type) -> None:
    info = StreamInfo("stream", rate_hz, (ChannelInfo("SpO2", "%"),))
    one = conditioner_for(info, [Derivation(SPO2, "stream", (Term(0, 1.0),), "SpO2", "")], [3], 10.0, first_second=7)
    assert type(one) is kind
    assert (one.info, one.channels, one.next_second, one.reached_s, one.gaps) == (info, (3,), 7, 10.0, 0)
    (block,) = one.flush(9)
    assert (block.start, block.channels, block.quality.tolist()) == (7, (3,), [[MISSING, MISSING]])


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    for rate in (1.0, -1.0, math.nan, math.inf):
        with pytest.raises(UserError, match="stream 'stream' has a rate of"):
            _irregular(rate_hz=rate)
    with pytest.raises(UserError, match="has a rate of nan"):
        conditioner_for(StreamInfo("stream", math.nan, ()), [], [], 0.0)
    with pytest.raises(ValueError, match="does not fit stream"):
        _irregular().push(chunk(np.zeros((2, 2)), np.zeros(2)))
    info = StreamInfo("other", 0.0, ())
    with pytest.raises(ValueError, match="needs its own derivations"):
        conditioner_for(info, [Derivation(SPO2, "stream", (), "", "")], [0], 0.0)


def test_a_stream_that_nothing_wants_takes_its_samples_quietly() -> None:
    one = conditioner_for(StreamInfo("stream", 0.0, (ChannelInfo("x"),)), [], [], 0.0)
    assert one.push(_said((0.0, 1.0), (5.0, 2.0))) == []
    assert one.flush(10) == []


def test_beside_an_eeg_nobody_waits_for_it_and_what_came_in_time_is_there() -> None:
    """EEG in chunks of 0.1 s; an oximeter whose values come 0.4 s after their time, each 3 s, and once 2.4 s after."""

    def of(name: str, rate_hz: float, wanted: ChannelSpec, place: int) -> Conditioner:
        info = StreamInfo(name, rate_hz, (ChannelInfo("x"),))
        return conditioner_for(info, [Derivation(wanted, name, (Term(0, 1.0),), "", "")], [place], 0.0)

    specs = (spec("eeg"), SPO2)
    eeg, oximeter = of("head", 100.0, specs[0], 0), of("finger", 0.0, specs[1], 1)
    grid = Grid(specs, 0.0, {"head": (0,)})
    grid.serve("finger", (1,), steady=False)
    arrivals = {34: (3.0, 97.0), 64: (6.0, 96.0), 114: (9.0, 95.0), 124: (12.0, 94.0)}
    closed: dict[int, float] = {}  # second -> when
    blocks: list[Seconds] = []
    for tick in range(1, 301):
        stamps = np.arange(10 * (tick - 1), 10 * tick) / 100
        delivered = eeg.push(Chunk("head", np.ones((10, 1), np.float32), stamps))
        if tick in arrivals:
            stamp, value = arrivals[tick]
            delivered += oximeter.push(Chunk("finger", np.array([[value]], np.float32), np.array([stamp])))
        for block in delivered:
            grid.push(block)
        due = grid.due(tick / 10)
        for block in [*eeg.flush(due, incomplete=False), *oximeter.flush(due, incomplete=False)]:
            grid.push(block)
        for block in grid.advance(tick / 10):
            blocks.append(block)
            closed |= dict.fromkeys(range(block.start, block.start + block.count), tick / 10)
    assert closed == {second: second + 1 for second in range(30)}
    spo2 = np.concatenate([block.samples[1][:, 0] for block in blocks])
    there = np.concatenate([block.quality[1] for block in blocks]) == OK
    assert spo2[there].tolist() == [97.0] * 3 + [96.0] * 5 + [95.0] + [94.0] * 11
    assert np.flatnonzero(there).tolist() == list(range(3, 23))


def test_its_state_can_be_written_and_read() -> None:
    specs = (SPO2, spec("hr", "hr", 4, "bpm"))
    one, other = _irregular(specs), _irregular(specs)
    one.push(chunk(np.array([[97, np.nan], [96, 61]]), np.array([0.0, 1.3])))
    other.restore(read_state(write_state(one.snapshot()), IrregularState))
    expected, got = joined(one.flush(20)), joined(other.flush(20))
    assert expected[0] == got[0]
    np.testing.assert_array_equal(expected[2], got[2])
    for a, b in zip(expected[1], got[1], strict=True):
        np.testing.assert_array_equal(a, b)
