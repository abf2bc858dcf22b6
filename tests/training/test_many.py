"""Work on many items: every item is answered once, one's failure is its own, and nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from hypnostream.errors import UserError
from hypnostream.training.running.many import Failed, run_each

ROOT = Path(__file__).parents[2]


def worked(item: int) -> int:
    """Some items are trouble, each of its own kind."""
    if item == 3:
        raise ValueError("three\nis not\nliked")
    if item == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 5:
        sys.exit("five leaves")
    if item == 6:
        raise EOFError
    return item * item


def trouble(found: dict[int, int | Failed]) -> dict[int, str]:
    return {place: each.message for place, each in found.items() if isinstance(each, Failed)}


def unsendable(item: int) -> object:
    return (lambda: item) if item else item


def noted(folder: Path, item: int) -> int:
    (folder / f"{item}.{os.getpid()}").touch()
    return item


def at_work(folder: Path, item: int) -> int:
    (folder / f"{item}").write_text(str(os.getpid()))
    time.sleep(60)
    return item


def bytes_of(size: int) -> bytes:
    return bytes(size)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_item_is_answered_and_failures_are_their_own(workers: int) -> None:
    found = dict(run_each(worked, range(9), workers))
    assert {place: each for place, each in found.items() if not isinstance(each, Failed)} == {
        0: 0, 1: 1, 2: 4, 7: 49, 8: 64,
    }  # fmt: skip
    assert trouble(found) == {
        3: "ValueError: three is not liked",
        4: "WorkerLost: the worker was ended by signal 9, as the system does when memory runs out",
        5: "SystemExit: five leaves",
        6: "EOFError",
    }


def test_results_of_any_size_come_and_those_that_cannot_travel_are_said() -> None:
    assert [len(r) for _, r in run_each(bytes_of, [3_000_000] * 3, 2) if isinstance(r, bytes)] == [3_000_000] * 3
    found = dict(run_each(unsendable, [0, 1, 0], 1))
    assert found[0] == found[2] == 0
    assert isinstance(found[1], Failed)
    assert "unsendable" in found[1].message


def test_no_items_are_no_work_and_no_workers_are_refused() -> None:
    assert list(run_each(worked, [], 2)) == []
    with pytest.raises(UserError, match="0 workers"):
        run_each(worked, [1], 0)


def test_items_wait_until_their_results_are_wanted(tmp_path: Path) -> None:
    # Two workers hold one item each, done or in work: a consumer that stands still stops the work behind it.
    results = run_each(partial(noted, tmp_path), range(50), 2)
    next(results)
    time.sleep(0.3)
    assert len(list(tmp_path.iterdir())) <= 4
    assert len(list(results)) == 49
    assert len({path.suffix for path in tmp_path.iterdir()}) == 2  # the same two workers all along


def test_leaving_early_ends_the_workers() -> None:
    others = set(workers_running())  # what earlier tests left
    results = run_each(worked, [0, 1, 2, 7, 8], 2)
    next(results)
    team = set(workers_running()) - others
    assert team
    results.close()
    assert not team & set(workers_running())


def starter(folder: Path) -> "subprocess.Popen[bytes]":
    """A process that has two workers at work, each of which left its number in `folder`."""
    script = folder / "script.py"
    script.write_text(
        "from functools import partial\nfrom pathlib import Path\n"
        "from hypnostream.training.running.many import run_each\nfrom tests.training.test_many import at_work\n"
        f"if __name__ == '__main__':\n    list(run_each(partial(at_work, Path({str(folder)!r})), [1, 2], 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # A session of its own: a signal to it goes to starter and workers alike, as from a terminal.
    process = subprocess.Popen(
        [sys.executable, str(script)], env=environment, start_new_session=True, stderr=subprocess.PIPE
    )
    for name in "12":
        wait_for(folder / name)
    return process


def test_ctrl_c_ends_all(tmp_path: Path) -> None:
    with starter(tmp_path) as process:
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(10) != 0
        for name in "12":
            assert not psutil.pid_exists(int((tmp_path / name).read_text()))


def test_workers_end_with_a_starter_that_was_killed(tmp_path: Path) -> None:
    with starter(tmp_path) as process:
        workers = [psutil.Process(int((tmp_path / name).read_text())) for name in "12"]
        process.kill()
        left = psutil.wait_procs(workers, timeout=10)[1]
        assert not left


def workers_running() -> list[psutil.Process]:
    """Children that work; not the one that cleans up after `multiprocessing`, which stays."""
    return [child for child in psutil.Process().children() if "resource_tracker" not in " ".join(child.cmdline())]


def wait_for(path: Path, within_s: float = 30.0) -> None:
    end_s = time.monotonic() + within_s
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < end_s, f"{path.name} did not come"
        time.sleep(0.05)


def test_ray_is_asked_for_and_missing() -> None:
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from hypnostream.errors import UserError\nfrom hypnostream.training.running.many import run_each\n"
        "try:\n    run_each(abs, [1], 1, ray=True)\nexcept UserError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "pip install" in said.stdout


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `ray`")
def test_ray_keeps_the_same_promises() -> None:
    # In a process of its own: what Ray leaves open is not this test run's.
    code = (
        "import json\nfrom dataclasses import asdict\n"
        "from hypnostream.training.running.many import Failed, run_each\nfrom tests.training.test_many import worked\n"
        "found = dict(run_each(worked, range(9), 2, ray=True))\n"
        "print(json.dumps({place: r.message if isinstance(r, Failed) else r for place, r in found.items()}))\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("4").startswith("WorkerLost")
    trouble = {"3": "ValueError: three is not liked", "5": "SystemExit: five leaves", "6": "EOFError"}
    assert found == {"0": 0, "1": 1, "2": 4, "7": 49, "8": 64} | trouble
