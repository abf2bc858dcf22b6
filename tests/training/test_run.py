"""The folder of a run: killed at any instant it goes on to the same bits, and it says what it was made of."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from hypnostream.errors import UserError
from hypnostream.training.running.curves import read_curves, write_curves, write_picture
from hypnostream.training.running.run import CHECKPOINT, Run
from tests.training.loop_tasks import Recipe, Regression

ROOT = Path(__file__).parents[2]
DATA = {"night1": "ab" * 32, "night2": "cd" * 32}
RECIPE = Recipe()


def test_a_run_says_what_it_was_made_of_and_keeps_its_weights(tmp_path: Path) -> None:
    run, task = Run(tmp_path / "run", RECIPE, DATA), Regression(RECIPE)
    curves = run.train(task, RECIPE.loop)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["data"] == DATA
    assert record["config"]["loop"]["seed"] == RECIPE.loop.seed
    start = record["starts"][0]
    assert {"at", "git", "changed_since", "versions", "threads", "machine", "system"} <= start.keys()
    assert start["versions"]["torch"] == torch.__version__
    assert read_curves(tmp_path / "run" / "curves.csv") == curves
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    found = load_file(run.weights)
    assert found.keys() == task.module.state_dict().keys()
    assert all(torch.equal(found[name], value) for name, value in task.module.state_dict().items())


def test_a_finished_run_is_read_and_not_done_again(tmp_path: Path) -> None:
    curves = Run(tmp_path, RECIPE, DATA).train(Regression(RECIPE), RECIPE.loop)
    weights = (tmp_path / "weights.safetensors").read_bytes()
    again = Regression(RECIPE)
    assert Run(tmp_path, RECIPE, DATA).train(again, RECIPE.loop) == curves
    assert again.started == []
    assert (tmp_path / "weights.safetensors").read_bytes() == weights
    assert len(json.loads((tmp_path / "run.json").read_text())["starts"]) == 2


def test_other_settings_or_data_are_refused_by_name(tmp_path: Path) -> None:
    Run(tmp_path, RECIPE, DATA)
    before = (tmp_path / "run.json").read_text()
    slower = replace(RECIPE, loop=replace(RECIPE.loop, learning_rate=1e-4))
    with pytest.raises(UserError, match=r"config\.loop\.learning_rate was 0\.01 and is 0\.0001.*choose another folder"):
        Run(tmp_path, slower, DATA)
    with pytest.raises(UserError, match=r"data\.night2 was \"cdcd.* and is \"efef"):
        Run(tmp_path, RECIPE, DATA | {"night2": "ef" * 32})
    with pytest.raises(UserError, match=r"data\.night2 is gone"):
        Run(tmp_path, RECIPE, {"night1": DATA["night1"]})
    with pytest.raises(UserError, match=r"data\.night3 is new"):
        Run(tmp_path, RECIPE, DATA | {"night3": ""})
    assert (tmp_path / "run.json").read_text() == before


def test_a_run_from_before_a_setting_was_there_goes_on_at_its_default(tmp_path: Path) -> None:
    Run(tmp_path, RECIPE, DATA)
    path = tmp_path / "run.json"
    record = json.loads(path.read_text())
    del record["config"]["loop"]["accumulate"], record["config"]["rows"]
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"config\.loop\.accumulate was 1 and is 2"):
        Run(tmp_path, replace(RECIPE, loop=replace(RECIPE.loop, accumulate=2)), DATA)
    Run(tmp_path, RECIPE, DATA)
    assert len(json.loads(path.read_text())["starts"]) == 2
    record["config"]["loop"]["momentum"] = 0.9
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"config\.loop\.momentum is gone"):
        Run(tmp_path, RECIPE, DATA)


def test_a_record_or_a_checkpoint_that_is_none_is_a_users_error(tmp_path: Path) -> None:
    Run(tmp_path, RECIPE, DATA)
    (tmp_path / CHECKPOINT).write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="checkpoint is not of this model, or damaged"):
        Run(tmp_path, RECIPE, DATA).train(Regression(RECIPE), RECIPE.loop)
    for content in ("[]", "{", '{"config": 1}'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(UserError, match="not the record of a run"):
            Run(tmp_path, RECIPE, DATA)


# Its torch is loaded once: each life is a fork, killed after a random while, the last one let be.
LIVES = """
import os, random, sys, time
import matplotlib.figure, safetensors.torch
from pathlib import Path
from hypnostream.training.running.run import Run
from tests.training.loop_tasks import Recipe, Regression

class Slow(Regression):
    def stepped(self):
        super().stepped()
        time.sleep(0.004)

def live(folder):
    recipe = Recipe(rounds=8)
    Run(folder, recipe, {}, save_every_s=0.0).train(Slow(recipe), recipe.loop)

folder, chance, killed = Path(sys.argv[1]), random.Random(5), 0
while True:
    pid = os.fork()
    if not pid:
        live(folder)
        os._exit(0)
    if killed < 6:
        time.sleep(chance.uniform(0.05, 0.3))
        os.kill(pid, 9)
    status = os.waitpid(pid, 0)[1]
    if not os.WIFSIGNALED(status):
        print(killed, os.waitstatus_to_exitcode(status))
        break
    killed += 1
live(Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LIVES, str(killed), str(whole)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills, code = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert kills >= 3
    for name in ("weights.safetensors", "curves.csv"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}


def test_curves_come_back_as_they_were_and_a_picture_is_made_of_any_number(tmp_path: Path) -> None:
    curves = [{"loss": 1 / 3, "contrast": 0.1}, {"loss": 0.1 + 0.2, "contrast": 1e-9, "late": 2.0}]
    write_curves(tmp_path / "curves.csv", curves)
    assert (tmp_path / "curves.csv").read_text().startswith("pass,loss,")
    assert read_curves(tmp_path / "curves.csv") == curves
    for some in ([], curves[:1], curves, [{f"loss {i}": float(p) for i in range(7)} for p in range(50)]):
        write_picture(tmp_path / "curves.png", some, "a run")
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
