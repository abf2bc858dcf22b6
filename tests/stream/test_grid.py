import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.stream.channels import MISSING, NEVER_PRESENT, NOISY, OK
from hypnostream.stream.grid import Grid, epoch_count
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.stages import EPOCH_S
from tests.stream.conditioning_cases import spec

NIGHT_S = 8 * 3600.0
SPECS = (spec("eeg", rate_hz=4), spec("eog", "eog", rate_hz=4), spec("flow", "flow", rate_hz=2))
STREAMS = {"head": (0, 1), "chest": (2,)}


def _seconds(stream: str, start: int, count: int = 1, quality: int = OK) -> Seconds:
    """Seconds whose samples are the number of the second and of the channel, so that each can be recognised."""
    channels = STREAMS[stream]
    numbers = np.arange(start, start + count, dtype=np.float32)[:, None]
    samples = tuple(np.repeat(numbers + 0.25 * channel, SPECS[channel].rate_hz, axis=1) for channel in channels)
    return Seconds(start, channels, samples, np.full((len(channels), count), quality, np.uint8))


def _numbers(blocks: list[Seconds]) -> list[int]:
    return [second for block in blocks for second in range(block.start, block.start + block.count)]


def _quality(blocks: list[Seconds]) -> np.ndarray:
    return np.concatenate([block.quality for block in blocks], axis=1)


def _in_order(blocks: list[Seconds], count: int) -> None:
    """Every second once, in order, with samples that are its own or none."""
    assert _numbers(blocks) == list(range(count))
    for block in blocks:
        assert block.channels == (0, 1, 2)
        for channel, samples in enumerate(block.samples):
            assert samples.shape == (block.count, SPECS[channel].rate_hz)
            own = np.arange(block.start, block.start + block.count)[:, None] + 0.25 * channel
            expected = np.where(block.quality[channel][:, None] == OK, own, 0.0)
            np.testing.assert_array_equal(samples, np.broadcast_to(expected, samples.shape))


def _night(delivered: range, streams: tuple[str, ...] = ("head", "chest")) -> tuple[list[Seconds], Grid]:
    grid = Grid(SPECS, 100.0, STREAMS)
    blocks: list[Seconds] = []
    for start in range(0, int(NIGHT_S), 60):
        for name in streams if start in delivered else ():
            grid.push(_seconds(name, start, 60))
        blocks += grid.advance(100.0 + start + 60)
    return blocks + grid.finish(100.0 + NIGHT_S), grid


def test_eight_hours_are_960_epochs_with_everything_there() -> None:
    blocks, grid = _night(range(28800))
    _in_order(blocks, 960 * EPOCH_S)
    assert (_quality(blocks) == OK).all()
    assert grid.late_seconds.tolist() == [0, 0, 0]


@pytest.mark.parametrize("delivered", [range(14400), range(14400, 28800), range(7200, 21600)])
def test_eight_hours_are_960_epochs_with_half_the_night_missing(delivered: range) -> None:
    blocks, _ = _night(delivered)
    _in_order(blocks, 960 * EPOCH_S)
    quality = _quality(blocks)
    assert (quality[:, delivered.start : delivered.stop] == OK).all()
    assert (quality[:, : delivered.start] == NEVER_PRESENT).all()
    assert (quality[:, delivered.stop :] == MISSING).all()


def test_eight_hours_are_960_epochs_with_nothing_at_all() -> None:
    for blocks, _ in (_night(range(0)), _night(range(28800), ())):
        _in_order(blocks, 960 * EPOCH_S)
        assert (_quality(blocks) == NEVER_PRESENT).all()
    _in_order(Grid(SPECS, 5.0, {}).finish(5.0 + NIGHT_S), 960 * EPOCH_S)


def test_eight_hours_without_one_sensor_miss_only_that_one() -> None:
    blocks, grid = _night(range(28800), ("head",))
    _in_order(blocks, 960 * EPOCH_S)
    assert (_quality(blocks)[:2] == OK).all()
    assert (_quality(blocks)[2] == NEVER_PRESENT).all()
    assert grid.awaited == ("head",)


def test_a_recording_s_last_epoch_is_whole() -> None:
    assert [epoch_count(s) for s in (0.0, 0.1, 30.0, 30.0000001, 30.1, NIGHT_S)] == [0, 1, 1, 1, 2, 960]
    grid = Grid(SPECS, 0.0, STREAMS)
    grid.push(_seconds("head", 0, 40))
    grid.push(_seconds("chest", 0, 40))
    blocks = grid.finish(31.5)
    _in_order(blocks, 60)
    assert grid.finish(31.5) == []


