"""Signal nights: through the live conditioning, in place, in their units, and the same from disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hypnostream.errors import UserError
from hypnostream.models.frame_network import FrameEncoder
from hypnostream.models.frame_scale import FrameScale
from hypnostream.stream.simulator import NightSettings
from hypnostream.stream.simulator_breathing import RespiratoryEvent
from hypnostream.training.nights.scaled_frames import ScaledFrames, frames_of_kind
from hypnostream.training.nights.signal_nights import (
    KIND_SIGNALS,
    SIMULATED,
    read_signal_night,
    recorded_signal_night,
    simulated_signal_night,
    ucddb_signal_night,
    write_signal_night,
)
from hypnostream.training.pretraining.frame_probe import probe, probe_within
from hypnostream.training.recordings.recording import Block, Channel, Recording
from tests.models.test_neuronet import SMALL
from tests.training.test_neuronet import night

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
SHORT = NightSettings(
    duration_s=300.0, events=(RespiratoryEvent("hypopnea", 60.0, 20.0), RespiratoryEvent("central apnea", 120.0, 15.0))
)


def recording(rate_hz: float = 50.0, unit: str = "mV", kind: str = "eeg", epochs: int = 3) -> Recording:
    """A 10 Hz wave of 20 uV; the second epoch's seconds 10 to 15 were not recorded, and are a lie in the samples."""
    valid = np.ones((epochs, 30), bool)
    valid[1, 10:15] = False
    time_s = np.arange(round(30 * rate_hz)) / rate_hz
    wave = (0.02 * np.sin(2 * np.pi * 10 * time_s)).astype(np.float32)

    def blocks() -> Iterator[Block]:
        for epoch in range(epochs):
            samples = np.where(np.repeat(valid[epoch], round(rate_hz)), wave, np.float32(9.0))
            yield Block((samples.astype(np.float32),), (valid[epoch],))

    return Recording(
        "r", "set:1", "set", "none", (), epochs, channels=(Channel("C3", kind, unit, rate_hz),), blocks=blocks,
        stages=np.array([0, 1, -1], np.int8),
    )  # fmt: skip


def test_a_simulated_night_has_every_kind_of_signal_at_its_usual_size() -> None:
    found = simulated_signal_night(SHORT, 1)
    assert found.channels == tuple(SIMULATED)
    assert set(found.kinds) == set(KIND_SIGNALS)
    assert found.signal.shape == (300, 8, 100)
    assert found.stage.shape == (10,)
    assert found.valid[10:].all()
    for place, kind in enumerate(found.kinds):
        size = float(np.abs(found.signal[10:, place]).mean())
        assert KIND_SIGNALS[kind].usual / 5 < size < KIND_SIGNALS[kind].usual * 5, kind


def test_simulated_events_are_known_by_the_second_and_flow_shows_them() -> None:
    found = simulated_signal_night(SHORT, 1, ("flow",))
    assert np.flatnonzero(found.tracks["hypopnea"]).tolist() == list(range(60, 80))
    assert np.flatnonzero(found.tracks["apnea"]).tolist() == list(range(120, 135))
    size = np.abs(found.signal[:, 0]).mean(-1)
    assert size[124:133].mean() < 0.3 * size[20:55].mean()


def test_another_seed_is_another_sleeper() -> None:
    one, other = (simulated_signal_night(SHORT, seed, ("emg",)) for seed in (1, 2))
    assert one.subject != other.subject
    assert not np.array_equal(one.signal, other.signal)


def test_a_recording_comes_through_in_the_front_end_s_unit_and_gaps_stay_gaps() -> None:
    found = recorded_signal_night(recording(), {"eeg_frontal": "C3", "eog": "E1"})
    assert found.signal.shape == (90, 2, 100)
    assert not found.valid[40:45, 0].any()
    assert not found.signal[40:45].any()  # what lay there is never looked at
    assert not found.valid[:, 1].any()
    middle = found.signal[50:80, 0]
    assert found.valid[50:80, 0].all()
    amplitude_uv = float(np.sqrt(2 * (middle**2).mean()))
    assert amplitude_uv == pytest.approx(20, rel=0.05)  # 0.02 mV
    assert found.stage.tolist() == [0, 1, -1]


