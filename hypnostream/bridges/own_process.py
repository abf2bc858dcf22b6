"""Our own modules as processes of their own."""

import os
import sys
from pathlib import Path

import hypnostream


def own_command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules with this Python.

    -P: what lies in the folder that a user happens to be in is never imported.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def own_environment() -> dict[str, str]:
    """The environment for it: this package is found first, wherever it was imported from."""
    paths = [str(Path(hypnostream.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
