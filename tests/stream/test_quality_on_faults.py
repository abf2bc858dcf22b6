"""Which simulated fault is seen as what, and in how many of its seconds: the table is here."""

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.stream.channels import (
    FLAT,
    LEAD_OFF,
    MAINS,
    MISSING,
    NOISY,
    OK,
    QUALITY_NAMES,
    SATURATED,
    ChannelSpec,
    Derivation,
    Term,
)
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.quality import QualityJudge, QualitySettings
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_faults import FAULT_KINDS, Fault
from hypnostream.stream.stages import STAGES
from tests.stream.conditioning_cases import brain, chunk, conditioner, joined, spec

ELECTRODES = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG chin", "ECG")
KINDS = {
    "EEG Fpz-Cz": "eeg",
    "EEG Pz-Oz": "eeg",
    "EOG horizontal": "eog",
    "EMG chin": "emg",
    "ECG": "ecg",
    "SpO2": "spo2",
}
# What each fault is called, and by which channels. Noise on a muscle looks like a muscle, and muscles and hearts may be
# as quiet as an amplifier: there a cable and a silence are not seen.
TABLE = {
    "missing": (MISSING, (*ELECTRODES, "SpO2")),
    "gap": (MISSING, (*ELECTRODES, "SpO2")),
    "flat": (FLAT, ELECTRODES),
    "saturated": (SATURATED, ELECTRODES),
    "mains": (MAINS, ELECTRODES),
    "cable": (NOISY, ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "ECG")),
    "lead_off": (LEAD_OFF, (*ELECTRODES, "SpO2")),
    "silent": (LEAD_OFF, ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal")),
}
NIGHT_S, EACH_S, APART_S = 300.0, 20.0, 30.0


def _stage_pattern() -> list[int]:
    """Every stage twice, in 30 s epochs."""
    return [stage for stage in range(len(STAGES)) for _ in range(2)]


def _quality(faults: tuple[Fault, ...], rate_hz: int, seed: int) -> dict[str, NDArray[np.uint8]]:
    """Channel -> code of each second, from a short night that has every stage in it."""
    settings = NightSettings(duration_s=NIGHT_S, stages=_stage_pattern(), faults=faults, rate_hz=rate_hz)
    source = SimulatedSource(simulate_night(settings, seed), chunk_s=NIGHT_S)
    chunks = {each.stream_id: each for each in source.read(0.0)}
    codes: dict[str, NDArray[np.uint8]] = {}
    for info in source.streams:
        labels = [channel.label for channel in info.channels if channel.label in KINDS]
        if not labels:
            continue
        specs = [
            ChannelSpec(label, KINDS[label], info.channels[i].unit, 1 if label == "SpO2" else 100, ())
            for i, label in enumerate(labels)
        ]
        derivations = [Derivation(s, info.stream_id, (Term(i, 1.0),), s.name, "") for i, s in enumerate(specs)]
        one = StreamConditioner(info, derivations, range(len(specs)), 0.0)
        quality = joined(one.push(chunks[info.stream_id]) + one.flush(int(NIGHT_S)))[2]
        codes |= dict(zip(labels, quality, strict=True))
    return codes


def _faults(kind: str) -> tuple[Fault, ...]:
    """`kind` in all channels, in several stages, between whole seconds."""
    starts = np.arange(12.4, NIGHT_S - EACH_S, 2 * APART_S)
    return tuple(
        Fault(kind, stream, float(start), float(start + EACH_S))
        for stream in ("eeg", "ecg", "spo2")
        for start in starts
    )


def test_the_table_has_every_fault_of_a_sensor() -> None:
    assert (*TABLE, "mouth_breathing") == FAULT_KINDS  # the last is no sensor's fault


@pytest.mark.parametrize("rate_hz", [128, 256, 512])
@pytest.mark.parametrize("kind", TABLE)
def test_each_fault_is_seen_for_what_it_is_in_95_percent_of_its_seconds(kind: str, rate_hz: int) -> None:
    faults = _faults(kind)
    second = np.arange(int(NIGHT_S))
    within = np.any([(second >= f.start_s) & (second + 1 <= f.end_s) for f in faults], axis=0)
    touched = np.any([(second + 1 > f.start_s) & (second < f.end_s) for f in faults], axis=0)
    expected, channels = TABLE[kind]
    codes = _quality(faults, rate_hz, seed=7)
    for label in channels:
        seen = (codes[label][within] == expected).mean()
        assert seen >= 0.95, f"{kind} in {label}: {QUALITY_NAMES[expected]} in {seen:.1%} of its seconds"
    for label, quality in codes.items():
        assert (quality[~touched] == OK).mean() >= 0.99, f"{label} beside {kind}"


