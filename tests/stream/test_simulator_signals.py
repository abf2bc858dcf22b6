"""What the simulated sensors show: real spectra by stage, a plausible hypnogram, breathing that stops when it says."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import welch

from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing import BreathingSignals, RespiratoryEvent, plain_course
from hypnostream.stream.simulator_hypnogram import N1, N2, N3, REM, WAKE, simulate_hypnogram
from hypnostream.stream.simulator_signals import EegSignals
from hypnostream.stream.simulator_spectra import AMPLITUDE_UV, BAND_EDGES_HZ, CHANNELS, RELATIVE_POWER, draw_sleeper
from hypnostream.stream.stages import STAGES

FEATURES = Path(__file__).parents[2].parent / "shared" / "data" / "sleep_edfx_features"
EPOCHS_A_STAGE = 150


def band_powers(epochs: NDArray[np.float32], rate_hz: int) -> NDArray[np.float64]:
    """(n, 5) relative powers of (n, samples), as Sleep-EDF's table was made: Welch, 4 s Hamming, median."""
    freqs, density = welch(epochs, rate_hz, "hamming", nperseg=4 * rate_hz, average="median", axis=-1)
    bands = np.stack([density[..., (freqs >= a) & (freqs < b)].sum(-1) for a, b in BAND_EDGES_HZ], axis=-1)
    return np.asarray(bands / bands.sum(-1, keepdims=True))


@pytest.fixture(scope="module", params=[100, 256])
def of_each_stage(request: pytest.FixtureRequest) -> tuple[int, NDArray[np.float32]]:
    """Rate, and epochs of the median sleeper (stages, epochs, samples, channels), each stage on its own."""
    rate_hz = request.param
    epochs = []
    for stage in range(len(STAGES)):
        sleeper = draw_sleeper(np.random.default_rng(stage), spread=0.0)
        signals = EegSignals(np.full(EPOCHS_A_STAGE, stage, np.int8), sleeper, rate_hz, seed=stage)
        epochs.append(np.stack([signals.block(epoch) for epoch in range(EPOCHS_A_STAGE)]))
    return rate_hz, np.stack(epochs)


def test_band_powers_of_each_stage_and_channel_are_those_of_real_people(
    of_each_stage: tuple[int, NDArray[np.float32]],
) -> None:
    rate_hz, epochs = of_each_stage
    for channel, name in enumerate(CHANNELS):
        for stage in range(len(STAGES)):
            median = np.median(band_powers(epochs[stage, :, :, channel], rate_hz), axis=0)
            off = np.log(median / RELATIVE_POWER[channel, stage])
            # A hundred and fifty epochs that persist tell a median only so well where it spreads by a factor of three.
            limit = 0.4 if stage == WAKE or (name, stage) == ("eog", REM) else 0.3
            assert np.abs(off).max() < limit, (name, STAGES[stage], median, RELATIVE_POWER[channel, stage])


def test_amplitudes_of_each_stage_are_those_of_real_people(of_each_stage: tuple[int, NDArray[np.float32]]) -> None:
    _, epochs = of_each_stage
    rms = np.median(epochs[..., :3].std(axis=2), axis=1).T  # (channels, stages)
    assert np.abs(np.log(rms / AMPLITUDE_UV)).max() < 0.45
    chin = np.median(epochs[..., 3].std(axis=2), axis=1)
    assert chin[WAKE] > chin[N2] > chin[REM]


def test_band_powers_vary_from_epoch_to_epoch_as_in_real_people(
    of_each_stage: tuple[int, NDArray[np.float32]],
) -> None:
    rate_hz, epochs = of_each_stage
    powers = band_powers(epochs[N2, :, :, 0], rate_hz)
    spread = np.log(powers[:, 1:] / powers[:, :1]).std(axis=0)
    np.testing.assert_allclose(spread, (0.41, 0.51, 0.67, 0.81), rtol=0.45)


def test_table_is_the_median_of_the_data() -> None:
    files = sorted(FEATURES.glob("SC*.npz"))
    if not files:
        pytest.skip("../shared/data/sleep_edfx_features is not there")
    nights = [np.load(file) for file in files]
    labels = np.concatenate([night["labels"] for night in nights])
    relative = np.concatenate([night["bandpower"][..., 5:] for night in nights])
    for stage in range(len(STAGES)):
        median = np.median(relative[labels == stage], axis=0)
        np.testing.assert_allclose(median[:2], RELATIVE_POWER[:2, stage], atol=6e-5)
        np.testing.assert_allclose(median[2, :4], RELATIVE_POWER[2, stage, :4], atol=6e-5)