def test_a_second_closes_as_soon_as_all_have_passed_it() -> None:
    grid = Grid(SPECS, 0.0, STREAMS)
    grid.push(_seconds("head", 0, 3))
    assert grid.advance(0.0) == []
    grid.push(_seconds("chest", 0, 2))
    assert _numbers(grid.advance(0.0)) == [0, 1]
    assert grid.next_second == 2


def test_a_second_closes_lateness_after_the_first_stream_passed_it_and_what_comes_later_is_counted() -> None:
    grid = Grid(SPECS, 0.0, STREAMS, lateness_s=2.0)
    grid.push(_seconds("head", 0, 1))
    grid.push(_seconds("chest", 0, 1))
    assert _numbers(grid.advance(1.0)) == [0]
    grid.push(_seconds("head", 1))
    assert grid.advance(2.3) == []
    assert grid.due(4.2) == 1
    assert grid.advance(4.2) == []
    assert grid.due(4.3) == 2
    (closed,) = grid.advance(4.3)
    assert (closed.start, closed.quality[:, 0].tolist()) == (1, [OK, OK, MISSING])
    assert list(grid.awaited) == ["head"]
    # The one that was left behind is not waited for any longer ...
    grid.push(_seconds("head", 2, 3))
    assert _numbers(grid.advance(5.0)) == [2, 3, 4]
    # ... until it comes back: late with what it brings, but waited for from then on.
    grid.push(_seconds("chest", 1, 3))
    assert grid.late_seconds.tolist() == [0, 0, 3]
    assert list(grid.awaited) == ["head", "chest"]
    grid.push(_seconds("head", 5))
    assert grid.advance(6.0) == []
    grid.push(_seconds("chest", 5))
    assert _quality(grid.advance(6.1)).tolist() == [[OK], [OK], [OK]]


def test_a_stream_that_waits_for_look_ahead_can_be_asked_before_a_second_closes() -> None:
    grid = Grid(SPECS, 0.0, STREAMS, lateness_s=2.0)
    grid.push(_seconds("head", 0))
    grid.advance(1.0)
    assert grid.due(3.0) == 1
    grid.push(_seconds("chest", 0))
    assert _quality(grid.advance(3.0)).tolist() == [[OK], [OK], [OK]]
    assert grid.awaited == ("head", "chest")


def test_a_stream_that_is_always_later_than_lateness_does_not_hold_the_others_up() -> None:
    grid = Grid(SPECS, 0.0, STREAMS, lateness_s=2.0)
    closed_at = {}
    for now in range(1, 60):
        grid.push(_seconds("head", now - 1))
        if now > 10:
            grid.push(_seconds("chest", now - 11))
        for second in _numbers(grid.advance(float(now))):
            closed_at[second] = now
    assert all(closed_at[second] == second + 1 for second in range(5, 59))
    assert grid.late_seconds[2] == 49


def test_with_every_stream_silent_the_clock_closes_seconds() -> None:
    grid = Grid(SPECS, 1000.0, STREAMS, lateness_s=2.0)
    grid.push(_seconds("head", 0, 5))
    grid.push(_seconds("chest", 0, 5))
    assert _numbers(grid.advance(1005.0)) == list(range(5))
    assert grid.advance(1007.9) == []
    closed = grid.advance(1008.0)
    assert (_numbers(closed), _quality(closed).tolist()) == ([5], [[MISSING]] * 3)
    assert _numbers(grid.advance(1068.5)) == list(range(6, 66))
    assert grid.awaited == ()
    grid.push(_seconds("head", 67, 2))
    grid.push(_seconds("chest", 67, 2))
    assert _numbers(grid.advance(1069.5)) == [66, 67, 68]
    assert grid.late_seconds.sum() == 0


def test_missing_seconds_of_a_gap_are_not_counted_as_late() -> None:
    grid = Grid(SPECS, 0.0, STREAMS)
    grid.push(_seconds("head", 0, 30))
    grid.advance(30.0)
    assert _numbers(grid.advance(32.0)) == list(range(30))
    grid.push(_seconds("chest", 0, 30, MISSING))
    assert grid.late_seconds.tolist() == [0, 0, 0]
    assert grid.awaited == ("head", "chest")


def test_a_channel_is_never_present_until_it_says_something_be_it_noise() -> None:
    grid = Grid(SPECS, 0.0, {"head": (0, 1)})
    for start, count, quality in ((0, 2, MISSING), (2, 1, NOISY), (3, 2, MISSING)):
        grid.push(_seconds("head", start, count, quality))
    blocks = grid.advance(5.0)
    assert _quality(blocks)[0].tolist() == [NEVER_PRESENT, NEVER_PRESENT, NOISY, MISSING, MISSING]
    assert _quality(blocks)[2].tolist() == [NEVER_PRESENT] * 5


