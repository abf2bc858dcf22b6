"""What stands beside the weights fits them: the mean token those that a run returns, pretraining the stager's scale."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hypnostream.engine.torch_backend import load_weights
from hypnostream.models.fills import MeanToken
from hypnostream.models.spectral_inputs import SpectralInputs
from hypnostream.models.stager import Stager
from hypnostream.training.nights.token_night import write_token_night
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe, of_tokens
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.staging.batch import collate, set_statistics
from hypnostream.training.staging.members import Member, scale_of, train_member
from tests.training.test_training import SMALL, simulated_night


def test_the_mean_token_is_that_of_the_weights_that_a_run_returns(tmp_path: Path) -> None:
    nights = [simulated_night(f"night{i}", f"subject{i}", seed=i) for i in range(2)]
    for night in nights:
        write_token_night(tmp_path / f"{night.name}.parquet", night)
    loop = LoopSettings(passes=3, learning_rate=1e-2, warmup_steps=1, average=0.5)
    settings = replace(SMALL, loop=loop, model=replace(SMALL.model, filling="mean"))
    member = Member(tuple(sorted(tmp_path.glob("*.parquet"))), settings, tmp_path / "run")
    train_member(member)
    (stager,) = load_weights(member.weights).eval().members
    assert isinstance(stager, Stager)
    fill = stager.filling.fill
    assert isinstance(fill, MeanToken)
    total, count = torch.zeros_like(fill.value), torch.zeros(fill.channels, 1)
    for night in nights:
        batch = collate([night])
        staged, _ = stager(batch.shape, batch.level, batch.mask, torch.zeros_like(batch.mask))
        there = batch.mask[0].unsqueeze(-1)
        total, count = total + (staged.tokens[0] * there).sum(0), count + there.sum(0)
    torch.testing.assert_close(fill.value, (total / count).detach(), atol=1e-4, rtol=1e-4)


def test_what_was_pretrained_reads_numbers_scaled_as_the_stager_scales_them() -> None:
    whole = simulated_night("whole", "one", seed=1)
    other = simulated_night("other", "two", seed=2)  # of one sensor, and of another amplifier
    other = replace(other, mask=other.mask * np.array([1, 0, 0], np.float32), shape=other.shape + 5)
    nights = [whole, other]
    assert scale_of(nights) == [whole]
    stager = Stager(SMALL.model)
    set_statistics(stager, scale_of(nights))
    module, _ = of_tokens(SynthSleepNetRecipe(), nights, scale_of(nights))
    assert isinstance(module.spectral, SpectralInputs)
    for name, value in stager.inputs.state_dict().items():
        assert torch.equal(value, module.spectral.state_dict()[name]), name
    alone, _ = of_tokens(SynthSleepNetRecipe(), nights)
    assert isinstance(alone.spectral, SpectralInputs)
    assert not torch.allclose(alone.spectral.shape_mean, module.spectral.shape_mean)
