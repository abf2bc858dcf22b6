import pytest
from scipy.stats import chi2

from hypnostream.engine.respiration.poisson import poisson_interval


@pytest.mark.parametrize("count", [0, 1, 2, 3, 10, 47, 300, 5000])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_it_is_the_exact_interval(count: int, level: float) -> None:
    low, high = poisson_interval(count, level)
    tail = (1 - level) / 2
    assert low == pytest.approx(chi2.ppf(tail, 2 * count) / 2 if count else 0.0, rel=1e-9)
    assert high == pytest.approx(chi2.ppf(1 - tail, 2 * (count + 1)) / 2, rel=1e-9)


def test_no_event_is_not_no_uncertainty() -> None:
    assert poisson_interval(0)[0] == 0
    assert poisson_interval(0)[1] == pytest.approx(3.6889, abs=1e-4)


@pytest.mark.parametrize(("count", "level"), [(-1, 0.95), (3, 0.0), (3, 1.0)])
def test_what_makes_no_sense_is_refused(count: int, level: float) -> None:
    with pytest.raises(ValueError, match=f"level {level} for a count of {count}"):
        poisson_interval(count, level)
