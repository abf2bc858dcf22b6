"""Several processes train one model: the losses and the weights are those of one process."""

import json
import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hypnostream.training.running.run import Run
from tests.training import several_processes as case
from tests.training.loop_tasks import Regression

pytestmark = pytest.mark.slow  # three processes load torch
ROOT = Path(__file__).parents[2]
MODULE = "tests.training.several_processes"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def processes(count: int, out: Path) -> None:
    """Start as many as torchrun would, and as it would."""
    out.mkdir()
    environment = {key: value for key, value in os.environ.items() if key not in ("RANK", "WORLD_SIZE")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if count > 1:
        environment |= {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with ExitStack() as stack:
        team = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", MODULE, str(out)],
                    env=environment | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {}),
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for rank in range(count)
        ]
        for each in team:
            stack.callback(each.kill)  # one that waits for another that failed
        for each in team:
            said = each.communicate(timeout=120)[1]
            assert each.returncode == 0, said


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one")
    case.main(out)
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("two") / "out"
    processes(2, out)
    return out


def told(folder: Path, rank: int) -> Any:
    return json.loads((folder / f"told{rank}.json").read_text())


WATCHED = ("token_variance", "token_rank")  # no losses: how each process's own tokens are spread
TASKS = ("regression", "few", "contrast5", "contrast8", "neuronet", "cross_modal", "frame_stager")


@pytest.mark.parametrize("task", TASKS)
def test_losses_of_each_pass_are_those_of_one_process(one: Path, two: Path, task: str) -> None:
    expected = told(one, 0)["curves"][task]
    for rank in range(2):
        found = told(two, rank)["curves"][task]
        assert [each.keys() for each in found] == [each.keys() for each in expected]
        for mine, whole in zip(found, expected, strict=True):
            losses = {name: value for name, value in whole.items() if name not in WATCHED}
            assert {name: mine[name] for name in losses} == pytest.approx(losses, abs=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_weights_are_those_of_one_process(one: Path, two: Path, task: str) -> None:
    name = f"{task}/weights.safetensors" if task in ("regression", "few") else f"{task}.safetensors"
    expected, found = load_file(one / name), load_file(two / name)
    for key, value in expected.items():
        same = torch.ones(value.shape, dtype=torch.bool)
        if key.endswith("qkv.bias"):
            # Attention does not change with the bias of its keys: the gradient is rounding, of which Adam makes steps.
            same.view(3, -1)[1] = False
        torch.testing.assert_close(found[key][same], value[same], atol=1e-5, rtol=0)


def test_rows_are_dealt_and_sums_are_of_all(two: Path) -> None:
    assert told(two, 0)["told"]["0"] == [3.0, [0, 2, 4]]
    assert told(two, 1)["told"]["1"] == [3.0, [1, 3]]
    assert [told(two, rank)["uneven"] for rank in range(2)] == [[[7.0], [7.0]]] * 2


def test_one_process_goes_on_where_two_stopped(two: Path) -> None:
    task = Regression(case.STEADY)
    curves = Run(two / "regression", case.STEADY, {}).train(task, case.STEADY.loop)
    assert task.started == []
    assert curves == told(two, 0)["curves"]["regression"]


def test_torchrun_starts_them(two: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += ["-m", MODULE, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert told(tmp_path, 0) == told(two, 0)
