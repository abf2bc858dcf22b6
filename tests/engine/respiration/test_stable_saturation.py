import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hypnostream.engine.respiration.stable_saturation import StableSaturation

WINDOW = 8

percent = st.integers(80, 100).map(float) | st.floats(80, 100, width=32)
steps = st.lists(st.tuples(st.sampled_from(["append", "append", "append", "forget", "take back"]), percent))


@given(steps)
def test_the_quantile_is_that_of_the_latest_seconds_whatever_was_forgotten_or_taken_back(
    steps: list[tuple[str, float]],
) -> None:
    stable, kept = StableSaturation(WINDOW), list[tuple[int, float]]()
    for second, (step, value) in enumerate(steps):
        if step == "append":
            stable.append(second, value)
            kept.append((second, value))
        elif step == "forget":
            stable.forget_before(second - 12)
            kept = [each for each in kept if each[0] >= second - 12]
        else:
            assert stable.take_back(second - 3) == sum(each[0] >= second - 3 for each in kept)
            kept = [each for each in kept if each[0] < second - 3]
        latest = np.sort([value for _, value in kept[-WINDOW:]])
        assert stable.ordered == latest.tolist()
        if kept:
            assert stable.quantile(0.75) == latest[int(0.75 * (len(latest) - 1))]


def test_nothing_is_left_when_the_baseline_begins_anew() -> None:
    stable = StableSaturation(WINDOW)
    stable.append(0, 97.0)
    stable.clear()
    assert (stable.seconds, stable.percent, stable.ordered) == ([], [], [])
