"""What the detector's encoder learns without labels: SynthSleepNet's cross-modal pretraining on the training nights."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hypnostream.bounded_file import read_bounded
from hypnostream.errors import UserError
from hypnostream.models.spectral_inputs import INPUTS, SpectralInputs
from hypnostream.models.synthsleepnet import SynthSleepNet, SynthSleepNetSettings
from hypnostream.ranges import at_least
from hypnostream.training.downstream.event_night import SLOTS, EventNight
from hypnostream.training.downstream.event_task import scale
from hypnostream.training.nights.windows import SpectralWindows
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings, CrossModalTask, Pretrained
from hypnostream.training.running.loop import LoopSettings
from hypnostream.training.running.run import Run

_MOST_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """`window` is in epochs."""

    window: int = 20
    objective: CrossModalSettings = field(default_factory=lambda: CrossModalSettings(batch=64, contrast=0.1))
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(passes=6, learning_rate=2e-3))

    def __post_init__(self) -> None:
        at_least(1, self, "window")


@dataclass(frozen=True, slots=True)
class _Asked:
    """What makes a run the same run."""

    settings: PretrainSettings
    model: SynthSleepNetSettings
    nights: tuple[str, ...]


def pretrain(
    folder: Path, nights: Sequence[EventNight], settings: PretrainSettings, model: SynthSleepNetSettings
) -> list[dict[str, float]]:
    """Train an encoder on these nights, which are training nights, or go on; weights are in `folder`. Its curves."""
    seed = settings.loop.seed
    torch.manual_seed(seed)
    spectral = SpectralInputs(len(SLOTS))
    scale(spectral, nights)
    module = Pretrained(SynthSleepNet(len(SLOTS), INPUTS, model), None, spectral)
    windows = SpectralWindows([night.tokens for night in nights], spectral, settings.window)
    if not len(windows):
        raise UserError(f"no night has {settings.window} epochs; set a shorter window")
    asked = _Asked(settings, model, tuple(night.name for night in nights))
    run = Run(folder, asked, {night.name: night.source_sha256 for night in nights})
    return run.train(CrossModalTask(module, windows, settings.objective, seed), settings.loop)


def load_pretrained(encoder: SynthSleepNet, weights: Path) -> None:
    """Put what `pretrain` learned into an encoder of the same sizes. Raises UserError when it does not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        found = load(read_bounded(weights, _MOST_BYTES))
        encoder.load_state_dict({k.removeprefix("model."): v for k, v in found.items() if k.startswith("model.")})
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise UserError(f"{weights} does not fit the detector: {str(error).splitlines()[0]}") from error
