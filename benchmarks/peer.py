"""Running what lies in `peers` with the Python of the peers' environment, if there is one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "peers"
# One thread each, whatever library they compute with.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def peer_python() -> Path | None:
    """The interpreter of the peers' environment: HYPNOSTREAM_PEERS, or .venv-peers beside `benchmarks`."""
    folder = Path(os.environ.get("HYPNOSTREAM_PEERS", PROGRAMS.parents[1] / ".venv-peers"))
    python = folder / "bin" / "python"
    return python if python.exists() else None


def peer_command(program: str, *arguments: str) -> list[str] | None:
    """The command that runs a program of `peers`, None without the environment."""
    python = peer_python()
    return None if python is None else [str(python), "-W", "ignore", str(PROGRAMS / program), *arguments]


def ask_peer(program: str, *arguments: str) -> dict[str, Any] | None:
    """The JSON that a program of `peers` prints; None, and the reason on stderr, when there is none."""
    command = peer_command(program, *arguments)
    if command is None:
        print("no environment for the peers; benchmarks/README.md says how to make it", file=sys.stderr)
        return None
    ran = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, check=False)
    if ran.returncode:
        lines = ran.stderr.decode(errors="replace").strip().splitlines()
        print(f"{program} failed: {lines[-1] if lines else ran.returncode}", file=sys.stderr)
        return None
    answer: dict[str, Any] = json.loads(ran.stdout)
    return answer
