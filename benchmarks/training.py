"""How many epochs of sleep each stage of training learns from in a second, with the product's sizes.

python -m benchmarks.training
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch

from benchmarks.report import heading, table
from hypnostream.models.neuronet import NeuroNet
from hypnostream.models.spectral_inputs import INPUTS, SpectralInputs
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.models.token_features import LEVEL, SHAPE
from hypnostream.training.nights.scaled_frames import frames_of_kind
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.nights.windows import SpectralWindows
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings, CrossModalTask, Pretrained
from hypnostream.training.pretraining.pretrain_neuronet import NeuroNetObjective, NeuroNetTask
from hypnostream.training.running.distributed import share
from hypnostream.training.running.loop import LoopSettings, Task, train
from hypnostream.training.staging.stager_recipe import load_recipe
from hypnostream.training.staging.stager_task import StagerTask

EPOCHS = 960  # of a night of eight hours
NIGHTS = 8
WINDOW = 30
ROUNDS = 4  # measured, after one to warm up
METHOD = (
    "Noise in the shape of nights, since nothing here depends on what they say; {rounds} rounds after one to warm up, "
    "forward, backward and the optimiser's step, through the common loop. Stager: {nights} nights side by side in "
    "segments of 128 epochs, state carried, with all sensors and with some lost. "
    "NeuroNet: batches of 64 windows of 30 s of one channel. SynthSleepNet: "
    "batches of 32 windows of 30 epochs with three channels of spectral tokens. An epoch that several channels or "
    "views are made of counts once for a channel in NeuroNet, once in all in the others. Two processes: Gloo, one "
    "thread each."
)


def token_nights() -> list[TokenNight]:
    """Noise in the shape of nights with spectral tokens."""
    rng = np.random.default_rng(0)
    nights = []
    for index in range(NIGHTS):
        shape, level = (rng.normal(size=(EPOCHS, 3, n)).astype(np.float32) for n in (SHAPE, LEVEL))
        there, stage = np.ones((EPOCHS, 3), np.float32), rng.integers(0, 5, EPOCHS).astype(np.int8)
        name = f"night{index}"
        nights.append(TokenNight(name, name, "noise", "none", "0" * 64, shape, level, there, stage))
    return nights


def signal_night() -> SignalNight:
    """Noise in the shape of a night of one EEG channel."""
    signal = np.random.default_rng(0).normal(0, 20, (EPOCHS * 30, 1, 100)).astype(np.float32)
    there, stage = np.ones((EPOCHS * 30, 1), bool), np.zeros(EPOCHS, np.int8)
    return SignalNight("night", "night", "noise", "none", ("EEG",), ("eeg",), signal, there, stage)


def neuronet() -> tuple[Task, int]:
    """The task, and how many epochs a round is made of."""
    sources = list(frames_of_kind([signal_night()], "eeg"))
    return NeuroNetTask(NeuroNet(), sources, NeuroNetObjective(batch=64, windows_per_channel=64), seed=0), 64


def synthsleepnet() -> tuple[Task, int]:
    """As `neuronet`; one batch a pass."""
    inputs = SpectralInputs(3)
    windows = SpectralWindows(token_nights()[:1], inputs, WINDOW)
    module = Pretrained(SynthSleepNet(3, INPUTS), None, inputs)
    return CrossModalTask(module, windows, CrossModalSettings(batch=32)), 32 * WINDOW


def stager() -> tuple[Task, int]:
    """As `neuronet`: a round is a batch of nights from beginning to end, read twice."""
    return StagerTask(token_nights(), load_recipe().fit), NIGHTS * EPOCHS


STAGES: dict[str, Callable[[], tuple[Task, int]]] = {
    "stager": stager,
    "NeuroNet": neuronet,
    "SynthSleepNet": synthsleepnet,
}


def epochs_a_second(stage: str, settings: LoopSettings) -> float:
    """How fast it trains in this process, or in all that torchrun started."""
    torch.manual_seed(0)
    task, epochs = STAGES[stage]()
    ends_s: list[float] = []
    train(task, replace(settings, passes=ROUNDS + 1), lambda *_: ends_s.append(time.perf_counter()), share())
    return ROUNDS * epochs / (ends_s[-1] - ends_s[0])


def measured(stage: str, precision: str, threads: int, processes: int) -> str:
    """In processes of their own, so that threads are as asked for from the first product on."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "benchmarks.training", stage, precision]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{stage} in {precision}: {done.stderr.strip()}", file=sys.stderr)
        return "fails"
    return f"{float(done.stdout.splitlines()[0]):,.0f}"


def main() -> None:
    """The table."""
    heading(
        "Training: epochs of sleep a second",
        f"torch {version('torch')}. " + METHOD.format(rounds=ROUNDS, nights=NIGHTS),
    )
    ways = [("float32", 1, 1), ("float32", 2, 1), ("float32", 1, 2), ("bfloat16", 1, 1), ("bfloat16", 2, 1)]
    columns = [f"{precision}, {t} thread{'s' * (t > 1)}" if p == 1 else f"{precision}, {p} processes"
               for precision, t, p in ways]  # fmt: skip
    table(
        ["stage", *columns],
        ([stage, *(measured(stage, precision, t, p) for precision, t, p in ways)] for stage in STAGES),
    )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        chosen = LoopSettings(precision="bfloat16" if sys.argv[2] == "bfloat16" else "float32")
        found = epochs_a_second(sys.argv[1], chosen)
        if share().rank == 0:
            print(found)
    else:
        main()
