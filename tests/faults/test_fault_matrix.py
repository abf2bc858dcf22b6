"""The short form of the fault matrix (`make faults` runs all of it): each promise, against the real parts."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("the harness reads /proc", allow_module_level=True)

from benchmarks.faults.matrix import as_json, as_markdown
from benchmarks.faults.rows import ROWS
from benchmarks.faults.scene import NEVER

SHORT = [name for name, each in ROWS.items() if each.short]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_promise_is_kept(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:  # a socket's path must be short
        seen = ROWS[name].run(Path(folder), f"faults-{os.getpid()}-{SHORT.index(name)}")
    assert seen.kept, f"promised: {ROWS[name].promised}; seen: {seen.words}"


def test_every_row_names_a_promise_and_the_table_has_it() -> None:
    assert len(ROWS) >= 28
    for name, each in ROWS.items():
        assert each.promised
        assert each.run.__doc__
        entry = as_json(name, NEVER, 0.0, None)
        assert f"| {name} | {each.promised} | no stage ever came | **no** | – |" in as_markdown([entry])
