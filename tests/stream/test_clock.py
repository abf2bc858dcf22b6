import pytest

from hypnostream.stream.clock import Clock, RealTimeClock, VirtualClock


class _Wall:
    """A wall clock that passes only when someone sleeps, and wakes sleepers early."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time_s

    def sleep(self, duration_s: float) -> None:
        self.slept.append(duration_s)
        self.time_s += duration_s if duration_s < 0.01 else duration_s / 2


def test_at_60_times_the_speed_every_threshold_is_60_times_shorter_on_the_wall() -> None:
    wall = _Wall()
    clock = RealTimeClock(60.0, start_s=5.0, wall=wall.now, sleep=wall.sleep)
    assert clock.now() == 5.0
    clock.wait_until(65.0)
    assert wall.slept[0] == pytest.approx(1.0)
    assert wall.time_s - 1000.0 == pytest.approx(1.0)
    assert clock.now() == pytest.approx(65.0)
    assert clock.wall_s(3.0) == pytest.approx(0.05)


def test_waiting_for_the_past_takes_no_time() -> None:
    wall = _Wall()
    clock = RealTimeClock(wall=wall.now, sleep=wall.sleep)
    clock.wait_until(-1.0)
    assert wall.slept == []


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_a_speed_must_be_a_positive_number(speed: float) -> None:
    with pytest.raises(ValueError, match="speed"):
        RealTimeClock(speed)


def test_the_virtual_clock_only_ever_goes_forward() -> None:
    clock: Clock = VirtualClock(10.0)
    clock.wait_until(28800.0)
    clock.wait_until(3.0)
    assert clock.now() == 28800.0
    assert clock.wall_s(60.0) == 0.0
