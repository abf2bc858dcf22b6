import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.stream.ring import RingBuffer


def _numbered(start: int, n: int, channels: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Samples whose first channel is their absolute number, so that a slice can be proven to be one."""
    numbers = np.arange(start, start + n)
    samples = np.stack([numbers] * channels, axis=1).astype(np.float32)
    return samples, numbers / 4.0


@settings(deadline=None, max_examples=200)
@given(
    capacity=st.integers(1, 20),
    steps=st.lists(
        st.one_of(st.tuples(st.just("append"), st.integers(0, 50)), st.tuples(st.just("read"), st.integers(0, 2)))
    ),
)
def test_every_sample_is_read_once_or_counted_as_lost(capacity: int, steps: list[tuple[str, int]]) -> None:
    ring = RingBuffer(2, capacity)
    readers = [ring.reader() for _ in range(3)]
    accounted = [0, 0, 0]
    for what, number in steps:
        if what == "append":
            ring.append(*_numbered(ring.total, number))
            continue
        lost_before = readers[number].lost
        samples, timestamps = readers[number].read()
        lost = readers[number].lost - lost_before
        first = accounted[number] + lost
        expected = np.arange(first, ring.total)
        np.testing.assert_array_equal(samples[:, 0], expected)
        np.testing.assert_array_equal(timestamps, expected / 4.0)
        assert lost == max(0, ring.total - capacity - accounted[number])
        accounted[number] = ring.total
    for reader, seen in zip(readers, accounted, strict=True):
        assert reader.position == seen


def test_a_reader_may_begin_with_what_is_still_there() -> None:
    ring = RingBuffer(1, 4)
    ring.append(*_numbered(0, 10, 1))
    assert ring.reader(from_oldest=True).read()[0][:, 0].tolist() == [6, 7, 8, 9]
    assert len(ring.reader().read()[0]) == 0


def test_gaps_stay_in_the_timestamps() -> None:
    ring = RingBuffer(1, 8)
    reader = ring.reader()
    stamps = np.array([0.0, 0.25, 60.0, 60.25])
    ring.append(np.zeros((4, 1), np.float32), stamps)
    np.testing.assert_array_equal(reader.read()[1], stamps)


def test_what_was_read_does_not_change_when_the_ring_goes_on() -> None:
    ring = RingBuffer(1, 4)
    ring.append(*_numbered(0, 4, 1))
    samples, _ = ring.reader(from_oldest=True).read()
    ring.append(*_numbered(4, 4, 1))
    assert samples[:, 0].tolist() == [0, 1, 2, 3]


def test_appending_touches_no_more_than_the_chunk() -> None:
    ring = RingBuffer(1, 1000)
    ring.append(*_numbered(0, 1000, 1))
    before = ring._samples.copy()
    ring.append(*_numbered(1000, 7, 1))
    assert np.flatnonzero(ring._samples[:, 0] != before[:, 0]).tolist() == list(range(7))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 1\) do not fit 2 stamps of 2 channels"):
        RingBuffer(2, 4).append(np.zeros((3, 1), np.float32), np.zeros(2))
    with pytest.raises(ValueError, match="not all in the ring"):
        RingBuffer(2, 4).slice(0, 1)
    with pytest.raises(ValueError, match="at least one"):
        RingBuffer(0, 4)
