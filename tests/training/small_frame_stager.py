"""A small stager on a learned front-end, and simulated nights for it."""

from functools import lru_cache
from pathlib import Path

import torch

from hypnostream.models.frame_network import FrameEncoder, FrameSettings
from hypnostream.models.seconds_stager import SecondsConfig
from hypnostream.stream.simulator import NightSettings
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.signal_nights import simulated_signal_night
from hypnostream.training.pretraining.frame_weights import save_frame_encoder
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.staging.frame_stager_task import FrameStagerSettings, FrameTrained
from hypnostream.training.staging.learned_front import LearnedFront
from tests.recordings import STAGES

FRAME = FrameSettings(4, (4, 8, 8), (2, 2, 2), squeeze=2, hidden=16, width=16)
SLOTS = ("eeg_frontal", "eog")
SMALL = FrameStagerSettings(
    batch=2,
    segment=10,
    loop=LoopSettings(passes=6, learning_rate=8e-3, warmup_steps=2, average=0.8),
    model=SecondsConfig(d_model=16, d_state=8, headdim=8, dropout=0.0),
)


@lru_cache(maxsize=8)
def night(seed: int, epochs: int = 60, each: int = 2) -> SignalNight:
    """`each` stage of the hypnogram lasts so many epochs; all sleepers are the median one, their noise differs."""
    stages = [STAGES[epoch // each % len(STAGES)] for epoch in range(epochs)]
    settings = NightSettings(stages=stages, rate_hz=128, events_per_hour=0.0, sleeper_spread=0.0)
    return simulated_signal_night(settings, seed, SLOTS)


def front(settings: FrameSettings = FRAME) -> LearnedFront:
    torch.manual_seed(3)
    return LearnedFront((FrameEncoder(settings), FrameEncoder(settings)), (0, 1), None, frozenset())


def trained(settings: FrameStagerSettings, learned: LearnedFront | None = None) -> FrameTrained:
    learned = learned or front()
    torch.manual_seed(0)
    return FrameTrained(learned, ("eeg", "eog"), settings)


def step_1(folder: Path, people: tuple[str, ...] = (), settings: FrameSettings = FRAME) -> Path:
    for kind, encoder in zip(("eeg", "eog"), front(settings).encoders, strict=True):
        (folder / kind).mkdir(parents=True)
        save_frame_encoder(folder / kind / "encoder.safetensors", encoder, kind, people)
    return folder