def test_a_night_without_faults_is_ok_throughout() -> None:
    for rate_hz in (100, 128, 256, 512):
        for label, quality in _quality((), rate_hz, seed=3).items():
            assert (quality == OK).mean() >= 0.999, (label, rate_hz)


@pytest.mark.parametrize("line_hz", [50.0, 50.2, 59.9, 60.0])
@pytest.mark.parametrize("rate_hz", [128.0, 199.7, 256.0, 1000.0])
@pytest.mark.parametrize("kind", ["eeg", "eog", "emg", "ecg"])
def test_hum_of_both_continents_is_mains(kind: str, rate_hz: float, line_hz: float) -> None:
    stamps = np.arange(int(10 * rate_hz)) / rate_hz
    size_uv = {"emg": 60.0, "ecg": 400.0}.get(kind, 120.0)
    own_uv = {"emg": 0.1, "ecg": 2.0}.get(kind, 0.5)
    samples = brain(len(stamps))[:, 0] * own_uv + size_uv * np.sin(2 * np.pi * line_hz * stamps + 1)
    samples += 0.2 * size_uv * np.sin(2 * np.pi * 3 * line_hz * stamps)
    one = conditioner(rate_hz, [spec("x", kind)])
    assert (joined(one.push(chunk(samples[:, None], stamps)))[2] == MAINS).all()


def test_at_100_hz_mains_cannot_be_told_and_is_noise() -> None:
    stamps = np.arange(1000) / 100
    samples = brain(1000)[:, 0] + 200 * np.cos(2 * np.pi * 50 * stamps)
    assert (joined(conditioner(100.0, [spec()]).push(chunk(samples[:, None], stamps)))[2] == NOISY).all()


def _judged(signal: NDArray[np.floating], kind: str = "eeg", limit: float | None = None) -> list[int]:
    one = conditioner(256.0, [spec("x", kind)], limit=limit)
    stamps = np.arange(len(signal)) / 256
    return [int(q) for q in joined(one.push(chunk(signal[:, None], stamps)) + one.flush(len(signal) // 256))[2][0]]


def test_an_electrode_that_swings_free_hums_hugely_or_has_no_contact_is_off() -> None:
    t = np.arange(2560) / 256
    eeg = brain(2560)[:, 0]
    assert set(_judged(eeg + 6000 * np.sin(2 * np.pi * 0.4 * t) * np.sin(2 * np.pi * 1.1 * t))) <= {LEAD_OFF, OK}
    assert _judged(eeg + 6000 * np.sin(2 * np.pi * 1.3 * t)) == [LEAD_OFF] * 10
    assert _judged(eeg + 4000 * np.sin(2 * np.pi * 60 * t)) == [LEAD_OFF] * 10
    assert _judged(eeg + 310e3) == [LEAD_OFF] * 10
    assert _judged(eeg + 100e3) == [OK] * 10
    # Large and neither slow nor hum: it may be a movement, or a cable.
    assert _judged(eeg * 150) == [NOISY] * 10


def test_near_the_limit_is_off_only_for_whole_seconds_of_an_electrode() -> None:
    near = brain(2560)[:, 0] * 0.2
    near[512:1024] += 850
    near[1300:1500] += 850
    assert _judged(near, limit=1000.0) == [OK, OK, LEAD_OFF, LEAD_OFF] + [OK] * 6
    assert _judged(-near, limit=1000.0) == [OK, OK, LEAD_OFF, LEAD_OFF] + [OK] * 6
    assert _judged(near) == [OK] * 10
    assert _judged(near, kind="flow", limit=1000.0) == [OK] * 10
    assert _judged(near, limit=830.0)[2:4] == [SATURATED] * 2


def test_a_second_is_judged_the_same_whatever_is_judged_with_it() -> None:
    rng = np.random.default_rng(1)
    raw = (brain(256 * 200, seed=2).reshape(1, 200, 256) * rng.choice([0.005, 1, 8, 100], (1, 200, 1))).astype(
        np.float32
    )
    raw += (rng.choice([0, 40, 72, 90], (1, 200, 1)) * np.sin(2 * np.pi * 50 / 256 * np.arange(256))).astype(np.float32)
    judge = QualityJudge([spec()], 256.0, QualitySettings())
    flags, counts = np.zeros(raw.shape, np.uint8), np.full(200, 256)
    whole = judge.judge(raw, flags, counts)[0]
    single = [int(judge.judge(raw[:, k : k + 1], flags[:, :1], counts[:1])[0, 0]) for k in range(200)]
    assert whole.tolist() == single
    assert {OK, MAINS, NOISY, LEAD_OFF} <= set(single)
