"""One process at a time is at work in a folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from hypnostream.bridges.folder_lock import is_locked, locked
from hypnostream.bridges.session_folder import folder_of
from hypnostream.errors import UserError
from tests.bridges.test_session_folder import session

HOLD = """
import sys, pathlib
from hypnostream.bridges.folder_lock import locked
with locked(pathlib.Path(sys.argv[1])):
    print(flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_held_by_one_process_until_that_is_gone_even_killed(tmp_path: Path) -> None:
    folder = session(tmp_path / "bed-3-1")
    command = [sys.executable, "-c", HOLD, str(folder.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert is_locked(folder.path)
        assert folder_of(None, tmp_path, "bed 3", "0" * 64, 3600.0).path != folder.path
        with pytest.raises(UserError, match="another process"), locked(folder.path):
            pass
        process.kill()
        process.wait()
    assert not is_locked(folder.path)
    assert folder_of(None, tmp_path, "bed 3", "0" * 64, 3600.0).path == folder.path
    with locked(folder.path):
        assert (folder.path / "lock").is_file()
    assert folder.read().name == "bed 3"


def test_a_folder_in_which_nothing_came_to_lie_is_not_left_behind(tmp_path: Path) -> None:
    with locked(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be worked in"), locked(tmp_path / "file"):
        pass
