"""What tests of several rooms share."""

import os
import signal
import sys
from pathlib import Path

import pytest

from hypnostream.__main__ import main
from hypnostream.bridges.lsl_config import use_private_lsl
from tests.command_line import Cli, Said
from tests.recordings import write_night

# Who is started in the background of a shell without job control ignores Ctrl-C, and so do all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def lsl_session_id() -> str:
    """Real LSL, kept to this machine and this run; the session id is for child processes that take part."""
    session_id = f"tests-{os.getpid()}"
    use_private_lsl(session_id)
    return session_id


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command as `hypnostream ...` would, in an empty folder; native libraries' output is seen too."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["hypnostream", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capfd.readouterr()
        return Said(code, out, err)

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "200")
    return run


@pytest.fixture
def edf(tmp_path: Path) -> Path:
    """A recording of four epochs of 30 s, in channels of 128, 64, 32 and 1 Hz."""
    return write_night(tmp_path / "night.edf", 4)
