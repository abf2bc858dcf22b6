"""The programs of this table in processes of their own: runtimes never meet, and each Python has what it needs.

HYPNOSTREAM_TENSORRT names the Python that has TensorRT and cuda-bindings where that is another one than this.
"""

import os
import subprocess
import sys
from pathlib import Path

LIMIT_S = 1800  # building an engine is part of it


class NotHereError(Exception):
    """Why something cannot be measured, in one line."""


def lines(module: str, *arguments: str, tensorrt: bool = False) -> list[bytes]:
    """What `python -m benchmarks.gpu.MODULE ARGUMENTS` prints. Raises NotHereError when it ends in error."""
    other = os.environ.get("HYPNOSTREAM_TENSORRT", "") if tensorrt else ""
    command = [other or sys.executable, "-W", "ignore", "-m", f"benchmarks.gpu.{module}", *arguments]
    environment = dict(os.environ) if other else own_environment()
    try:
        ran = subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S, env=environment)
    except subprocess.TimeoutExpired as error:
        raise NotHereError(f"not done within {LIMIT_S} s") from error
    except OSError as error:
        raise NotHereError(f"{command[0]} does not start: {error.strerror}") from error
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().splitlines()
        raise NotHereError(said[-1] if said else f"{module} ended with {ran.returncode}")
    return ran.stdout.splitlines()


def own_environment() -> dict[str, str]:
    """For another process of this Python: without a PYTHONHOME that is another's, with which it would not start."""
    home = os.environ.get("PYTHONHOME", "")
    ours = not home or Path(home).resolve() == Path(sys.base_prefix).resolve()
    return {name: value for name, value in os.environ.items() if ours or name != "PYTHONHOME"}
