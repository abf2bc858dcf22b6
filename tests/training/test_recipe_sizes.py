"""What a shipped recipe makes keeps within its limits, and what is for comparison has the papers' sizes."""

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from torch import nn

from hypnostream.errors import UserError
from hypnostream.models.frame_network import FrameEncoder
from hypnostream.models.neuronet import NeuroNet
from hypnostream.training.bundling.sizes import Limits, check, parameters
from hypnostream.training.pretraining.neuronet_run import NeuroNetRecipe
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.recipe_sizes import (
    FRAMES_OF,
    RECIPES,
    RecipeSize,
    learned,
    limits_of,
    recipe_table,
    sizes_command,
)
from hypnostream.training.staging.compare import Comparison
from hypnostream.training.staging.frame_stager_run import FrameStagerRecipe
from hypnostream.training.staging.stager_recipe import load_recipe

COMPARISONS = {"ablation", "labels", "subsets"}  # of the stager, smaller
TO_SHIP = [name for name in RECIPES if not name.endswith("-reference")]


@lru_cache(maxsize=32)
def size(recipe: str) -> RecipeSize:
    return RECIPES[recipe](recipe)


def neuronet(recipe: str) -> NeuroNetRecipe:
    return load_settings(recipe_path(recipe), NeuroNetRecipe)


def synthsleepnet(recipe: str) -> SynthSleepNetRecipe:
    return load_settings(recipe_path(recipe), SynthSleepNetRecipe)


def frame_stager(recipe: str) -> FrameStagerRecipe:
    return load_settings(recipe_path(recipe), FrameStagerRecipe)


def test_every_shipped_recipe_loads_and_its_size_is_known() -> None:
    shipped = {
        path.name.removesuffix(".toml") for path in Path(str(files("hypnostream.training") / "recipes")).iterdir()
    }
    assert shipped == set(RECIPES) | COMPARISONS
    for name in COMPARISONS:
        assert load_settings(recipe_path(name), Comparison).arms


@pytest.mark.parametrize("recipe", TO_SHIP)
def test_what_may_be_shipped_keeps_within_its_limits(recipe: str) -> None:
    found = size(recipe)
    most = 10_000_000 if recipe.endswith("-large") else 2_000_000
    assert found.limits == limits_of(recipe) == Limits(most, 1e9)
    check(found.live, found.limits)
    with pytest.raises(UserError, match="may have 1,000"):
        check(found.live, Limits(parameters=1000))


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(TO_SHIP)))
def test_what_is_for_comparison_is_not_held_to_limits(recipe: str) -> None:
    assert size(recipe).limits is None


def test_step_1_of_the_reference_is_as_large_as_the_paper_s() -> None:
    found = size("neuronet-reference")
    assert found.live.parameters == pytest.approx(35.9e6, rel=0.01)
    assert found.live.flops / 8 == pytest.approx(0.265e9, rel=0.01)
    with torch.device("meta"):
        model = NeuroNet(neuronet("neuronet-reference").model)
    ours_alone = sum(parameters(part) for part in (model.predictor_in, model.predictor, model.predictor_out))
    assert found.learned - ours_alone == pytest.approx(71.6e6, rel=0.01)


def test_step_2_of_the_reference_is_as_large_as_the_paper_s() -> None:
    found = size("synthsleepnet-reference")
    assert found.live.parameters == pytest.approx(282.8e6, rel=0.01)
    assert found.live.flops * 30 == pytest.approx(38.5e9, rel=0.02)  # an epoch


