import os
import stat
import threading
from pathlib import Path

import pytest

from hypnostream.bridges.atomic import write_atomically


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "result"
    sizes: set[int] = set()
    done = threading.Event()
    write_atomically(path, bytes(300_000))

    def read() -> None:
        while not done.is_set():
            sizes.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for size in (100_000, 300_000) * 20:
        write_atomically(path, bytes(size))
    done.set()
    reader.join()
    assert sizes <= {100_000, 300_000}
    assert [each.name for each in tmp_path.iterdir()] == ["result"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "kept").write_text("old")
    with pytest.raises(OSError, match="result"):
        write_atomically(tmp_path / "result", b"new")
    assert (tmp_path / "result" / "kept").read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["result"]


def test_what_is_there_and_no_file_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="pipe is no file"):
        write_atomically(pipe, b"new")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert [each.name for each in tmp_path.iterdir()] == ["pipe"]
