"""The simulated night as a source: the same samples however they are read, and faults where the truth says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_faults import Fault, typical_faults

Read = dict[str, tuple[NDArray[np.float32], NDArray[np.float64]]]


def read_all(source: SimulatedSource) -> Read:
    chunks = []
    while not source.exhausted:
        chunks += source.read(timeout_s=0.0)
    return {
        stream.stream_id: (
            np.concatenate([chunk.samples for chunk in chunks if chunk.stream_id == stream.stream_id]),
            np.concatenate([chunk.timestamps for chunk in chunks if chunk.stream_id == stream.stream_id]),
        )
        for stream in source.streams
    }


ALL_FAULTS = NightSettings(duration_s=95.0, faults=typical_faults(95.0, seed=3), rate_hz=100)
WHOLE = read_all(SimulatedSource(simulate_night(ALL_FAULTS, seed=3), chunk_s=95.0))


@given(chunk_s=st.floats(0.02, 70.0))
@settings(max_examples=15, deadline=None)
def test_any_chunk_size_gives_the_same_samples(chunk_s: float) -> None:
    parts = read_all(SimulatedSource(simulate_night(ALL_FAULTS, seed=3), chunk_s))
    for stream_id, (samples, timestamps) in WHOLE.items():
        np.testing.assert_array_equal(parts[stream_id][0], samples)
        np.testing.assert_array_equal(parts[stream_id][1], timestamps)


def test_seed_is_the_night() -> None:
    short = NightSettings(duration_s=60.0, rate_hz=100)
    first, again, other = (read_all(SimulatedSource(simulate_night(short, seed), 1.0)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first["eeg"][0], again["eeg"][0])
    assert not np.allclose(first["eeg"][0], other["eeg"][0])
    assert first["eeg"][0].std(axis=0)[0] != pytest.approx(other["eeg"][0].std(axis=0)[0], rel=0.01)


def test_streams_have_every_sample_at_its_time() -> None:
    read = read_all(SimulatedSource(simulate_night(NightSettings(duration_s=45.0), seed=0), 0.7))
    for stream_id, rate_hz, channels in (("eeg", 256, 4), ("ecg", 256, 1), ("resp", 32, 3), ("spo2", 1, 1)):
        samples, timestamps = read[stream_id]
        assert samples.shape == (45 * rate_hz, channels)
        assert samples.dtype == np.float32
        assert timestamps.dtype == np.float64
        np.testing.assert_array_equal(timestamps, np.arange(45 * rate_hz) / rate_hz)
        assert np.isfinite(samples).all()


def test_every_kind_of_fault_shows_where_the_truth_says_and_nowhere_else() -> None:
    faults = (
        Fault("missing", "eeg", 10.0, 12.5, "EEG Fpz-Cz"),
        Fault("flat", "eeg", 20.0, 25.0, "EOG horizontal"),
        Fault("saturated", "eeg", 28.0, 32.0, "EEG Pz-Oz"),
        Fault("mains", "eeg", 40.0, 44.0, "EMG chin"),
        Fault("gap", "eeg", 50.0, 53.0),
        Fault("missing", "spo2", 5.0, 9.0),
    )
    whole = NightSettings(duration_s=60.0, rate_hz=200)
    night = simulate_night(NightSettings(duration_s=60.0, rate_hz=200, faults=faults), seed=5)
    assert night.faults == faults
    clean = read_all(SimulatedSource(simulate_night(whole, seed=5)))
    read = read_all(SimulatedSource(night))

    samples, t = read["eeg"]
    assert not ((t >= 50) & (t < 53)).any()
    assert len(t) == 57 * 200
    kept = np.isin(clean["eeg"][1], t)
    same = samples == clean["eeg"][0][kept]
    for column, (start_s, end_s) in enumerate(((10.0, 12.5), (28.0, 32.0), (20.0, 25.0), (40.0, 44.0))):
        inside = (t >= start_s) & (t < end_s)
        assert same[~inside, column].all()
        assert not same[inside, column].all()
    assert np.isnan(samples[(t >= 10) & (t < 12.5), 0]).all()
    assert (samples[(t >= 28) & (t < 32), 1] == 500).all()
    assert np.ptp(samples[(t >= 20) & (t < 25), 2]) == 0
    mains = samples[(t >= 40) & (t < 44), 3]
    power = np.abs(np.fft.rfft(mains)) ** 2
    assert np.fft.rfftfreq(len(mains), 1 / 200)[power[1:].argmax() + 1] == 50.0
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(read["spo2"][0][:, 0])), np.arange(5, 9))


def test_typical_faults_have_every_kind_and_fit_the_night() -> None:
    faults = typical_faults(28800.0, seed=1)
    assert {fault.kind for fault in faults} == {"missing", "gap", "flat", "saturated", "mains"}
    assert all(0 <= fault.start_s < fault.end_s <= 28800 for fault in faults)
    simulate_night(NightSettings(faults=faults), seed=1)


def test_a_given_hypnogram_is_followed_and_its_unscored_epochs_filled() -> None:
    night = simulate_night(NightSettings(stages=[-1, 0, 1, 8, 2, 2, -1]))
    assert night.stages.tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert night.duration_s == 7 * 30
    longer = simulate_night(NightSettings(stages=[0, 2], duration_s=100.0))
    assert longer.stages.tolist() == [0, 2, 2, 2]


def test_an_eight_hour_night_has_960_epochs() -> None:
    assert len(simulate_night().stages) == 960


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda: NightSettings(duration_s=-1), "-1"),
        (lambda: NightSettings(rate_hz=10), "10"),
        (lambda: NightSettings(stages=[]), "empty"),
        (lambda: simulate_night(NightSettings(stages=np.zeros((3, 2), dtype=np.int8))), "2 dimensions"),
        (lambda: SimulatedSource(simulate_night(), chunk_s=0), "chunk_s 0"),
        (lambda: Fault("broken", "eeg", 0, 1), "broken"),
        (lambda: Fault("flat", "eeg", 2, 1), "ends at 1"),
        (lambda: Fault("gap", "eeg", 0, 1, "ECG"), "whole stream"),
        (lambda: simulate_night(NightSettings(faults=(Fault("gap", "eg", 0, 1),))), "'eg'"),
        (lambda: simulate_night(NightSettings(faults=(Fault("flat", "eeg", 0, 1, "C3"),))), "'C3'"),
    ],
)
def test_wrong_settings_are_named(wrong: object, named: str) -> None:
    assert callable(wrong)
    with pytest.raises(UserError, match=named):
        wrong()
