import numpy as np
import pytest

from hypnostream.stream.resample import PHASE_STEPS, Resampler, place

RATES = [(256.0, 100), (128.0, 100), (200.0, 100), (512.0, 100), (500.0, 100), (100.0, 100), (50.0, 100), (127.5, 100)]


def _resampled(rate: float, out: int, frequency_hz: float, offset: float = 0.4) -> tuple[np.ndarray, np.ndarray]:
    """Four seconds of a sine, resampled, and the complex amplitude is 1 when it is unchanged."""
    resampler = Resampler(rate, out)
    before = resampler.half + 2
    t = (np.arange(int(8 * rate) + 2 * before) - before) / rate
    signal = np.sin(2 * np.pi * frequency_hz * t).astype(np.float32)[None]
    bases, phases = place(np.array([second * rate + offset for second in range(4)]))
    seconds = [resampler.resample(signal, bases[k : k + 1] + before, int(phases[k]))[0, 0] for k in range(4)]
    return np.concatenate(seconds), offset / rate + np.arange(4 * out) / out


def _amplitude(samples: np.ndarray, t: np.ndarray, frequency_hz: float) -> complex:
    basis = np.stack((np.sin(2 * np.pi * frequency_hz * t), np.cos(2 * np.pi * frequency_hz * t)), axis=1)
    a, b = np.linalg.lstsq(basis, samples, rcond=None)[0]
    return complex(a, b)


@pytest.mark.parametrize(("rate", "out"), RATES)
@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.4])
def test_in_band_a_sine_keeps_its_amplitude_and_its_time(rate: float, out: int, share: float) -> None:
    frequency_hz = share * min(rate, out)
    amplitude = _amplitude(*_resampled(rate, out, frequency_hz), frequency_hz)
    assert abs(20 * np.log10(abs(amplitude))) < 0.1
    assert abs(np.angle(amplitude)) / (2 * np.pi * frequency_hz) < 1e-4


@pytest.mark.parametrize(("rate", "out"), [pair for pair in RATES if pair[0] > pair[1]])
@pytest.mark.parametrize("beyond_hz", [0.5, 5.0, 10.3])
def test_what_lies_beyond_the_new_nyquist_is_rejected_by_60_db(rate: float, out: int, beyond_hz: float) -> None:
    samples, _ = _resampled(rate, out, out / 2 + beyond_hz)
    assert np.abs(samples).max() < 1e-3


def test_upsampling_makes_no_images() -> None:
    samples, t = _resampled(50.0, 100, 20.0)
    assert np.abs(samples - np.sin(2 * np.pi * 20.0 * t)).max() < 1e-2
    assert abs(_amplitude(samples, t, 30.0)) < 1e-3


def test_a_constant_stays_what_it_is() -> None:
    for rate, out in [*RATES, (4.0, 1), (25.0, 10), (1.0, 1), (33.3, 10)]:
        resampler = Resampler(rate, out)
        signal = np.full((1, 4 * resampler.half + int(4 * rate) + 9), 95.0, np.float32)
        got = resampler.resample(signal, np.array([resampler.half + 1]), PHASE_STEPS // 3)
        np.testing.assert_allclose(got, 95.0, rtol=1e-5)


def test_aligned_samples_of_the_same_rate_pass_unchanged_without_look_ahead() -> None:
    resampler = Resampler(100.0, 100)
    assert resampler.needed(0) == 100
    assert resampler.needed(1) > 100
    assert [int(part[0]) for part in place(np.array([299.9995]))] == [300, 0]
    signal = np.random.default_rng(0).normal(size=(2, 400)).astype(np.float32)
    got = resampler.resample(signal, np.array([100, 200]), 0)
    np.testing.assert_array_equal(got.reshape(2, 200), signal[:, 100:300])


@pytest.mark.parametrize(("rate", "out"), [(256.0, 100), (512.0, 100), (128.0, 100), (200.0, 128)])
def test_half_the_kernel_is_a_quarter_second_at_most_for_eeg(rate: float, out: int) -> None:
    assert Resampler(rate, out).half_s <= 0.25
    assert Resampler(4.0, 1).half_s <= 1.0
