"""The commands that docs/training.md and the heads of the shipped recipes name can be given as they stand."""

import re
import shlex
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer

from hypnostream.cli import app
from tests.documentation import code_in, table

RECIPES = sorted(Path(str(files("hypnostream.training") / "recipes")).glob("*.toml"))


def given(shown: str) -> dict[str, Any]:
    """The arguments and options of a command, as the command line reads them. Raises what they raise."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(shown)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    params: dict[str, Any] = command.make_context(command.name, words).params
    return params


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_head_of_a_recipe_names_a_command_that_takes_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
    shown = re.findall(r"`(hypnostream [^`]+)`", head)
    assert shown
    for command in shown:
        default = "stager" if " stager " in command else None  # what this command takes when none is named
        assert str(given(command)["recipe"] or default) == path.stem, command


def test_the_steps_from_recordings_to_a_bundle_are_commands() -> None:
    steps = [code_in(command)[0] for _, command, _ in table("docs/training.md", "step | command")]
    in_order = [code_in(command)[0] for command, _, _ in table("docs/training.md", "in this order")]
    assert len(steps) > 10
    for command in (*steps, *in_order):
        assert given(command)
    *_, stager, breathing = map(given, in_order)
    assert breathing["store"] == stager["out"] / "recordings"
    assert breathing["bundle"] == stager["out"] / "bundle"
