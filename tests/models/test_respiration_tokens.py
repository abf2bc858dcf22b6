"""Tokens of beats and saturation: of the past alone, finite whatever comes, and they see what an apnea does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.models.respiration_tokens import heart_tokens, held, oxygen_tokens

Floats = NDArray[np.float64]


def beats(seconds: float, swing: float = 0.0, period_s: float = 45.0, seed: int = 0) -> tuple[Floats, Floats]:
    """Beats whose interval is about 1 s and swings by the share `swing`, as in a row of apneas."""
    rng = np.random.default_rng(seed)
    times = [0.0]
    while times[-1] < seconds:
        rr = 1 + swing * np.sin(2 * np.pi * times[-1] / period_s) + 0.01 * rng.normal()
        times.append(times[-1] + rr)
    return np.array(times[1:]), np.diff(times)


def saturation(seconds: int, depth: float = 0.0, period_s: int = 50) -> Floats:
    """97 %, falling by `depth` along a saw-tooth."""
    t = np.arange(seconds)
    return 97 - depth * (t % period_s) / period_s


def test_a_token_is_of_the_past_alone_and_of_five_minutes_of_it() -> None:
    time_s, rr_s = beats(1200)
    percent = saturation(1200, 3)
    whole, oxygen = heart_tokens(time_s, rr_s, 40), oxygen_tokens(percent, 40)
    for epochs in (1, 13, 27):
        until = time_s <= 30 * epochs
        for part, full in zip(heart_tokens(time_s[until], rr_s[until], epochs), whole, strict=True):
            np.testing.assert_array_equal(part, full[:epochs])
        for part, full in zip(oxygen_tokens(percent[: 30 * epochs], epochs), oxygen, strict=True):
            np.testing.assert_array_equal(part, full[:epochs])
    later = np.where(np.arange(1200) < 300, 80.0, percent)
    for part, full in zip(oxygen_tokens(later, 40), oxygen, strict=True):
        np.testing.assert_array_equal(part[20:], full[20:])


def test_a_beat_that_is_yet_to_come_is_not_in_the_rate_before_it() -> None:
    value = held(np.array([1.0, 2.0, 3.5]), np.array([1.0, 1.0, 1.5]), 1)
    assert value[2 * 3 - 1 + 0] == pytest.approx(0.0)  # at 3.0 s: the interval of 1 s, not that which ends at 3.5 s
    assert np.isnan(value[0])
    assert np.isnan(value[-1])  # nothing for more than 5 s


def test_a_row_of_apneas_is_seen_in_both() -> None:
    calm, swinging = heart_tokens(*beats(900), 30), heart_tokens(*beats(900, 0.15), 30)
    assert swinging.shape[-1, 8] > calm.shape[-1, 8] + 1  # share of cyclic variation
    assert swinging.shape[-1, 12] > 0.5 > calm.shape[-1, 12]  # it repeats,
    assert swinging.shape[-1, 13] == pytest.approx(45 / 60, abs=3 / 60)  # every 45 s
    still, falling = oxygen_tokens(saturation(900), 30), oxygen_tokens(saturation(900, 6), 30)
    assert falling.shape[-1, 10] == pytest.approx(3, abs=0.3)  # it climbs by 6 %, in units of 2 %
    assert not still.shape[-1, :12].any()
    assert falling.shape[-1, 13] >= 1  # desaturations in the last minute
    assert falling.shape[-1, 17] == pytest.approx(50 / 60, abs=3 / 60)


def test_an_ectopic_beat_and_a_lost_signal_are_not_taken_for_a_swing() -> None:
    time_s, rr_s = beats(900)
    early = rr_s.copy()
    early[800::7] *= 0.5
    odd, usual = heart_tokens(time_s, early, 30), heart_tokens(time_s, rr_s, 30)
    np.testing.assert_allclose(odd.shape[-1, 6:8], usual.shape[-1, 6:8], atol=0.3)
    percent = saturation(900)
    percent[-20:] = np.where(np.arange(20) % 2, 0.0, 127.0)  # a probe that has come off
    lost = oxygen_tokens(percent, 30)
    assert not lost.there[-1]
    assert not lost.shape[-1].any()
    assert lost.there[1:-1].all()  # at the first epoch's end there is no minute yet


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 12), st.integers(0, 400), st.integers(0, 99))
def test_tokens_are_finite_and_zero_where_absent_whatever_comes(epochs: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    time_s = np.sort(rng.uniform(0, 30 * epochs + 1, count))
    percent = np.where(rng.random(count) < 0.3, np.nan, rng.uniform(-10, 200, count))
    for found in (heart_tokens(time_s, rng.uniform(0, 4, count), epochs), oxygen_tokens(percent, epochs)):
        assert found.shape.shape == (epochs, 19)
        assert found.level.shape == (epochs, 7)
        assert np.isfinite(found.shape).all()
        assert np.isfinite(found.level).all()
        assert not found.shape[~found.there].any()
        assert not found.level[~found.there].any()