def test_sleepers_differ_in_gain() -> None:
    gains = [draw_sleeper(np.random.default_rng(seed), spread=1.0).gains[0] for seed in range(40)]
    assert 0.2 < np.log(gains).std() < 0.45
    assert draw_sleeper(np.random.default_rng(0), spread=0.0).gains.tolist() == [1.0, 1.0, 1.0]


def test_a_stage_grows_over_two_seconds_without_a_click() -> None:
    settings = NightSettings(stages=[N3] * 4, sleeper_spread=0.0)
    samples = np.concatenate([c.samples for c in SimulatedSource(simulate_night(settings), 120).read(0.0)[:1]])[:, 0]
    steps = np.abs(np.diff(samples))
    boundaries = np.array([30, 60, 90]) * 256
    assert steps[boundaries - 1].max() < np.quantile(steps, 0.9999)


def test_hypnograms_are_like_those_of_adults() -> None:
    nights = [simulate_hypnogram(960, np.random.default_rng(seed)) for seed in range(60)]
    share = np.bincount(np.concatenate(nights), minlength=5) / (60 * 960)
    for stage, low, high in ((WAKE, 0.06, 0.2), (N1, 0.04, 0.1), (N2, 0.42, 0.58), (N3, 0.1, 0.2), (REM, 0.16, 0.26)):
        assert low < share[stage] < high, (STAGES[stage], share)
    for night in nights:
        assert night[0] == WAKE
        assert night[-1] == WAKE
        assert set(np.unique(night)) == {WAKE, N1, N2, N3, REM}
        pairs = set(zip(night[:-1].tolist(), night[1:].tolist(), strict=True))
        assert not pairs & {(WAKE, N3), (WAKE, REM), (N1, N3), (REM, N3), (N3, REM)}
        thirds = np.array_split(night, 3)
        assert (thirds[0] == N3).sum() > (thirds[2] == N3).sum()


@pytest.mark.parametrize("epochs", [1, 2, 20, 120, 3000])
def test_hypnograms_have_any_length(epochs: int) -> None:
    assert len(simulate_hypnogram(epochs, np.random.default_rng(0))) == epochs


@pytest.mark.parametrize(("kind", "effort_goes_on"), [("obstructive apnea", True), ("central apnea", False)])
def test_flow_stops_in_an_apnea_and_saturation_falls_later(kind: str, effort_goes_on: bool) -> None:
    event = RespiratoryEvent(kind, 100.0, 30.0)
    breathing = BreathingSignals(np.full(10, N2, np.int8), plain_course((event,), 10), seed=1)
    t = np.arange(300 * 32) / 32
    flow, thorax, _ = np.concatenate([breathing.respiration(epoch, 32) for epoch in range(10)]).T
    during, before = (t > 101) & (t < 129), (t > 40) & (t < 99)
    assert flow[during].std() < 0.1 * flow[before].std()
    assert (thorax[during].std() > 0.5 * thorax[before].std()) == effort_goes_on
    spo2 = np.concatenate([breathing.spo2(epoch) for epoch in range(10)])[:, 0]
    lowest = int(spo2.argmin())
    assert 130 < lowest < 165
    assert spo2[60:100].mean() - spo2[lowest] > 4
    assert abs(spo2[220:].mean() - spo2[60:100].mean()) < 1.5


def test_events_fall_into_sleep_at_the_rate_asked_for() -> None:
    nights = [simulate_night(NightSettings(events_per_hour=20.0), seed) for seed in range(10)]
    hours_asleep = sum(int((night.stages > WAKE).sum()) for night in nights) / 120
    assert 12 < sum(len(night.events) for night in nights) / hours_asleep < 26
    for night in nights:
        assert all(night.stages[int(event.start_s // 30)] > WAKE for event in night.events)


def test_heart_beats_once_a_second_or_so() -> None:
    breathing = BreathingSignals(np.full(10, N2, np.int8), plain_course((), 10), seed=2)
    ecg = np.concatenate([breathing.ecg(epoch, 256) for epoch in range(10)])[:, 0]
    peaks = np.flatnonzero((ecg[1:-1] > 0.7) & (ecg[1:-1] >= ecg[:-2]) & (ecg[1:-1] > ecg[2:])) / 256
    intervals = np.diff(peaks)
    assert 0.7 < np.median(intervals) < 1.4
    assert intervals.max() < 1.6
    assert intervals.min() > 0.5