def test_step_3_of_the_reference_has_the_paper_s_context_and_lora() -> None:
    recipe = frame_stager("frame-stager-reference")
    fit = recipe.fit
    assert fit.encoders == "lora"
    assert (fit.lora.rank, fit.lora.alpha, fit.lora.dropout, fit.lora.scale) == (4, 8.0, 0.05, 4.0)
    assert (fit.segment, fit.restart) == (20, 1.0)
    assert (fit.model.d_model, fit.model.d_state, fit.model.headdim) == (512, 16, 64)
    assert (fit.model.context, fit.model.seconds_context) == ("mamba2", "none")
    assert fit.batch * fit.loop.accumulate == 128
    # All but the frame encoders learns, and rank 4 beside the two last layers of each of them.
    with torch.device("meta"):
        encoder = FrameEncoder(neuronet("neuronet-reference").model.frame)
    last = [layer for layer in encoder.head if isinstance(layer, nn.Linear)]
    thin = sum(4 * (layer.in_features + layer.out_features) for layer in last)
    found = size("frame-stager-reference")
    assert len(last) == 2
    assert found.learned == found.live.parameters - 6 * (parameters(encoder) - thin)
    # Mamba-2's state, as reference-systems say it, and little beside: filters' tails and the sensors' ages.
    assert found.live.state_bytes == pytest.approx(78_208, rel=0.2)
    check(found.live, recipe.limits)


def test_the_detector_of_the_reference_has_the_paper_s_context() -> None:
    found = size("downstream-reference")
    assert found.live.parameters > 1.60e6
    assert found.live.state_bytes == pytest.approx(78_208, rel=0.01)


def test_cimsleepnet_s_settings_are_the_paper_s_as_far_as_they_map() -> None:
    fit = load_recipe(recipe_path("cimsleepnet-reference")).fit
    assert (fit.batch, fit.segment, fit.restart) == (64, 25, 1.0)
    assert (fit.model.context, fit.model.filling, fit.model.d_model, fit.model.d_latent) == (
        "mcta",
        "imagination",
        128,
        128,
    )
    assert fit.class_rule == "log"
    weights = fit.objectives
    assert (weights.poly, weights.lost, weights.imagination, weights.smccl) == (1.0, 1.0, 0.001, 0.01)
    assert (fit.contrast.temperature, fit.contrast.learned) == (0.07, True)
    assert (fit.augment.missing, fit.augment.keep, fit.augment.burst) == (0.5, 1.0, 0.0)
    assert (fit.loop.learning_rate, fit.loop.weight_decay, fit.loop.passes) == (1e-3, 1e-4, 100)


@pytest.mark.parametrize("family", ["product", "large", "reference"])
def test_the_steps_of_a_family_fit_one_another(family: str) -> None:
    frame = neuronet(f"neuronet-{family}").model.frame
    second = synthsleepnet(f"synthsleepnet-{family}")
    assert second.encoder.frame == frame
    name = "frame-stager" if family == "product" else f"frame-stager-{family}"
    assert FRAMES_OF[name] == f"neuronet-{family}"
    third = frame_stager(name).fit.model
    assert (second.model.width, second.model.fusion_depth) == (third.d_model, third.fusion_depth)


def test_the_table_says_what_each_may_have() -> None:
    table = recipe_table([size("neuronet-product"), size("neuronet-reference")]).splitlines()
    assert {line.count("|") for line in table} == {7}
    assert table[2].startswith("| neuronet-product |")
    assert table[2].endswith("| 2,000,000; 1,000 |")
    assert table[3].endswith("| for comparison |")


def test_the_command_shows_parts_and_recipes_and_refuses_what_is_too_large(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in RECIPES:
        monkeypatch.setitem(RECIPES, name, size)
    sizes_command(None)
    said = capsys.readouterr().out
    assert "| stager: 2 members, 3 channels | 855,318 |" in said
    assert "| frame-stager-large |" in said
    wide = tmp_path / "wide.toml"
    wide.write_text("[fit.model]\nd_model = 1024\n")
    with pytest.raises(UserError, match="stager: 1 member"):
        sizes_command(wide)
    assert "stager" in capsys.readouterr().out


def test_only_what_learns_is_counted_as_learned() -> None:
    layer = nn.Linear(3, 4)
    layer.weight.requires_grad_(False)
    assert learned(layer) == 4
