"""`train frame-stager`: what was learned before arrives untouched, strangers stay strangers, the bundle runs."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.tables import read_epochs
from hypnostream.config import BedConfig, ModelSection
from hypnostream.engine.bundle import load_bundle
from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import ChannelEncoderSettings
from hypnostream.models.frame_network import FrameEncoder, FrameSettings
from hypnostream.models.frame_stager import FrameStager, FrameStagerConfig
from hypnostream.models.seconds_stager import SecondsConfig
from hypnostream.models.synthsleepnet import SynthSleepNetSettings
from hypnostream.training.bundling.export import FORBIDDEN_OPERATORS, OPSET, FrontEnd, export_bundle
from hypnostream.training.bundling.sizes import check
from hypnostream.training.damage.augment import AugmentSettings
from hypnostream.training.nights.frame_channels import frame_specs
from hypnostream.training.nights.signal_nights import SIMULATED, recorded_signal_night
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings
from hypnostream.training.pretraining.frame_weights import save_frame_encoder
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe
from hypnostream.training.pretraining.probe import ProbeSettings
from hypnostream.training.pretraining.synthsleepnet_run import pretrain
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.recordings.edf_night import read_edf_night
from hypnostream.training.running.loop import LoopSettings, Share, train
from hypnostream.training.staging.frame_stager_run import FrameStagerRecipe, train_frame_stager
from hypnostream.training.staging.frame_stager_task import (
    FrameStagerTask,
    predict,
    whole_frames,
)
from hypnostream.training.staging.learned_front import learned_front
from hypnostream.training.staging.model_sizes import frame_stager
from hypnostream.training.staging.night_tokens import NightTokens
from tests.recordings import write_night
from tests.training.small_frame_stager import FRAME, SLOTS, SMALL, front, night, step_1, trained


@pytest.mark.slow
def test_a_run_ends_in_a_bundle_that_stages_nights_it_never_saw(tmp_path: Path) -> None:
    wide = FrameSettings(8, (8, 8, 16), (2, 2, 2), squeeze=4, hidden=48, width=48)
    encoders = step_1(tmp_path / "encoders", ("simulated:0",), wide)
    loop = LoopSettings(passes=8, learning_rate=3e-3, warmup_steps=2, average=0.9)
    fit = replace(SMALL, loop=loop, model=SecondsConfig(d_model=48, headdim=16, dropout=0.0))
    nights = [night(seed, 100, 5) for seed in range(4)]
    report = train_frame_stager(nights, encoders, tmp_path / "run", FrameStagerRecipe(0.2, 960, fit))
    assert report is not None
    assert report.people == {"trained on": 3, "held out": 1}
    away = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["held_out"]
    assert away
    assert "simulated:0" not in away  # whom the front-end has met
    found = report.agreement["all sensors"]
    assert found.kappa is not None
    assert found.kappa > 0.3
    assert report.parity.probabilities < 1e-5
    assert report.parity.states < 1e-4
    _replays(tmp_path / "run" / "bundle", tmp_path)
    save_frame_encoder(encoders / "eeg" / "encoder.safetensors", FrameEncoder(wide), "eeg", ("simulated:0",))
    with pytest.raises(UserError, match=r"other settings or data \(data\.learned encoders was "):
        train_frame_stager(nights, encoders, tmp_path / "run", FrameStagerRecipe(0.2, 960, fit))


@pytest.mark.slow
def test_a_bundle_replays_a_recording_as_torch_reads_it(tmp_path: Path) -> None:
    model = trained(SMALL).model.eval()
    specs = frame_specs(SLOTS, ("eeg", "eog"))
    report = export_bundle(model, tmp_path / "b", specs, "t", "1", "card", {}, {}, 6, FrontEnd("neuronet", "levels"))
    assert max(report.probabilities, report.states) < 1e-5
    said = _replays(tmp_path / "b", tmp_path)
    recording = read_edf_night(tmp_path / "night.edf", subject="p", set_name="s", licence="none")
    night = recorded_signal_night(recording, {slot: SIMULATED[slot] for slot in SLOTS})
    assert np.abs(predict(model, NightTokens(night, model.front)) - said).max() < 1e-3


def _replays(bundle_path: Path, folder: Path) -> NDArray[np.float64]:
    """Probabilities of each epoch of a night that is replayed with this bundle."""
    bundle = load_bundle(bundle_path)
    assert bundle.content.front_end == "neuronet"
    graph = onnx.load(str(bundle.path / "epoch.onnx"))
    assert not {node.op_type for node in graph.graph.node} & FORBIDDEN_OPERATORS
    assert {(opset.domain, opset.version) for opset in graph.opset_import} == {("", OPSET)}
    write_night(folder / "night.edf", 6, seed=11)
    bed = BedConfig(model=ModelSection(bundle=str(bundle.path)))
    _, report = replay(folder / "night.edf", ReplayOptions(out=folder / "report", config=bed))
    results = read_epochs(report / "epochs.parquet")[1]
    assert [result.epoch for result in results] == list(range(6))
    assert all(result.stage is not None for result in results)
    return np.array([result.probabilities for result in results])


def test_losses_fall_and_a_seed_is_a_result(tmp_path: Path) -> None:
    curves = []
    for _ in range(2):
        module = trained(SMALL)
        tokens = [NightTokens(night(seed, 30), module.model.front) for seed in range(2)]
        for each in tokens:
            each.keep(tmp_path)
        settings = replace(SMALL, segment=6, loop=replace(SMALL.loop, passes=3))
        curves.append(train(FrameStagerTask(tokens, module, settings), settings.loop))
    assert curves[0] == curves[1]
    for name in ("loss", "full", "lost", "imagination"):
        assert curves[0][-1][name] < curves[0][0][name], name
    assert len(list(tmp_path.iterdir())) == 2  # made once


@pytest.mark.parametrize(("encoders", "learn"), [("frozen", False), ("learned", True)])
def test_encoders_learn_only_when_asked_to(encoders: Literal["frozen", "learned"], learn: bool) -> None:
    settings = replace(SMALL, segment=2, encoders=encoders, loop=LoopSettings(passes=1))
    module = trained(settings)
    before = {name: value.clone() for name, value in module.model.front.state_dict().items()}
    tokens = [NightTokens(night(9, 6), module.model.front)]
    train(FrameStagerTask(tokens, module, settings), settings.loop)
    moved = {name for name, value in module.model.front.state_dict().items() if not torch.equal(value, before[name])}
    assert bool(moved) == learn
    assert "scale.prior" not in moved


@torch.no_grad()
def test_training_reads_a_night_as_the_bedside_does() -> None:
    module = trained(SMALL)
    whole = night(5, 12)
    whole = replace(whole, valid=whole.valid.copy())
    whole.valid[95:130, 1] = False
    tokens = NightTokens(whole, module.model.front)
    model = module.model.eval()
    state, said, age = model.initial_state(1), [], np.full(2, 1e6)
    for epoch in range(12):
        part = slice(epoch * 30, (epoch + 1) * 30)
        valid = whole.valid[part].T.astype(np.float32)  # (C, 30)
        last = np.where(valid.any(1), valid[:, ::-1].argmax(1), age + 30)
        age = np.minimum(last, 1e6)
        signal = whole.signal[part].transpose(1, 0, 2).reshape(1, 2, -1)
        answer, state = model.step(
            torch.from_numpy(signal),
            torch.from_numpy(valid)[None],
            torch.from_numpy(age.astype(np.float32))[None],
            state,
        )
        said.append(answer.probabilities[0].numpy())
    # To the last bit but where a channel is gone a whole epoch: live its age is that of its last second.
    assert np.abs(predict(model, tokens) - np.stack(said)).max() < 1e-3
    assert np.abs(predict(model, tokens)[:3] - np.stack(said)[:3]).max() < 1e-5


def test_nights_of_different_lengths_are_read_side_by_side(tmp_path: Path) -> None:
    settings = replace(SMALL, segment=4, loop=LoopSettings(passes=1))
    for keep in (True, False):
        module = trained(settings)
        tokens = [NightTokens(night(9, epochs), module.model.front) for epochs in (3, 10)]
        for each in tokens:
            if keep:
                each.keep(tmp_path)
        curves = train(FrameStagerTask(tokens, module, settings), settings.loop)
        assert np.isfinite(curves[0]["loss"])
        assert not tokens[0].of(90, 30).any()  # after its end


def test_a_process_that_has_half_of_the_rows_has_half_of_the_loss() -> None:
    settings = replace(SMALL, objectives=replace(SMALL.objectives, smccl=0.0), segment=20)
    module = trained(settings)
    task = FrameStagerTask([NightTokens(night(seed, 20), module.model.front) for seed in range(2)], module, settings)
    alone = next(task.losses(0, 0, Share()))
    # A share that adds up by itself: with equal nights each half of the rows has half of the labels.
    halves = [next(task.losses(0, 0, _Half(rank, 2))) for rank in range(2)]
    assert sum(float(half["full"].detach()) for half in halves) == pytest.approx(
        float(alone["full"].detach()), rel=1e-4
    )


class _Half(Share):
    def total(self, value: float) -> float:
        return 2 * value


def test_a_second_without_all_four_behind_it_ends_no_frame() -> None:
    valid = torch.ones(1, 12, 1)
    valid[0, 6] = 0
    assert whole_frames(valid)[0, :, 0].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1]


def test_step_2_arrives_merged_with_its_adaptors_and_fusion(tmp_path: Path) -> None:
    nights = [night(seed, 8) for seed in range(4)]
    recipe = SynthSleepNetRecipe(
        encoder=ChannelEncoderSettings(FRAME),
        model=SynthSleepNetSettings(16, 4, 1, 1, 8, 1, 2, (16, 8)),
        objective=CrossModalSettings(batch=8),
        loop=LoopSettings(passes=1, learning_rate=2e-2, warmup_steps=1),
        probe=ProbeSettings(hidden=(8,), passes=1),
    )
    encoders = step_1(tmp_path / "encoders")
    pretrain(nights, tmp_path / "step2", recipe, encoders)
    learned = learned_front(tmp_path / "step2", nights)
    assert learned.encoder_of == (0, 1)
    assert learned.fused is not None
    held_back = set(json.loads((tmp_path / "step2" / "run.json").read_text())["config"]["held_out"])
    assert learned.met == {each.subject for each in nights} - held_back
    first = front().encoders[0]
    merged, given = learned.encoders[0].state_dict(), first.state_dict()
    assert not torch.equal(merged["head.2.weight"], given["head.2.weight"])  # LoRA is in it
    assert torch.equal(merged["stem.0.weight"], given["stem.0.weight"])
    module = trained(SMALL, learned)
    assert torch.equal(module.model.stager.adaptors.modality, learned.fused.adaptors.modality)
    with pytest.raises(UserError, match="other sizes"):
        trained(replace(SMALL, model=replace(SMALL.model, d_model=32)), learned)


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    nights = [night(seed, 8) for seed in range(3)]
    encoders = step_1(tmp_path / "encoders", tuple(each.subject for each in nights))
    with pytest.raises(UserError, match="all 3 subjects"):
        train_frame_stager(nights, encoders, tmp_path / "run", FrameStagerRecipe())
    with pytest.raises(UserError, match="train neuronet --kind eeg"):
        train_frame_stager(nights, tmp_path / "nothing", tmp_path / "run", FrameStagerRecipe())
    with pytest.raises(UserError, match=r"slot 'eeg_7' has no derivations"):
        frame_specs(("eeg_7",), ("eeg",))
    subsets = replace(SMALL, augment=AugmentSettings(subset_share=0.5))
    with pytest.raises(UserError, match="of 3 sensors; the nights have 2"):
        FrameStagerTask([NightTokens(nights[0], trained(SMALL).model.front)], trained(SMALL), subsets)


def test_the_product_of_eight_channels_may_be_shipped() -> None:
    fit = load_settings(recipe_path("frame-stager"), FrameStagerRecipe).fit
    torch.manual_seed(0)
    config = FrameStagerConfig((0, 1, 2, 3, 4, 5, 0, 0), (1.0,) * 8, FrameSettings(), fit.model)
    check(frame_stager(FrameStager(config)))


def test_a_bundle_must_say_its_front_end_and_both_branches_export(tmp_path: Path) -> None:
    both = FrameStager(FrameStagerConfig((0, 1), (10.0, 15.0), FRAME, replace(SMALL.model, context="mcta")))
    specs = frame_specs(SLOTS, ("eeg", "eog"))
    report = export_bundle(both, tmp_path, specs, "t", "1", "card", {}, {}, 6, FrontEnd("neuronet", ""))
    assert max(report.probabilities, report.states) < 1e-5
    with pytest.raises(ValueError, match="which front-end"):
        export_bundle(both, tmp_path, specs, "t", "1", "card", {}, {}, 1)
