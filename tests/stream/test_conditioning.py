import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.errors import UserError
from hypnostream.stream.channels import FLAT, MAINS, MISSING, NOISY, OK, SATURATED, Term
from hypnostream.stream.source import Chunk
from tests.stream.conditioning_cases import brain, chunk, conditioner, joined, spec

EEG = spec(highpass_hz=0.3, lowpass_hz=35.0)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_chunking_gives_the_same_bits(data: st.DataObject) -> None:
    rate = data.draw(st.sampled_from([256.0, 100.0, 127.5, 50.0, 33.3]))
    n = int(rate * 14)
    stamps = data.draw(st.sampled_from([-2.3, 0.0, 0.003])) + np.arange(n) / rate
    samples = brain(n, 3, seed=data.draw(st.integers(0, 9)))
    if data.draw(st.booleans()):
        stamps = stamps * (1 + 3e-4) + np.random.default_rng(0).normal(0, 0.001, n)
    if data.draw(st.booleans()):
        stamps[n // 2 :] += data.draw(st.sampled_from([0.2, 1.0, 3.7]))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, n - 1))
        samples[at : at + data.draw(st.integers(1, int(2 * rate))), 1] = np.nan
    specs = [EEG, EEG, spec("emg", "emg", highpass_hz=5.0), spec("flow", "flow", 10)]
    terms = [(Term(0, 1.0), Term(1, -1.0)), (Term(2, 1.0),), (Term(1, 1.0),), (Term(2, 0.1),)]
    whole, cut = (conditioner(rate, specs, terms, channels=3) for _ in range(2))
    borders = data.draw(
        st.one_of(
            st.lists(st.integers(0, n), max_size=40).map(sorted),
            st.integers(0, n - 200).map(lambda at: list(range(at, at + 200))),
        )
    )
    expected = whole.push(chunk(samples, stamps)) + whole.flush(20)
    got = []
    for start, stop in zip([0, *borders], [*borders, n], strict=True):
        got += cut.push(chunk(samples[start:stop], stamps[start:stop]))
    got += cut.flush(20)
    (numbers_a, samples_a, quality_a), (numbers_b, samples_b, quality_b) = joined(expected), joined(got)
    assert numbers_a == numbers_b == list(range(20))
    np.testing.assert_array_equal(quality_a, quality_b)
    for a, b in zip(samples_a, samples_b, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.isfinite(a).all()


def test_single_samples_give_the_bits_of_one_long_chunk() -> None:
    n = 256 * 5
    samples, stamps = brain(n, 2), np.arange(n) / 256
    whole, cut = conditioner(256.0, [EEG, EEG]), conditioner(256.0, [EEG, EEG])
    expected = joined(whole.push(chunk(samples, stamps)))
    got = joined([block for i in range(n) for block in cut.push(chunk(samples[i : i + 1], stamps[i : i + 1]))])
    assert expected[0] == got[0] == [0, 1, 2, 3]
    np.testing.assert_array_equal(np.array(expected[1]), np.array(got[1]))


def test_a_sine_stays_in_phase_on_the_grid() -> None:
    rate, start = 256.0, 1.0017
    stamps = 1000.0 + start + np.arange(int(rate * 20)) / rate
    samples = 50 * np.sin(2 * np.pi * 8 * stamps)[:, None]
    numbers, (got,), quality = joined(conditioner(rate, [spec()], t0_s=1000.0).push(chunk(samples, stamps)))
    assert numbers == list(range(20))
    # Second 1 begins 1.7 ms before its first sample: none is missing.
    assert quality[0].tolist() == [MISSING] + [OK] * 19
    t = 1000.0 + np.arange(20)[:, None] + np.arange(100) / 100
    np.testing.assert_allclose(got[2:], (50 * np.sin(2 * np.pi * 8 * t))[2:], atol=50 * 2 * np.pi * 8 * 1e-4)


def test_a_second_waits_for_its_look_ahead_and_no_longer() -> None:
    one = conditioner(256.0, [EEG])
    n = 256 + int(one.look_ahead_s * 256)
    samples, stamps = brain(n), np.arange(n) / 256
    assert one.look_ahead_s < 0.26
    assert one.push(chunk(samples[:-1], stamps[:-1])) == []
    assert [block.start for block in one.push(chunk(samples[-1:], stamps[-1:]))] == [0]


def test_aligned_samples_of_the_grid_s_rate_pass_at_once_and_unchanged() -> None:
    samples = brain(300)
    (block,) = conditioner(100.0, [spec()]).push(chunk(samples, np.arange(300) / 100))
    np.testing.assert_array_equal(block.samples[0].ravel(), samples[:, 0])


def test_flush_gives_what_is_complete_and_the_rest_as_missing_or_not_yet() -> None:
    samples, stamps = brain(256 * 3 + 100), np.arange(256 * 3 + 100) / 256
    one = conditioner(256.0, [EEG])
    first = one.push(chunk(samples[: 256 * 3], stamps[: 256 * 3]))
    assert joined(first)[0] == [0, 1]
    held = one.flush(4, incomplete=False)
    assert (joined(held)[0], joined(held)[2].tolist()) == ([2], [[OK]])
    assert one.push(chunk(samples[256 * 3 :], stamps[256 * 3 :])) == []
    rest = one.flush(3600)
    assert joined(rest)[0] == list(range(3, 3600))
    assert (joined(rest)[2] == MISSING).all()
    assert one.flush(3600) == []


def test_a_gap_makes_the_seconds_that_it_touches_missing_and_no_transient() -> None:
    rate = 128.0
    stamps = np.arange(int(20 * rate)) / rate
    stamps[int(7.5 * rate) :] += 4.0
    samples = 3000.0 + brain(len(stamps))
    samples[int(7.5 * rate) :] -= 2900.0
    one = conditioner(rate, [EEG])
    numbers, (got,), quality = joined(one.push(chunk(samples, stamps)) + one.flush(24))
    assert numbers == list(range(24))
    assert np.flatnonzero(quality[0] == MISSING).tolist() == [7, 8, 9, 10, 11]
    assert (got[7:12] == 0).all()
    assert np.abs(got).max() < 500
    assert one.gaps == 1


def test_only_the_second_with_a_nan_is_missing_and_only_of_that_channel() -> None:
    n = 256 * 6
    samples, stamps = brain(n, 2), np.arange(n) / 256
    holed = samples.copy()
    holed[256 * 2 + 10, 1] = np.nan
    specs = [EEG, EEG]
    clean = joined(conditioner(256.0, specs).push(chunk(samples, stamps)))
    _, got, quality = joined(conditioner(256.0, specs).push(chunk(holed, stamps)))
    assert quality.tolist() == [[OK] * 5, [OK, OK, MISSING, OK, OK]]
    np.testing.assert_array_equal(got[0], clean[1][0])
    assert (got[1][2] == 0).all()
    # The filter began anew behind it, so what follows is near to but not what it would have been.
    np.testing.assert_array_equal(got[1][0], clean[1][1][0])
    assert np.abs(got[1][3:]).max() < 2 * np.abs(clean[1][1][3:]).max()


def test_a_short_hole_behind_a_second_looks_the_same_before_and_after_it_is_over() -> None:
    samples, stamps = 100 + brain(1024), np.arange(1024) / 256
    samples[512 + 5 : 512 + 100] = np.nan
    whole, cut = conditioner(256.0, [spec()]), conditioner(256.0, [spec()])
    expected = joined(whole.push(chunk(samples, stamps)))
    early = joined(cut.push(chunk(samples[:575], stamps[:575])))
    assert (early[0], early[2].tolist()) == ([0, 1], [[OK, OK]])
    np.testing.assert_array_equal(early[1][0], expected[1][0][:2])


def test_a_slow_channel_that_starts_late_does_not_rise_from_zero() -> None:
    samples = np.full((40, 1), 96.0, np.float32)
    samples[:9] = np.nan
    one = conditioner(4.0, [spec("spo2", "spo2", 1, "%")])
    _, (got,), quality = joined(one.push(chunk(samples, np.arange(40) / 4)) + one.flush(10))
    assert quality[0].tolist() == [MISSING] * 3 + [OK] * 7
    np.testing.assert_allclose(got[3:], 96.0, rtol=1e-6)


def test_samples_before_t0_only_warm_the_filters_up() -> None:
    samples, stamps = brain(256 * 40), np.arange(256 * 40) / 256 - 30.0
    warm = joined(conditioner(256.0, [EEG]).push(chunk(samples, stamps)))
    cold = joined(conditioner(256.0, [EEG]).push(chunk(samples[256 * 30 :], stamps[256 * 30 :])))
    assert warm[0] == cold[0] == list(range(9))
    assert not np.array_equal(warm[1][0][0], cold[1][0][0])
    np.testing.assert_allclose(warm[1][0][8], cold[1][0][8], atol=1e-2)


def test_derived_channels_carry_their_weights() -> None:
    samples, stamps = brain(300, 2), np.arange(300) / 100
    one = conditioner(100.0, [spec()], [(Term(0, 2.0), Term(1, -1.0))], channels=2)
    (block,) = one.push(chunk(samples, stamps))
    np.testing.assert_allclose(block.samples[0].ravel(), 2 * samples[:, 0] - samples[:, 1], rtol=1e-5, atol=1e-4)


def test_each_sensor_fault_has_its_name() -> None:
    rate, stamps = 256, np.arange(256 * 6) / 256
    samples = brain(len(stamps))
    samples[rate * 1 : rate * 2] = 4.0
    samples[rate * 2 : rate * 2 + 20] = 3000.0
    samples[rate * 3 : rate * 4, 0] += 200 * np.sin(2 * np.pi * 50 * stamps[:rate])
    samples[rate * 4 : rate * 5] *= 100
    one = conditioner(256.0, [spec()], limit=3000.0)
    _, (got,), quality = joined(one.push(chunk(samples, stamps)) + one.flush(6))
    assert quality[0].tolist() == [OK, FLAT, SATURATED, MAINS, SATURATED, OK]
    assert (got[1:5] == 0).all()
    free = conditioner(256.0, [spec()])
    assert joined(free.push(chunk(samples, stamps)) + free.flush(6))[2][0].tolist()[4] == NOISY


def test_a_saturation_of_100_percent_and_a_steady_one_are_fine() -> None:
    one = conditioner(1.0, [spec("spo2", "spo2", 1, "%")], limit=100.0)
    (block,) = one.push(chunk(np.full((30, 1), 100.0), np.arange(30.0)))
    assert (block.quality == OK).all()
    assert (block.samples[0] == 100.0).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3e38, np.nan])
