"""A recipe: what a training run is asked for, as a TOML file. An unknown key, or a value out of range, is an error."""

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from hypnostream.errors import UserError

Settings = TypeVar("Settings")


def recipe_path(recipe: str) -> Path:
    """A recipe by the name of a shipped one ("neuronet-product"), or by its path."""
    shipped = Path(str(files("hypnostream.training") / "recipes" / f"{recipe}.toml"))
    return shipped if shipped.is_file() else Path(recipe)


def load_settings(path: Path, kind: type[Settings]) -> Settings:
    """Read a TOML file into a dataclass of settings, nested ones as tables. Raises UserError naming file and key."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"recipe {path} cannot be read: {error}") from error
    _refuse_unknown(raw, kind, f"recipe {path}", "")
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise UserError(f"recipe {path}: {error}") from error


def overridden(settings: Settings, changes: Sequence[str]) -> Settings:
    """The settings with some set anew: "loop.passes=3", "seeds=[0, 1]", "loop.precision=bfloat16".

    What is right of the first `=` is a TOML value, or a bare word. Raises UserError naming the changes, for an unknown
    key or a value that it may not have; sizes that only go together are set together.
    """
    raw = msgspec.to_builtins(settings)
    for change in changes:
        name, equals, text = (part.strip() for part in change.partition("="))
        *tables, key = name.split(".")
        if not equals or not all((*tables, key)):
            raise UserError(f"--set {change}: say it as KEY=VALUE, such as loop.passes=3")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        table = raw
        for each in tables:
            table = table.get(each)
            if not isinstance(table, dict):
                raise UserError(f"--set {change}: there is no table {each}")
        table[key] = value
        _refuse_unknown(raw, type(settings), f"--set {change}", "")
    try:
        return msgspec.convert(raw, type(settings))
    except msgspec.ValidationError as error:
        raise UserError(f"--set {' --set '.join(changes)}: {error}") from error


@contextmanager
def sizes_of(recipe: str) -> Iterator[None]:
    """Within it a model is built as `recipe` says: sizes that do not go together are UserErrors that name it."""
    try:
        yield
    except ValueError as error:
        raise UserError(f"recipe {recipe}: {error}") from error


def _refuse_unknown(raw: dict[str, Any], kind: type[Any], where: str, prefix: str) -> None:
    """In tables, and in lists of them (`[[arms]]`)."""
    known = {each.name for each in fields(kind)}
    hints = get_type_hints(kind)
    for key, value in raw.items():
        if key not in known:
            raise UserError(f"{where}: unknown key {prefix}{key}; known are {', '.join(sorted(known))}")
        if isinstance(value, dict) and is_dataclass(hints[key]):
            _refuse_unknown(value, hints[key], where, f"{prefix}{key}.")
        if isinstance(value, list | tuple) and get_args(hints[key]) and is_dataclass(get_args(hints[key])[0]):
            for place, each in enumerate(value, 1):
                if isinstance(each, dict):
                    _refuse_unknown(each, get_args(hints[key])[0], where, f"{prefix}{key}[{place}].")
