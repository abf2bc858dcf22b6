"""What two processes do together in test_distributed.py: `python -m tests.training.several_processes OUT`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from hypnostream.training.distributed import first, first_alone, share
from hypnostream.training.loop import LoopSettings, train
from hypnostream.training.run import Run
from tests.training.loop_tasks import Contrast, Recipe, Regression

STEADY = Recipe(dropout=0.0)  # each process has dropout of its own
CONTRAST = LoopSettings(passes=2, warmup_steps=1, average=0.5)
FEW = replace(STEADY, rows=1)  # one of two processes has none


def main(out: Path) -> None:
    """Train each task; the first process writes what came out."""
    mine = share()
    with first_alone():
        prepared = out / "prepared"
        if first():
            prepared.write_text("once")
    if prepared.read_text() != "once":
        raise AssertionError
    found: dict[str, list[dict[str, float]]] = {}
    for name, recipe in (("regression", STEADY), ("few", FEW)):
        task = Regression(recipe)
        if mine.rank:  # what the others begin with does not matter
            with torch.no_grad():
                task.module.first.weight.add_(1.0)
        found[name] = Run(out / name, recipe, {}, save_every_s=0.0).train(task, recipe.loop)
    for rows in (5, 8):
        contrast = Contrast(rows)
        found[f"contrast{rows}"] = train(contrast, CONTRAST, share=mine)
        if mine.rank == 0:
            save_file(contrast.module.state_dict(), out / f"contrast{rows}.safetensors")
    told = {str(mine.rank): [mine.total(mine.rank + 1.0), list(mine.rows(5))]}
    (out / f"told{mine.rank}.json").write_text(json.dumps({"curves": found, "told": told}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
