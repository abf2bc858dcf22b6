"""Running what lies in `peers` with the Python of a peers' environment, if there is one."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.processes import family
from hypnostream.bridges.lsl_config import private_lsl_config

PROGRAMS = Path(__file__).parent / "peers"
# One thread each, whatever library they compute with.
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def peer_python(name: str = "peers") -> Path | None:
    """The interpreter of an environment: HYPNOSTREAM_PEERS, or .venv-peers beside `benchmarks`; so for other names."""
    folder = Path(os.environ.get(f"HYPNOSTREAM_{name.upper()}", PROGRAMS.parents[1] / f".venv-{name}"))
    python = folder / "bin" / "python"
    return python if python.exists() else None


def peer_command(program: str, *arguments: str, name: str = "peers") -> list[str] | None:
    """The command that runs a program of `peers`, None without the environment."""
    python = peer_python(name)
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


def our_liblsl() -> str:
    """The library in our pylsl's wheel."""
    import pylsl

    return str(next((Path(pylsl.__file__).parent / "lib").glob("liblsl.*")))


@contextmanager
def lsl_environment(session: str) -> Iterator[dict[str, str]]:
    """An environment in which our liblsl finds one private session, and libraries compute with one thread.

    The pylsl that timeflux needs brings no liblsl, and mne-lsl's own, 1.17.7, finds no stream of ours while another
    program on the machine sends over LSL.
    """
    liblsl = our_liblsl()
    with tempfile.TemporaryDirectory(prefix="hypnostream-") as folder:
        config = Path(folder) / "lsl.cfg"
        config.write_text(private_lsl_config(session))
        yield {**os.environ, **ONE_THREAD, "LSLAPICFG": str(config), "PYLSL_LIB": liblsl, "MNE_LSL_LIB": liblsl}


@contextmanager
def quiet(command: Sequence[str], environment: Mapping[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose words go nowhere, gone at the end with all below it."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            for pid in family(process.pid):
                os.kill(pid, 9)
        process.wait()


@contextmanager
def talking(
    command: Sequence[str], ready: str, environment: Mapping[str, str]
) -> Iterator[Callable[[], dict[str, Any]]]:
    """A program of `peers` that has said that it is ready; asked, it gives its report."""
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline().strip() != ready:
            raise SystemExit(f"{Path(command[3]).name} did not start")

        def ask() -> dict[str, Any]:
            said, _ = process.communicate("stop\n", timeout=60)
            return dict(json.loads(said.splitlines()[-1]))

        yield ask
    finally:
        process.kill()
        process.communicate()
