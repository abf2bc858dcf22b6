"""`train synthsleepnet` and `train probe`: who is held out stays so, and step 1's weights arrive untouched."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import REFERENCE_ENCODER, ChannelEncoder, ChannelEncoderSettings
from hypnostream.models.frame_network import FrameEncoder, FrameSettings
from hypnostream.models.neuronet import NeuroNet, NeuroNetSettings
from hypnostream.models.synthsleepnet import REFERENCE_MODEL, SynthSleepNetSettings
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.signal_nights import write_signal_night
from hypnostream.training.nights.token_night import TokenNight, write_token_night
from hypnostream.training.nights.windows import FrameWindows
from hypnostream.training.pretraining.channel_weights import pretrained_encoders
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings
from hypnostream.training.pretraining.frame_weights import load_frame_encoder, save_frame_encoder
from hypnostream.training.pretraining.frozen_features import event_epochs, signal_features
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe, held_out, of_signals, of_tokens
from hypnostream.training.pretraining.probe import ProbeSettings
from hypnostream.training.pretraining.synthsleepnet_run import apart, nights_in, pretrain, probe_command
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.running.loop import LoopSettings
from tests.training.test_training import simulated_night

FRAME = FrameSettings(4, (4, 4, 8), (2, 2, 2), squeeze=2, hidden=12, width=12)
SMALL = SynthSleepNetRecipe(
    window=10,
    encoder=ChannelEncoderSettings(FRAME),
    model=SynthSleepNetSettings(16, 4, 1, 1, 8, 1, 2, (16, 8)),
    objective=CrossModalSettings(batch=8),
    loop=LoopSettings(passes=2, learning_rate=5e-3, warmup_steps=2),
    probe=ProbeSettings(hidden=(16,), passes=3),
)


def _signal_night(seed: int, epochs: int = 8) -> SignalNight:
    """Two channels of noise; the second is gone in the first epoch and none is there in the last but one."""
    rng = np.random.default_rng(seed)
    stage = (np.arange(epochs) % 5).astype(np.int8)
    valid = np.ones((epochs * 30, 2), bool)
    valid[:30, 1] = False
    valid[-60:-30] = False
    signal = rng.normal(size=(epochs * 30, 2, 100)) * (5.0 + 10 * np.repeat(stage, 30)[:, None, None])
    track = np.zeros(epochs * 30, np.int8)
    track[60:72] = 1
    return SignalNight(
        f"night{seed}", f"person{seed}", "simulated", "none", ("eeg", "eog"), ("eeg", "eog"),
        (signal * valid[..., None]).astype(np.float32), valid, stage, {"apnea": track},
    )  # fmt: skip


def _token_folder(folder: Path, people: int = 5) -> Path:
    folder.mkdir()
    for person in range(people):
        for night in range(2):
            each = simulated_night(f"n{person}{night}", f"p{person}", 40, seed=10 * person + night)
            write_token_night(folder / f"{each.name}.parquet", each)
    return folder


def test_a_run_on_token_nights_is_probed_on_people_that_it_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = _token_folder(tmp_path / "nights"), tmp_path / "run"
    report = pretrain(nights_in(folder), out, SMALL, None)
    assert set(report["probes"]) == {"untrained", "trained"}
    assert report["collapse"]["trained"]["effective_rank"] > 2
    away = json.loads((out / "run.json").read_text())["config"]["held_out"]
    assert len(away) == 1
    probe_command(out, folder, "stage", None)
    again = json.loads((out / "probe-stage.json").read_text())
    assert again == report["probes"]  # the same weights, people and statistics as when it was trained
    assert "trained, linear" in capsys.readouterr().out
    with pytest.raises(UserError, match="apnea"):
        probe_command(out, folder, "apnea", None)


def test_statistics_are_those_of_the_training_nights_alone() -> None:
    nights = [simulated_night(f"n{i}", f"p{i}", 40, seed=i) for i in range(4)]
    nights[1].shape[:] = 1e3
    train, _ = apart(nights, ["p1"])
    module, _ = of_tokens(SMALL, [night for night in train if isinstance(night, TokenNight)])
    assert module.spectral is not None
    assert float(module.spectral.shape_mean.abs().max()) < 10


def test_a_run_on_signal_nights_with_step_1s_encoder(tmp_path: Path) -> None:
    nights, encoders = [_signal_night(seed) for seed in range(4)], tmp_path / "encoders"
    torch.manual_seed(3)
    (encoders / "eeg").mkdir(parents=True)
    save_frame_encoder(encoders / "eeg" / "encoder.safetensors", FrameEncoder(FRAME), "eeg")
    for night in nights:
        write_signal_night(tmp_path / "nights" / night.name, night)
    report = pretrain(nights_in(tmp_path / "nights"), tmp_path / "run", SMALL, encoders)
    assert report["people"] == {"trained on": 3, "held out": 1}
    probe_command(tmp_path / "run", tmp_path / "nights", "apnea", tmp_path / "apnea.json")
    figures = json.loads((tmp_path / "apnea.json").read_text())["trained"]["linear"]
    assert figures["majority_rate"] == pytest.approx(6 / 7)  # an epoch without any channel is not asked about

    file = encoders / "eeg" / "encoder.safetensors"
    save_frame_encoder(file, load_frame_encoder(file), "eeg")  # the same, written anew
    assert pretrain(nights_in(tmp_path / "nights"), tmp_path / "run", SMALL, encoders) == report
    save_frame_encoder(file, FrameEncoder(FRAME), "eeg")
    with pytest.raises(UserError, match=r"other settings or data \(data\.encoder eeg was "):
        pretrain(nights_in(tmp_path / "nights"), tmp_path / "run", SMALL, encoders)


def test_step_1s_encoder_is_frozen_and_what_has_none_learns() -> None:
    torch.manual_seed(3)
    pretrained = ChannelEncoder(SMALL.encoder)
    module, windows = of_signals(SMALL, [_signal_night(0)], {"eeg": pretrained})
    assert module.encoders is not None
    eeg, eog = module.encoders.channels
    learns = {name for name, p in eeg.named_parameters() if p.requires_grad}
    assert learns
    assert all(name.endswith((".up", ".down")) for name in learns)
    assert all(p.requires_grad for p in eog.parameters())
    scaled = ("frames.head.2.base.weight", "frames.head.2.base.bias")  # standardised over these nights
    for name, value in eeg.state_dict().items():
        if not name.endswith((".up", ".down", *scaled)):
            assert torch.equal(value, pretrained.state_dict()[name.replace(".base.", ".")])
    assert len(windows) == 7


def test_weights_of_step_1_are_read_whole_with_the_papers_transformer(tmp_path: Path) -> None:
    settings = ChannelEncoderSettings(FRAME, depth=2, width=16, heads=4, frames=9)
    step_1 = NeuroNet(NeuroNetSettings(frame=FRAME, window=9, masked=0.5, encoder_width=16, encoder_depth=2))
    (tmp_path / "eeg").mkdir()
    save_frame_encoder(tmp_path / "eeg" / "encoder.safetensors", step_1.frames, "eeg")
    tensors = {name: value.detach().clone().contiguous() for name, value in step_1.state_dict().items()}
    save_file(tensors, tmp_path / "eeg" / "weights.safetensors")
    found = pretrained_encoders(tmp_path, settings)["eeg"].state_dict()
    pairs = {
        "frames.": "frames.",
        "embed.": "encoder_in.",
        "positions": "encoder_positions",
        "transformer.": "encoder.",
    }
    for name, value in found.items():
        (theirs,) = [old + name.removeprefix(new) for new, old in pairs.items() if name.startswith(new)]
        assert torch.equal(value, tensors[theirs]), name
    with pytest.raises(UserError, match="weights"):
        pretrained_encoders(tmp_path, replace(settings, depth=3))
    with pytest.raises(UserError, match="the recipe asks for"):
        pretrained_encoders(tmp_path, ChannelEncoderSettings())
    with pytest.raises(UserError, match="train neuronet"):
        pretrained_encoders(tmp_path / "eeg", settings)


def test_frames_of_an_epoch_are_30_or_the_papers_27_and_say_what_was_there() -> None:
    night = _signal_night(0)
    whole, within = FrameWindows([night]), FrameWindows([night], within=True)
    place = whole.places([0], torch.Generator())
    assert whole.inputs(place).shape == (1, 30, 2, 400)
    assert within.inputs(place).shape == (1, 27, 2, 400)
    assert whole.mask(place)[0].sum(0).tolist() == [27, 0]  # the first three seconds have no four seconds behind them
    assert within.mask(place)[0].sum(0).tolist() == [27, 0]
    second = whole.places([1], torch.Generator())
    assert torch.equal(whole.inputs(second)[:, 3:], within.inputs(second))
    assert whole.mask(second)[0].sum(0).tolist() == [30, 27]


def test_features_keep_nights_and_labels_together() -> None:
    nights = [_signal_night(0), _signal_night(1)]
    module, _ = of_signals(SMALL, nights, {})
    both = signal_features(module, nights)
    one = signal_features(module, nights[1:])
    assert np.allclose(both.features[7:], one.features, atol=1e-5)
    assert both.subjects.tolist() == ["person0"] * 7 + ["person1"] * 7
    assert both.labels.tolist() == [0, 1, 2, 3, 4, 0, 2] * 2  # the epoch that nothing recorded is left out
    assert signal_features(module, nights[:1], "apnea").labels.tolist() == [0, 0, 1, 0, 0, 0, 0]
    with pytest.raises(UserError, match="snore"):
        signal_features(module, nights, "snore")


def test_an_epoch_has_an_event_with_ten_seconds_of_it() -> None:
    track = np.zeros(150, np.int8)
    track[0:9], track[30:40], track[85:95], track[120] = 1, 1, 1, -1
    assert event_epochs(track).tolist() == [0, 1, 0, 0, -1]


def test_who_is_held_out_depends_on_the_names_and_the_seed_alone() -> None:
    people = [f"p{i}" for i in range(20)]
    assert held_out(people, 0.2, 0) == held_out([*reversed(people), "p3"], 0.2, 0)
    assert len(held_out(people, 0.2, 0)) == 4
    assert held_out(people, 0.2, 0) != held_out(people, 0.2, 1)
    with pytest.raises(UserError, match="at least 3"):
        held_out(["a", "b", "a"], 0.2, 0)


def test_nobody_whom_step_1_was_trained_on_is_held_out_for_step_2(tmp_path: Path) -> None:
    people = [f"person{seed}" for seed in range(4)]
    (first,) = held_out(people, SMALL.tested, SMALL.loop.seed)
    torch.manual_seed(3)
    (tmp_path / "encoders" / "eeg").mkdir(parents=True)
    file = tmp_path / "encoders" / "eeg" / "encoder.safetensors"
    save_frame_encoder(file, FrameEncoder(FRAME), "eeg", [first])
    nights = [_signal_night(seed) for seed in range(4)]
    pretrain(nights, tmp_path / "run", SMALL, tmp_path / "encoders")
    away = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["held_out"]
    assert len(away) == 1
    assert first not in away
    save_frame_encoder(file, FrameEncoder(FRAME), "eeg", people)
    with pytest.raises(UserError, match="none can be tested"):
        pretrain(nights, tmp_path / "other", SMALL, tmp_path / "encoders")
    save_file({"a": torch.zeros(1)}, file)
    with pytest.raises(UserError, match="whom it was trained on"):
        pretrain(nights, tmp_path / "other", SMALL, tmp_path / "encoders")


def test_a_folder_without_nights_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither token nights"):
        nights_in(tmp_path)


def test_the_shipped_recipes_are_read_and_the_reference_is_the_papers() -> None:
    reference = load_settings(recipe_path("synthsleepnet-reference"), SynthSleepNetRecipe)
    assert (reference.encoder, reference.model) == (REFERENCE_ENCODER, REFERENCE_MODEL)
    assert reference.lora.scale == 8
    product = load_settings(recipe_path("synthsleepnet-product"), SynthSleepNetRecipe)
    assert product.model == SynthSleepNetSettings()
