"""A stager's beginning without labels: SynthSleepNet on the same nights, of the same sizes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.pretraining.cross_modal_task import CrossModalTask
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe, of_tokens
from hypnostream.training.running.run import Run
from hypnostream.training.staging.stager_task import StagerSettings


def pretrained(
    folder: Path,
    nights: Sequence[TokenNight],
    settings: StagerSettings,
    recipe: SynthSleepNetRecipe,
    statistics_of: Sequence[TokenNight] | None = None,
) -> SynthSleepNet:
    """Train in `folder`, or go on, or find it done; width, fusion and seed are those of the stager's `settings`.

    `statistics_of` are the nights by which the stager's features are scaled: its adaptors must read the same numbers.
    """
    model, loop = settings.model, replace(recipe.loop, seed=settings.loop.seed)
    sizes = replace(recipe.model, width=model.d_model, fusion_depth=model.fusion_depth, heads=4)
    recipe = replace(recipe, model=sizes, loop=loop)
    module, windows = of_tokens(recipe, nights, statistics_of)
    run = Run(folder, recipe, {night.name: night.source_sha256 for night in nights})
    run.train(CrossModalTask(module, windows, recipe.objective, loop.seed), loop)
    return module.model