def test_absurd_values_are_missing_and_never_come_out(value: float) -> None:
    samples = brain(600)
    samples[250] = value
    (block,) = conditioner(100.0, [EEG]).push(chunk(samples, np.arange(600) / 100))
    assert block.quality[0].tolist() == [OK, OK, MISSING, OK, OK, OK]
    assert np.isfinite(block.samples[0]).all()


def test_a_snapshot_goes_on_where_it_was_taken() -> None:
    samples, stamps = brain(256 * 10), np.arange(256 * 10) / 256
    one = conditioner(256.0, [EEG])
    one.push(chunk(samples[:1000], stamps[:1000]))
    state = one.snapshot()
    expected = one.push(chunk(samples[1000:], stamps[1000:]))
    other = conditioner(256.0, [EEG])
    other.restore(copy.deepcopy(state))
    got = other.push(chunk(samples[1000:], stamps[1000:]))
    assert joined(got)[0] == joined(expected)[0]
    np.testing.assert_array_equal(joined(got)[1], joined(expected)[1])
    assert other.next_second == one.next_second


def test_what_cannot_be_conditioned_is_refused_in_one_line() -> None:
    for rate in (0.0, -1.0, float("nan"), float("inf"), 0.5):
        with pytest.raises(UserError, match="stream 'stream' has a rate of"):
            conditioner(rate, [EEG])
    with pytest.raises(ValueError, match="does not fit stream"):
        conditioner(100.0, [EEG]).push(Chunk("other", np.zeros((1, 1), np.float32), np.zeros(1)))
    with pytest.raises(ValueError, match="does not fit stream"):
        conditioner(100.0, [EEG]).push(chunk(np.zeros((5, 2)), np.zeros(5)))


def test_a_stream_that_nothing_wants_takes_its_samples_quietly() -> None:
    one = conditioner(100.0, [], channels=2)
    assert one.push(chunk(brain(500, 2), np.arange(500) / 100)) == []
    assert one.flush(10) == []
