"""The recipe of a bundle: how its members are trained."""

from dataclasses import dataclass, field
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.staging.stager_task import StagerSettings


@dataclass(frozen=True, slots=True)
class Recipe:
    """`seeds`: one member of the ensemble each. `without`: names of sets whose nights are not trained on."""

    seeds: tuple[int, ...] = (0,)
    without: tuple[str, ...] = ()
    fit: StagerSettings = field(default_factory=StagerSettings)


def load_recipe(path: Path | None = None) -> Recipe:
    """Read a recipe: a file, or a shipped one by its name. Raises UserError naming the file and the key."""
    path = recipe_path("stager" if path is None else str(path))
    recipe = load_settings(path, Recipe)
    if not recipe.seeds or len(set(recipe.seeds)) != len(recipe.seeds):
        raise UserError(f"recipe {path}: seeds {list(recipe.seeds)} must be at least one, each once")
    return recipe
