"""The recipe of a bundle: how its members are trained."""

from dataclasses import dataclass, field
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.models.context import causal_only
from hypnostream.ranges import at_least
from hypnostream.training.recipe import load_settings, recipe_path, sizes_of
from hypnostream.training.staging.stager_task import StagerSettings, Trained


@dataclass(frozen=True, slots=True)
class Recipe:
    """`seeds`: one member of the ensemble each. `without`: names of sets whose nights are not trained on."""

    seeds: tuple[int, ...] = (0,)
    without: tuple[str, ...] = ()
    fit: StagerSettings = field(default_factory=StagerSettings)

    def __post_init__(self) -> None:
        at_least(0, self, "seeds")
        causal_only("fit.model.context", self.fit.model.context)


def load_recipe(path: Path | None = None) -> Recipe:
    """Read a recipe: a file, or a shipped one by its name. Raises UserError naming the file and the key."""
    path = recipe_path("stager" if path is None else str(path))
    recipe = load_settings(path, Recipe)
    if not recipe.seeds or len(set(recipe.seeds)) != len(recipe.seeds):
        raise UserError(f"recipe {path}: seeds {list(recipe.seeds)} must be at least one, each once")
    with sizes_of(str(path)):
        Trained(recipe.fit)
    return recipe
