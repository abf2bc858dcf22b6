"""The house rules: imports go one way, and what a bedside has not installed or does not need is not imported there."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hypnostream

HOUSE = Path(hypnostream.__file__).parent
EVERYWHERE = {"errors", "bounded_file", "ranges", ""}  # the version is in the house itself
MAY_IMPORT = {
    "stream": {"stream"},
    "models": {"models"},
    "engine": {"engine", "stream"},
    "bridges": {"bridges", "engine", "stream", "config"},
    "training": {"training", "models", "stream", "bridges", "engine"},
    "config": set[str](),
    "errors": set[str](),
    "bounded_file": set[str](),
    "ranges": set[str](),
    "cli": {"bridges", "engine", "stream", "training", "config", "commands"},
    "commands": {"bridges", "engine", "stream", "training", "config"},
    "__main__": {"cli"},
    "__init__": set[str](),
}
# The rooms within training, each of which may use those before it.
WITHIN_TRAINING = (
    ("running", "recipe"),
    ("recordings",),
    ("nights",),
    ("losses", "damage"),
    ("evaluation",),
    ("bundling",),
    ("pretraining",),
    ("staging", "downstream"),
    ("breathing",),
    ("recipe_sizes",),
)
# Costly or absent at a bedside: imported inside of the functions that use them.
COSTLY = {"pyarrow", "matplotlib", "scipy.signal", "onnxruntime", "onnx", "prometheus_client", "tensorrt", "cuda"}
TRAINING_ONLY = {"torch", "onnx", "safetensors"}
# What makes the graph that TensorRT is given: only where its extra is installed, and only inside functions.
MAKES_GRAPHS = {
    "engine/graph_folded.py",
    "engine/graph_half.py",
    "engine/graph_resident.py",
    "engine/tensorrt_build.py",
}

MODULES = sorted(str(path.relative_to(HOUSE)) for path in HOUSE.rglob("*.py"))


def room(module: str) -> str:
    return Path(module).parts[0].removesuffix(".py")


def imported(module: str, everywhere: bool) -> Iterator[str]:
    """The modules that a file imports by name; `everywhere`: within functions too, not for type checking alone."""
    tree = ast.parse((HOUSE / module).read_text(encoding="utf-8"))
    for node in _statements(tree, everywhere):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _statements(node: ast.AST, everywhere: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if everywhere or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _statements(child, everywhere)


def of_the_house(module: str) -> set[str]:
    """The rooms that a file imports from."""
    names = [name.split(".") for name in imported(module, everywhere=True) if name.split(".")[0] == "hypnostream"]
    return {name[1] if len(name) > 1 and not name[1].startswith("__version") else "" for name in names}


def test_there_is_a_house() -> None:
    assert {room(module) for module in MODULES} == set(MAY_IMPORT)
    assert len(MODULES) > 50


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    allowed = MAY_IMPORT[room(module)] | EVERYWHERE
    if room(module) == "engine" and "torch" in Path(module).stem:
        allowed = allowed | {"models"}  # its torch backend alone, and only when asked for
    assert of_the_house(module) <= allowed


@pytest.mark.parametrize("module", [m for m in MODULES if room(m) == "training" and m != "training/__init__.py"])
def test_imports_within_training_go_one_way(module: str) -> None:
    place = Path(module).parts[1].removesuffix(".py")
    floors = [index for index, rooms in enumerate(WITHIN_TRAINING) if place in rooms]
    assert len(floors) == 1, "training has no such room"
    names = [name.split(".") for name in imported(module, everywhere=True) if name.startswith("hypnostream.training.")]
    below = {each for rooms in WITHIN_TRAINING[: floors[0]] for each in rooms}
    assert {name[2] for name in names} <= below | {place}


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) not in ("models", "training")])
def test_a_bedside_module_imports_nothing_costly_at_its_top(module: str) -> None:
    top = set(imported(module, everywhere=False))
    assert not {name for name in top for costly in COSTLY if name == costly or name.startswith(f"{costly}.")}


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) not in ("models", "training")])
def test_a_bedside_module_needs_nothing_of_training(module: str) -> None:
    if room(module) == "engine" and "torch" in Path(module).stem:
        return
    unwanted = TRAINING_ONLY - {"onnx"} if Path(module).as_posix() in MAKES_GRAPHS else TRAINING_ONLY
    assert not {name.split(".")[0] for name in imported(module, everywhere=True)} & unwanted


def loaded_by(statement: str) -> set[str]:
    """What is in memory after a statement, in a process of its own."""
    code = f"{statement}\nimport sys\nprint('\\n'.join(sys.modules))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(said.stdout.split())


@pytest.mark.parametrize("module", ["bridges.replay", "bridges.live", "bridges.inspect", "bridges.publisher"])
def test_the_bedside_starts_without_what_it_does_not_need_yet(module: str) -> None:
    loaded = loaded_by(f"import hypnostream.{module}")
    assert not loaded & {"torch", "onnx", "matplotlib", "pyarrow", "scipy.signal", "onnxruntime", "safetensors"}


def test_a_night_is_staged_without_torch(tmp_path: Path) -> None:
    from tests.recordings import write_night

    write_night(tmp_path / "night.edf", 1)
    loaded = loaded_by(
        "from pathlib import Path\n"
        "from hypnostream.bridges.replay import ReplayOptions, replay\n"
        f"replay(Path({str(tmp_path / 'night.edf')!r}), ReplayOptions(out=Path({str(tmp_path)!r})))"
    )
    assert "onnxruntime" in loaded
    assert not loaded & TRAINING_ONLY
