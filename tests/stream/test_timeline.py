import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.stream.timeline import Timeline


def _accepted(timeline: Timeline, *chunks: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """The stamps that were taken, and the origins of the segments."""
    taken, origins = [np.zeros(0)], []
    for chunk in chunks:
        for run in timeline.accept(chunk):
            taken.append(chunk[run.rows])
            if run.opens_segment:
                origins.append(run.origin_s)
    return np.concatenate(taken), origins


def test_jitter_is_no_gap_and_loses_no_sample() -> None:
    stamps = np.arange(256 * 60) / 256 + np.random.default_rng(1).normal(0, 0.004, 256 * 60)
    timeline = Timeline(256.0, 0.0)
    taken, origins = _accepted(timeline, stamps)
    assert len(taken) == len(stamps)
    assert len(origins) == 1
    # The first stamp's own jitter does not stay in the origin.
    assert abs(timeline.state.origin_s) < 0.0005


def test_a_clock_that_drifts_makes_no_gap_in_eight_hours_and_is_followed() -> None:
    stamps = 5.0 + np.arange(32 * 8 * 3600) / 32 * (1 + 200e-6)
    timeline = Timeline(32.0, 5.0)
    _, origins = _accepted(timeline, *np.array_split(stamps, 480))
    assert len(origins) == 1
    expected = timeline.state.origin_s + (timeline.state.count - 1) / 32
    assert abs(expected - stamps[-1]) < 0.005


def test_one_lost_sample_of_a_slow_stream_is_a_gap() -> None:
    stamps = np.array([0.0, 1.0, 2.0, 4.0, 5.0])
    assert _accepted(Timeline(1.0, 0.0), stamps)[1] == [0.0, 4.0]


def test_forty_lost_milliseconds_are_a_gap() -> None:
    stamps = np.concatenate((np.arange(256), np.arange(256 + 11, 512))) / 256
    assert _accepted(Timeline(256.0, 0.0), stamps)[1] == [0.0, 267 / 256]


def test_duplicates_and_time_going_backward_are_dropped_and_counted() -> None:
    first, again, later = np.arange(100) / 100, np.arange(40, 100) / 100, np.arange(100, 150) / 100
    timeline = Timeline(100.0, 0.0)
    taken, origins = _accepted(timeline, first, again, first[-1:], later)
    np.testing.assert_array_equal(taken, np.arange(150) / 100)
    assert timeline.state.dropped == 61
    assert origins == [0.0]


def test_stamps_that_are_no_number_are_dropped() -> None:
    timeline = Timeline(10.0, 0.0)
    taken, _ = _accepted(timeline, np.array([0.0, 0.1, np.nan, 0.2, np.inf, 0.3, -np.inf]))
    assert taken.tolist() == [0.0, 0.1, 0.2, 0.3]
    assert timeline.state.dropped == 3


def test_one_absurd_stamp_does_not_move_the_stream_but_many_do() -> None:
    stamps = np.arange(1000) / 100
    stamps[500] += 200_000
    timeline = Timeline(100.0, 0.0)
    assert _accepted(timeline, stamps)[1] == [0.0]
    assert timeline.state.dropped == 1
    back = 7200.0 + np.arange(1000) / 100
    taken, origins = _accepted(timeline, back)
    assert origins == [back[99]]
    assert len(taken) == 901


@settings(deadline=None, max_examples=80)
@given(data=st.data())
def test_how_stamps_are_cut_into_chunks_changes_nothing(data: st.DataObject) -> None:
    rate = 20.0
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    stamps = np.arange(700) / rate * (1 + data.draw(st.sampled_from([0.0, 1e-4, -3e-4])))
    stamps += data.draw(st.sampled_from([0.0, 0.005])) * rng.normal(size=700)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(1, 690))
        stamps[at:] += data.draw(st.sampled_from([0.06, 1.0, 45.0]))
    for _ in range(data.draw(st.integers(0, 2))):
        at, length = data.draw(st.integers(20, 600)), data.draw(st.integers(1, 60))
        stamps = np.insert(stamps, at, stamps[max(0, at - length) : at])
    whole, cut = Timeline(rate, 0.0), Timeline(rate, 0.0)
    borders = sorted(data.draw(st.lists(st.integers(0, len(stamps)), max_size=30)))
    a, b = _accepted(whole, stamps), _accepted(cut, *np.split(stamps, borders))
    np.testing.assert_array_equal(a[0], b[0])
    assert a[1] == b[1]
    assert whole.state.origin_s == cut.state.origin_s
    assert whole.state.dropped == cut.state.dropped
