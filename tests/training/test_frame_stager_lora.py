"""LoRA on the front-end of a stager: it begins as what it was, learns thin matrices alone, and is exported merged."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import load_bundle
from hypnostream.errors import UserError
from hypnostream.models.lora import LoraLinear, LoraSettings
from hypnostream.training.bundling.export import FrontEnd, export_bundle
from hypnostream.training.bundling.sizes import Limits, parameters
from hypnostream.training.nights.frame_channels import frame_specs
from hypnostream.training.running.loop import LoopSettings, train
from hypnostream.training.staging.frame_stager_run import FrameStagerRecipe, train_frame_stager
from hypnostream.training.staging.frame_stager_task import FrameStagerTask, FrameTrained, predict
from hypnostream.training.staging.night_tokens import NightTokens
from tests.training.small_frame_stager import FRAME, SLOTS, SMALL, front, night, step_1, trained

LORA = replace(SMALL, encoders="lora", segment=2, loop=LoopSettings(passes=2, learning_rate=2e-2, warmup_steps=1))


def adapted_and_trained() -> FrameTrained:
    module = trained(LORA)
    train(FrameStagerTask([NightTokens(night(9, 6), module.model.front)], module, LORA), LORA.loop)
    return module


@torch.no_grad()
def tokens_of(encoders: Iterable[nn.Module], frames: Tensor) -> Tensor:
    return torch.stack([encoder(frames) for encoder in encoders])


def test_an_adapted_front_end_begins_as_what_was_pretrained() -> None:
    given, frames = front(), torch.randn(3, 400)
    model = trained(LORA, given).model.eval()
    before = torch.stack([encoder(frames) for encoder in given.encoders])
    assert torch.equal(tokens_of(model.front.encoders, frames), before)
    assert sum(isinstance(each, LoraLinear) for each in model.modules()) == 4  # two layers of each of two encoders


def test_only_thin_matrices_of_the_front_end_learn() -> None:
    module, given = adapted_and_trained(), front()
    learning = {name for name, p in module.model.front.named_parameters() if p.requires_grad}
    assert {name.rpartition(".")[2] for name in learning} == {"down", "up"}
    for mine, theirs in zip(module.model.front.encoders, given.encoders, strict=True):
        kept = {name.replace(".base.", "."): value for name, value in mine.state_dict().items()}
        assert all(torch.equal(kept[name], value) for name, value in theirs.state_dict().items())
        assert all(bool(each.up.any()) for each in mine.modules() if isinstance(each, LoraLinear))


def test_merged_is_unmerged_through_the_exported_graph(tmp_path: Path) -> None:
    module = adapted_and_trained()
    adapted, plain = module.model.eval(), module.plain()
    assert not [each for each in plain.modules() if isinstance(each, LoraLinear)]
    frames = torch.randn(5, 400)
    apart = (tokens_of(adapted.front.encoders, frames) - tokens_of(front().encoders, frames)).abs().max()
    assert apart > 1e-2  # it learned something that could be lost
    whole = night(5, 8)
    tokens = NightTokens(whole, adapted.front)
    said = predict(adapted, tokens)
    assert np.abs(predict(plain, tokens.told_by(plain.front)) - said).max() < 1e-5

    specs = frame_specs(SLOTS, ("eeg", "eog"))
    report = export_bundle(plain, tmp_path, specs, "t", "1", "card", {}, {}, 6, FrontEnd("neuronet", ""))
    assert max(report.probabilities, report.states) < 1e-5
    backend = OnnxBackend(load_bundle(tmp_path))
    state = {each.input: np.zeros((1, *each.shape), np.float32) for each in load_bundle(tmp_path).content.epoch.states}
    for epoch in range(whole.stage.size):
        part = slice(epoch * 30, (epoch + 1) * 30)
        out = backend.run(
            {
                "signal": whole.signal[part].transpose(1, 0, 2).reshape(1, 2, -1).astype(np.float32),
                "valid": whole.valid[part].T[None].astype(np.float32),
                "age_s": np.zeros((1, 2), np.float32),
                **state,
            }
        )
        state = {name: out[f"next_{name}"] for name in state}
        assert np.abs(out["probabilities"][0] - said[epoch]).max() < 1e-5


@pytest.mark.slow
def test_the_run_exports_and_tests_what_was_merged(tmp_path: Path) -> None:
    encoders = step_1(tmp_path / "encoders")
    nights = [night(seed, 8) for seed in range(3)]
    fit = replace(LORA, lora=LoraSettings(rank=2, alpha=4.0))
    report = train_frame_stager(nights, encoders, tmp_path / "run", FrameStagerRecipe(0.2, 6, fit=fit))
    assert report is not None
    assert report.parity.probabilities < 1e-5
    assert not (tmp_path / "run" / "tokens").exists()  # they change as it learns
    assert report.parameters == parameters(trained(SMALL).model)  # nothing of LoRA is left
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["recipe"]["fit"]["lora"]["rank"] == 2


def test_a_layer_that_is_not_there_and_a_model_that_is_too_large_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fit\.lora_layers: no Linear layer is named 'attn\.proj'.*head\.0"):
        trained(replace(LORA, lora_layers=("attn.proj",)))
    encoders = step_1(tmp_path / "encoders", settings=FRAME)
    small = FrameStagerRecipe(limits=Limits(parameters=1000), fit=SMALL)
    with pytest.raises(UserError, match="may have 1,000"):
        train_frame_stager([night(seed, 8) for seed in range(3)], encoders, tmp_path / "run", small)