def test_what_the_grid_does_not_know_is_refused() -> None:
    grid = Grid(SPECS, 0.0, {"head": (0, 1)})
    with pytest.raises(ValueError, match="not those of one stream"):
        grid.push(_seconds("chest", 0))
    with pytest.raises(ValueError, match="served by two streams"):
        Grid(SPECS, 0.0, {"a": (0, 1), "b": (1, 2)})


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_every_second_comes_exactly_once_in_order_whatever_arrives_when(data: st.DataObject) -> None:
    grid = Grid(SPECS, 0.0, STREAMS, lateness_s=data.draw(st.sampled_from([0.0, 1.0, 2.0])))
    position, now_s = {"head": 0, "chest": 0}, 0.0
    blocks: list[Seconds] = []
    delivered: dict[str, set[int]] = {"head": set(), "chest": set()}
    for _ in range(data.draw(st.integers(0, 40))):
        what = data.draw(st.sampled_from(["head", "chest", "advance", "skip"]))
        if what == "advance":
            now_s += data.draw(st.sampled_from([0.0, 0.3, 1.0, 5.0, 45.0]))
            blocks += grid.advance(now_s)
        elif what == "skip":
            position[data.draw(st.sampled_from(["head", "chest"]))] += data.draw(st.integers(1, 40))
        else:
            count = data.draw(st.sampled_from([1, 2, 7, 60]))
            on_time = range(max(position[what], grid.next_second), position[what] + count)
            delivered[what].update(on_time)
            grid.push(_seconds(what, position[what], count))
            position[what] += count
    end_s = data.draw(st.sampled_from([0.0, 1.0, 299.0, 600.0]))
    blocks += grid.finish(end_s)
    count = len(_numbers(blocks))
    assert count % EPOCH_S == 0
    assert count >= epoch_count(end_s) * EPOCH_S
    _in_order(blocks, count)
    if blocks:
        # What came in time is there, and nothing else is.
        for channel, name in ((0, "head"), (1, "head"), (2, "chest")):
            there = set(np.flatnonzero(_quality(blocks)[channel] == OK).tolist())
            assert there == {second for second in delivered[name] if second < count}


def test_a_stream_without_a_rate_is_neither_waited_for_nor_ahead_of_anyone() -> None:
    grid = Grid(SPECS, 0.0, {"head": (0, 1)}, lateness_s=2.0)
    grid.serve("chest", (2,), steady=False)
    grid.push(_seconds("head", 0, 2))
    assert (_numbers(grid.advance(2.0)), grid.awaited) == ([0, 1], ("head",))
    # Ahead of the others it hurries nobody; what it said is there when its second closes.
    grid.push(_seconds("chest", 2, 5))
    assert (grid.due(2.5), grid.due(4.5)) == (2, 2)
    grid.push(_seconds("head", 2))
    assert _quality(grid.advance(4.6)).tolist() == [[OK], [OK], [OK]]
    assert grid.awaited == ("head",)


def test_with_streams_without_a_rate_alone_the_clock_closes_seconds() -> None:
    grid = Grid(SPECS, 0.0, {}, lateness_s=2.0)
    grid.serve("chest", (2,), steady=False)
    assert grid.due(4.5) == 2
    grid.push(_seconds("chest", 0, 3))
    assert _quality(grid.advance(4.5))[2].tolist() == [OK, OK]


def test_the_same_calls_close_the_same_seconds() -> None:
    def played() -> list[tuple[int, int]]:
        grid = Grid(SPECS, 0.0, STREAMS)
        rng = np.random.default_rng(3)
        closed = []
        for now in range(1, 200):
            for name, share in (("head", 0.8), ("chest", 0.5)):
                if rng.random() < share:
                    grid.push(_seconds(name, now - 1))
            closed += [(block.start, block.count) for block in grid.advance(float(now))]
        return closed

    assert played() == played()


def test_a_clock_that_stands_still_makes_nothing_grow() -> None:
    grid = Grid(SPECS, 0.0, {"EEG": [0]})
    for second in range(0, 1000, 10):
        grid.push(Seconds(second, (0,), (np.zeros((10, SPECS[0].rate_hz), np.float32),), np.zeros((1, 10), np.uint8)))
        grid.advance(0.0)
    assert grid.next_second == 1000
    assert len(grid.state.fronts) <= 2
