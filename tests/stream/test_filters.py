from itertools import pairwise

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.errors import UserError
from hypnostream.stream.filters import CausalFilter, butterworth_sections, step_memory
from hypnostream.stream.sosfilt import public_sosfilt, sosfilt_in_place


def test_sections_have_the_response_of_the_textbook() -> None:
    ours = scipy.signal.sosfreqz(butterworth_sections(256.0, 0.3, 35.0), 4096)[1]
    theirs = np.concatenate(
        (
            scipy.signal.butter(2, 0.3, "highpass", fs=256.0, output="sos"),
            scipy.signal.butter(4, 35.0, "lowpass", fs=256.0, output="sos"),
        )
    )
    np.testing.assert_allclose(np.abs(ours), np.abs(scipy.signal.sosfreqz(theirs, 4096)[1]), atol=1e-9)


def test_memory_of_a_step_is_that_of_scipy() -> None:
    sections = butterworth_sections(128.0, None, 30.0)
    np.testing.assert_allclose(step_memory(sections), scipy.signal.sosfilt_zi(sections), atol=1e-12)


def test_the_compiled_filter_gives_the_bits_of_the_public_one() -> None:
    rng = np.random.default_rng(0)
    sections = butterworth_sections(256.0, 0.3, 35.0)
    signal, memory = rng.normal(size=(3, 1000)), rng.normal(size=(3, len(sections), 2))
    public, public_memory = signal.copy(), memory.copy()
    sosfilt_in_place(sections, signal, memory)
    public_sosfilt(sections, public, public_memory)
    np.testing.assert_array_equal(signal, public)
    np.testing.assert_array_equal(memory, public_memory)


def test_an_offset_makes_no_transient() -> None:
    causal = CausalFilter(butterworth_sections(256.0, 0.3, 35.0))
    signal = np.full((2, 512), 50_000.0)
    causal.run(causal.fresh(2), signal, np.zeros(signal.shape, bool))
    assert np.abs(signal).max() < 1e-6


def test_a_lowpass_near_the_rate_is_left_out_and_an_impossible_highpass_refused() -> None:
    assert len(butterworth_sections(64.0, None, 30.0)) == 0
    with pytest.raises(UserError, match=r"a highpass of 0\.3 Hz needs more than the 0\.5 Hz"):
        butterworth_sections(0.5, 0.3, None)
    with pytest.raises(UserError, match="a lowpass of 0 Hz"):
        butterworth_sections(64.0, None, 0.0)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_cuts_and_bad_samples_of_a_neighbour_change_no_bit(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    signal = rng.normal(size=(2, 300))
    bad = np.zeros(signal.shape, bool)
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, 299))
        bad[0, at : at + data.draw(st.integers(1, 80))] = True
    causal = CausalFilter(butterworth_sections(100.0, 0.3, 35.0))
    whole, state = signal.copy(), causal.fresh(2)
    causal.run(state, whole, bad)
    parts, cut_state = [], causal.fresh(2)
    borders = [0, *sorted(data.draw(st.lists(st.integers(0, 300), max_size=10))), 300]
    for start, stop in pairwise(borders):
        if stop > start:
            part = signal[:, start:stop].copy()
            causal.run(cut_state, part, bad[:, start:stop])
            parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    np.testing.assert_array_equal(cut_state.memory, state.memory)
    alone = signal[1:].copy()
    causal.run(causal.fresh(1), alone, np.zeros(alone.shape, bool))
    np.testing.assert_array_equal(alone[0], whole[1])
