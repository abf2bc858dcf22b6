"""Sizes are counted as papers count them, and what is shipped keeps within its limits."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hypnostream.errors import UserError
from hypnostream.models.frame_network import REFERENCE_FRAME, FrameSettings
from hypnostream.models.mamba2 import Mamba2
from hypnostream.training.bundling.sizes import Limits, Size, check, flops, parameters, state_bytes, table
from hypnostream.training.staging.model_sizes import all_sizes, frame_encoder, learned_stream, stager
from hypnostream.training.staging.stager_recipe import load_recipe


def test_operations_are_two_for_each_multiply_and_add() -> None:
    assert flops(nn.Linear(10, 20), torch.zeros(3, 10)) == 2 * 3 * 10 * 20
    conv = nn.Conv1d(4, 8, 5, padding=2)
    assert flops(conv, torch.zeros(2, 4, 50)) == 2 * 2 * 50 * 4 * 8 * 5


def test_shared_parameters_count_once() -> None:
    one = nn.Linear(10, 20)
    assert parameters(nn.Sequential(one, nn.ReLU(), one)) == 220


def test_a_state_is_as_large_as_the_field_says_it_is() -> None:
    # SynthSleepNet's temporal context: (1056, 3) and (16, 64, 16) numbers of four bytes.
    assert state_bytes(Mamba2(512, 16, headdim=64).initial_state(1)) == 78_208


def test_the_frame_network_of_the_paper_costs_what_was_measured_of_it() -> None:
    size = frame_encoder(REFERENCE_FRAME, "", channels=1)
    assert size.parameters == pytest.approx(35.9e6, rel=0.01)
    assert size.flops == pytest.approx(0.265e9, rel=0.01)


def test_what_is_shipped_keeps_within_its_limits() -> None:
    check(stager(load_recipe()))
    check(learned_stream(FrameSettings()))


def test_what_does_not_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"big has 2,000,001 parameters and may have 2,000,000; lower"):
        check(Size("big", 2_000_001, 0.0))
    check(Size("big", 2_000_001, 0.0), Limits(parameters=10_000_000))
    with pytest.raises(UserError, match=r"slow takes 1\.10 GFLOP a second and may take 1; lower"):
        check(Size("slow", 1, 1.1e9))
    recipe = load_recipe()
    wide = replace(recipe, fit=replace(recipe.fit, model=replace(recipe.fit.model, d_model=512)))
    with pytest.raises(UserError, match="stager: 2 members"):
        check(stager(wide))


def test_the_table_has_a_row_a_module() -> None:
    sizes = all_sizes(load_recipe())
    lines = table(sizes).splitlines()
    assert len(lines) == len(sizes) + 2
    assert {line.count("|") for line in lines} == {5}
