"""What two processes do together in test_distributed.py: `python -m tests.training.several_processes OUT`."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from hypnostream.models.frame_network import FrameSettings
from hypnostream.models.neuronet import NeuroNet, NeuroNetSettings
from hypnostream.models.spectral_inputs import INPUTS, SpectralInputs
from hypnostream.models.synthsleepnet import SynthSleepNet, SynthSleepNetSettings
from hypnostream.models.token_features import LEVEL, SHAPE
from hypnostream.training.damage.augment import AugmentSettings
from hypnostream.training.nights.scaled_frames import frames_of_kind
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.nights.windows import SpectralWindows
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings, CrossModalTask, Pretrained
from hypnostream.training.pretraining.pretrain_neuronet import NeuroNetObjective, NeuroNetTask
from hypnostream.training.running.distributed import first, first_alone, share
from hypnostream.training.running.loop import LoopSettings, Task, train
from hypnostream.training.running.run import Run
from hypnostream.training.staging.frame_stager_run import tokens_of
from hypnostream.training.staging.frame_stager_task import FrameStagerTask
from hypnostream.training.staging.staging_losses import Objectives
from tests.training.loop_tasks import Contrast, Recipe, Regression
from tests.training.small_frame_stager import SLOTS, SMALL, trained

STEADY = Recipe(dropout=0.0)  # each process has dropout of its own
CONTRAST = LoopSettings(passes=2, warmup_steps=1, average=0.5)
FEW = replace(STEADY, rows=1)  # one of two processes has none


def pretraining() -> dict[str, Task]:
    """Both of our own, small, with batches that do not divide by two."""
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    signal = generator.normal(0, 20, (300, 1, 100)).astype(np.float32)
    there, stage = np.ones((300, 1), bool), np.zeros(10, np.int8)
    night = SignalNight("a", "a", "simulated", "none", ("EEG",), ("eeg",), signal, there, stage)
    frame = FrameSettings(4, (4, 4, 4), squeeze=2, hidden=8, width=8)
    sizes = NeuroNetSettings(
        frame, 10, 0.8, 8, 1, 2, 8, 1, 2, projector=(8, 8), predictor_width=8, predictor_heads=2, teacher_decay=0.9
    )
    frames = NeuroNetTask(NeuroNet(sizes), list(frames_of_kind([night], "eeg")), NeuroNetObjective(batch=5), seed=0)

    shape, level = (generator.normal(size=(60, 3, n)).astype(np.float32) for n in (SHAPE, LEVEL))
    mask = (generator.random((60, 3)) > 0.2).astype(np.float32)
    tokens = TokenNight("b", "b", "simulated", "none", "0" * 64, shape, level, mask, np.zeros(60, np.int8))
    model = SynthSleepNet(3, INPUTS, SynthSleepNetSettings(8, 2, 1, 1, 8, 1, 2, (8, 8)))
    inputs = SpectralInputs(3)
    windows = SpectralWindows([tokens], inputs, 12)
    epochs = CrossModalTask(Pretrained(model, None, inputs), windows, CrossModalSettings(batch=5))
    return {"neuronet": frames, "cross_modal": epochs}


def frame_stager(out: Path) -> Task:
    """Three nights of unequal length by twos: the last round has fewer nights than processes, and one of the nights has
    no stage where the other goes on with some. SMCCL draws fewer tokens than there are."""
    generator = np.random.default_rng(1)
    nights = []
    for name, epochs, staged in (("a", 14, 14), ("b", 14, 3), ("c", 8, 8)):
        stage = np.where(np.arange(epochs) < staged, generator.integers(0, 5, epochs), -1).astype(np.int8)
        signal = generator.normal(0, 20, (epochs * 30, 2, 100)).astype(np.float32)
        there = generator.random((epochs * 30, 2)) > 0.02
        nights.append(SignalNight(name, name, "simulated", "none", SLOTS, ("eeg", "eog"), signal, there, stage))
    settings = replace(SMALL, segment=4, objectives=Objectives(smccl=0.5), augment=AugmentSettings(subset_share=0.0))
    module = trained(settings)
    return FrameStagerTask(tokens_of(nights, module.model, out / "tokens", "cpu"), module, settings)


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
    for name, own in (pretraining() | {"frame_stager": frame_stager(out)}).items():
        found[name] = train(own, CONTRAST, share=mine)
        if mine.rank == 0:
            save_file(own.module.state_dict(), out / f"{name}.safetensors")
    uneven = mine.gathered(torch.full((2 - 2 * mine.rank, 1), 7.0 + mine.rank))
    told = {str(mine.rank): [mine.total(mine.rank + 1.0), list(mine.rows(5))]}
    (out / f"told{mine.rank}.json").write_text(json.dumps({"curves": found, "told": told, "uneven": uneven.tolist()}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