def test_what_a_recording_has_not_or_cannot_be_turned_is_said() -> None:
    with pytest.raises(UserError, match="has none of F4"):
        recorded_signal_night(recording(), {"eeg": "F4"})
    with pytest.raises(UserError, match="'C3' cannot be had in uV"):
        recorded_signal_night(recording(unit="%"), {"eeg": "C3"})
    with pytest.raises(UserError, match="kind 'spo2'"):
        recorded_signal_night(recording(kind="spo2"), {"x": "C3"})


def test_a_night_on_disk_is_the_night_and_is_mapped(tmp_path: Path) -> None:
    made = simulated_signal_night(SHORT, 1, ("eog", "flow"))
    write_signal_night(tmp_path / "n", made)
    found = read_signal_night(tmp_path / "n")
    assert isinstance(found.signal, np.memmap)
    for name in ("signal", "valid", "stage"):
        assert np.array_equal(getattr(found, name), getattr(made, name)), name
    assert (found.name, found.subject, found.channels, found.kinds) == (
        made.name,
        made.subject,
        made.channels,
        made.kinds,
    )
    assert np.array_equal(found.tracks["apnea"], made.tracks["apnea"])
    seconds = np.array([5, 100])
    assert np.array_equal(found.frames(seconds)[0], made.frames(seconds)[0])


def test_a_folder_that_is_no_night_or_a_tampered_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no signal night"):
        read_signal_night(tmp_path / "absent")
    folder = tmp_path / "n"
    write_signal_night(folder, simulated_signal_night(SHORT, 1, ("flow",)))
    head = (folder / "night.json").read_bytes()
    (folder / "night.json").write_bytes(head.replace(b'"hypopnea"', b'"../secret"'))
    with pytest.raises(UserError, match="a name that no track has"):
        read_signal_night(folder)
    (folder / "night.json").write_bytes(head)
    np.save(folder / "valid.npy", np.ones((5, 1), bool))
    with pytest.raises(UserError, match="does not fit"):
        read_signal_night(folder)
    np.save(folder / "valid.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="no signal night"):
        read_signal_night(folder)


def test_frames_are_scaled_as_the_live_scale_scales_them() -> None:
    made = night()
    source = ScaledFrames.of(made, 0)
    seconds = np.arange(len(made.valid))
    raw, valid = made.frames(seconds)
    live = FrameScale([KIND_SIGNALS["eeg"].usual])
    expected, _ = live(torch.from_numpy(raw)[None], torch.from_numpy(valid)[None].float())
    assert np.array_equal(source.valid, valid[:, 0])
    assert np.allclose(source.frames(seconds), expected[0, :, 0].numpy(), atol=1e-4)


def test_a_probe_finds_what_is_there_and_never_fits_on_those_it_tests() -> None:
    torch.manual_seed(0)
    encoder = FrameEncoder(SMALL.frame)
    fitted, tested = (list(frames_of_kind([night(name, 24, seed)], "eeg")) for seed, name in enumerate("ab"))
    found = probe(encoder, fitted, tested)
    assert found.linear_accuracy > 0.9
    assert found.neighbours_accuracy > 0.9
    assert probe_within(encoder, tested[0]).linear_accuracy > 0.9
    with pytest.raises(UserError, match=r"\['a'\]"):
        probe(encoder, fitted, fitted)


def test_a_probe_of_noise_finds_nothing() -> None:
    """It would, if a test epoch were among those fitted on."""
    torch.manual_seed(0)
    encoder = FrameEncoder(SMALL.frame)
    sides = []
    for seed, name in enumerate("ab"):
        made = night(name, 60, seed)
        made.signal[:] = np.random.default_rng(seed).normal(0, 10, made.signal.shape)
        sides.append(list(frames_of_kind([made], "eeg")))
    found = probe(encoder, sides[0], sides[1])
    assert found.linear_accuracy < 0.75
    assert found.neighbours_accuracy < 0.75


@pytest.mark.skipif(not (SHARED / "ucddb_c3a2").is_dir(), reason="real recordings are not here")
def test_real_eeg_comes_through() -> None:
    path = sorted((SHARED / "ucddb_c3a2").glob("ucddb*.npz"))[0]
    found = ucddb_signal_night(path)
    source = ScaledFrames.of(found, 0)
    with np.load(path, allow_pickle=False) as file:
        there = np.zeros(len(found.stage), bool)
        there[file["epoch_index"]] = True
    seconds_there = np.repeat(there, 30)
    assert not found.valid[~seconds_there].any()
    assert found.valid[seconds_there].mean() > 0.9
    assert set(found.stage[source.scored_epochs()].tolist()) == {0, 3}
    assert len(source.window_starts(30)) > 1000
