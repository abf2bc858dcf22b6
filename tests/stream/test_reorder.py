import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.stream.reorder import Reorder
from hypnostream.stream.source import Chunk
from hypnostream.stream.timeline import Timeline

RATE_HZ = 256.0


def _chunk(first: int, n: int = 16) -> Chunk:
    """Samples `first` to `first` + `n`, whose channel 0 carries their numbers."""
    numbers = np.arange(first, first + n)
    return Chunk("eeg", numbers[:, None].astype(np.float32), numbers / RATE_HZ)


def _numbers(chunks: list[Chunk]) -> list[int]:
    return [int(number) for chunk in chunks for number in chunk.samples[:, 0]]


def test_what_is_in_order_passes_at_once_as_it_is() -> None:
    reorder = Reorder(RATE_HZ)
    for first in range(0, 1600, 16):
        chunk = _chunk(first)
        (passed,) = reorder.push(chunk, now_s=first / RATE_HZ)
        assert passed is chunk
    assert reorder.reordered == reorder.held_samples == 0


def test_chunks_that_overtook_one_another_come_out_in_order() -> None:
    reorder = Reorder(RATE_HZ)
    out = reorder.push(_chunk(0), 0.0)
    for first in (32, 64, 48):
        assert reorder.push(_chunk(first), 0.1) == []
    out += reorder.push(_chunk(16), 0.2)
    out += reorder.push(_chunk(80), 0.3)
    assert _numbers(out) == list(range(96))
    assert reorder.reordered == 2


def test_without_it_the_same_samples_are_lost() -> None:
    order = [0, 32, 16, 48, 64, 96, 80, 112]
    naive, ours, reorder = Timeline(RATE_HZ, 0.0), Timeline(RATE_HZ, 0.0), Reorder(RATE_HZ)
    for first in order:
        naive.accept(_chunk(first).timestamps)
        for chunk in reorder.push(_chunk(first), first / RATE_HZ):
            ours.accept(chunk.timestamps)
    assert (naive.state.lost, naive.state.out_of_order, naive.state.segments) == (32, 32, 3)
    assert (ours.state.lost, ours.state.dropped, ours.state.segments) == (0, 0, 1)


def test_disorder_within_a_chunk_is_mended_too() -> None:
    reorder = Reorder(RATE_HZ)
    pieces = [_chunk(first) for first in (0, 32, 16, 48)]
    together = Chunk("eeg", np.concatenate([p.samples for p in pieces]), np.concatenate([p.timestamps for p in pieces]))
    assert _numbers(reorder.push(together, 0.0)) == list(range(64))
    assert reorder.reordered == 1


def test_what_does_not_come_is_waited_for_no_longer_than_said() -> None:
    reorder = Reorder(RATE_HZ, wait_s=0.3)
    reorder.push(_chunk(0), 10.0)
    assert reorder.push(_chunk(32), 10.1) == []
    assert reorder.push(_chunk(48), 10.2) == []
    assert reorder.release(10.39) == []
    assert _numbers(reorder.release(10.4)) == list(range(32, 64))
    # What comes after all passes, for the timeline to count.
    assert _numbers(reorder.push(_chunk(16), 10.5)) == list(range(16, 32))
    assert _numbers(reorder.push(_chunk(64), 10.6)) == list(range(64, 80))
    assert reorder.reordered == 0


def test_nothing_is_held_for_a_gap_that_no_late_packet_fills() -> None:
    reorder = Reorder(RATE_HZ)
    reorder.push(_chunk(0), 0.0)
    assert _numbers(reorder.push(_chunk(5000), 20.0)) == list(range(5000, 5016))


@pytest.mark.parametrize("packet", [8, 16, 64])
def test_jitter_keeps_its_order_and_is_held_up_at_its_beginning_only(packet: int) -> None:
    rng = np.random.default_rng(packet)
    reorder = Reorder(RATE_HZ)
    out: list[Chunk] = []
    waited = np.zeros(400, bool)
    for k in range(400):
        chunk = _chunk(k * packet, packet)
        late = Chunk(chunk.stream_id, chunk.samples, chunk.timestamps + rng.uniform(-0.02, 0.02))
        out += reorder.push(late, (k + 1) * packet / RATE_HZ)
        waited[k] = reorder.held_samples > 0
    out += reorder.release(np.inf)
    assert _numbers(out) == list(range(400 * packet))
    assert waited[:100].sum() < 40
    assert waited[100:].sum() < 10
    assert reorder.reordered == 0


def test_a_loss_is_no_jitter() -> None:
    reorder = Reorder(RATE_HZ)
    kept = [first for first in range(0, 3200, 8) if first % 80]
    out = [chunk for first in kept for chunk in reorder.push(_chunk(first, 8), first / RATE_HZ)]
    assert _numbers(out) == [number for first in kept for number in range(first, first + 8)][: len(_numbers(out))]
    # Still attentive after forty losses.
    reorder.release(np.inf)
    reorder.push(_chunk(3200, 8), 20.0)
    assert reorder.push(_chunk(3216, 8), 20.0) == []


def test_a_snapshot_holds_what_waits() -> None:
    one, other = Reorder(RATE_HZ), Reorder(RATE_HZ)
    one.push(_chunk(0), 0.0)
    one.push(_chunk(32), 0.1)
    state = one.snapshot()
    one.release(5.0)
    other.restore(state)
    assert _numbers(other.push(_chunk(16), 0.2)) == list(range(16, 48))
    assert len(state.held) == 1


def test_no_number_and_no_sample_do_no_harm() -> None:
    reorder = Reorder(RATE_HZ)
    empty, nothing = _chunk(0, 0), Chunk("eeg", np.zeros((2, 1), np.float32), np.full(2, np.nan))
    assert reorder.push(empty, 0.0) == [empty]
    assert _numbers(reorder.push(_chunk(0), 0.0)) == list(range(16))
    assert reorder.push(nothing, 0.1) == [nothing]
    assert _numbers(reorder.push(_chunk(16), 0.1)) == list(range(16, 32))
    irregular = Reorder(0.0)
    assert irregular.push(nothing, 0.0) == [nothing]


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_whatever_comes_every_chunk_leaves_once_and_memory_stays_bounded(data: st.DataObject) -> None:
    firsts = data.draw(st.lists(st.integers(0, 2000), max_size=60))
    reorder, out = Reorder(RATE_HZ), []
    now_s = 0.0
    for first in firsts:
        now_s += data.draw(st.sampled_from([0.0, 0.05, 0.5]))
        out += reorder.push(_chunk(first, 40), now_s)
        assert reorder.held_samples <= 5 * RATE_HZ
    out += reorder.release(now_s + 0.3)
    assert reorder.held_samples == 0
    assert sorted(_numbers(out)) == sorted(n for first in firsts for n in range(first, first + 40))


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_any_order_within_the_wait_is_put_right(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 30), min_size=2, max_size=30))
    firsts = np.concatenate(([0], np.cumsum(sizes)))
    late = data.draw(st.lists(st.integers(0, 3), min_size=len(sizes), max_size=len(sizes)))
    late[0] = 0
    order = sorted(range(len(sizes)), key=lambda k: (k + late[k], k))
    reorder, out = Reorder(RATE_HZ), []
    for k in order:
        out += reorder.push(_chunk(int(firsts[k]), sizes[k]), 0.0)
    out += reorder.release(1.0)
    assert _numbers(out) == list(range(int(firsts[-1])))
