"""Settings come from a TOML file and from the command line, and a word that means nothing is an error."""

from dataclasses import replace
from pathlib import Path

import pytest

from hypnostream.errors import UserError
from hypnostream.training.recipe import load_settings, overridden
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.staging.stager_recipe import Recipe
from tests.training.loop_tasks import Recipe as Small


def test_settings_are_set_anew_by_name() -> None:
    before = Small()
    after = overridden(before, ["loop.passes=7", "rows = 3", "loop.precision=bfloat16", "loop.betas=[0.8, 0.9]"])
    assert after == replace(before, rows=3, loop=replace(before.loop, passes=7, precision="bfloat16", betas=(0.8, 0.9)))
    assert overridden(before, []) == before
    assert overridden(Recipe(), ["seeds=[3, 4]", "fit.model.d_model=64"]).fit.model.d_model == 64
    assert overridden(before, ["loop.learning_rate=1"]).loop.learning_rate == 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("loop.pases=3", r"--set loop.pases=3: unknown key loop\.pases; known are .*passes"),
        ("loop.passes=three", r"--set loop.passes=three: Expected `int`"),
        ("loop.passes=1.5", "Expected `int`"),
        ("loop.precision=float16", "Invalid enum value"),
        ("loop=3", "Expected `object`"),
        ("lop.passes=3", "no table lop"),
        ("loop.passes.more=3", "no table passes"),
        ("loop.passes", "KEY=VALUE"),
        ("=3", "KEY=VALUE"),
        ("loop..passes=3", "KEY=VALUE"),
    ],
)
def test_what_cannot_be_set_is_said(change: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        overridden(Small(), [change])


def test_a_loop_is_a_table_of_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('passes = 3\nprecision = "bfloat16"\naccumulate = 2\n')
    assert load_settings(path, LoopSettings) == LoopSettings(passes=3, precision="bfloat16", accumulate=2)
    path.write_text("pases = 3\n")
    with pytest.raises(UserError, match=r"recipe .*recipe\.toml: unknown key pases"):
        load_settings(path, LoopSettings)
