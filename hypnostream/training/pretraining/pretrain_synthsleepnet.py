"""Step 2: one model of several channels, trained without labels (`models/synthsleepnet.py` says how).

Its channel tokens are spectral (token nights), or learned (signal nights, each channel with the frame encoder that
step 1 trained for its kind, frozen but for LoRA).
"""

import copy
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import PRODUCT_LAYERS, ChannelEncoder, ChannelEncoders, ChannelEncoderSettings
from hypnostream.models.frame_window import EPOCH_S, FRAME_S
from hypnostream.models.lora import LoraSettings
from hypnostream.models.spectral_inputs import INPUTS, SpectralInputs
from hypnostream.models.synthsleepnet import SynthSleepNet, SynthSleepNetSettings
from hypnostream.ranges import at_least, inside
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.splits import in_order_of_chance
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.nights.windows import FrameWindows, SpectralWindows, Windows
from hypnostream.training.pretraining.cross_modal_task import CrossModalSettings, Pretrained
from hypnostream.training.pretraining.frozen_features import signal_features, token_features
from hypnostream.training.pretraining.probe import Labelled, ProbeSettings
from hypnostream.training.pretraining.standardised import standardise
from hypnostream.training.running.loop import LoopSettings

_SOME = 150  # frames of each channel of a night, by which its tokens are standardised


@dataclass(frozen=True, slots=True)
class SynthSleepNetRecipe:
    """A whole run; the file's tables are these fields.

    `window` is in epochs and for token nights; a window of frames is an epoch, with `within` only its 27 inner frames.
    `tested` is the share of the subjects that is kept apart for the probes. The loop's seed decides all.
    """

    window: int = 20
    within: bool = False
    tested: float = 0.2
    lora_layers: tuple[str, ...] = PRODUCT_LAYERS
    encoder: ChannelEncoderSettings = field(default_factory=ChannelEncoderSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    model: SynthSleepNetSettings = field(default_factory=SynthSleepNetSettings)
    objective: CrossModalSettings = field(default_factory=CrossModalSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)
    probe: ProbeSettings = field(default_factory=ProbeSettings)

    def __post_init__(self) -> None:
        at_least(1, self, "window")
        inside(0, 1, self, "tested")
        frames = EPOCH_S - FRAME_S + 1 if self.within else EPOCH_S
        if self.encoder.depth and self.encoder.frames != frames:
            raise ValueError(f"encoder.frames is {self.encoder.frames}; it must be {frames} with within {self.within}")


Nights = Sequence[TokenNight] | Sequence[SignalNight]


def of_tokens(
    recipe: SynthSleepNetRecipe, train: Sequence[TokenNight], statistics_of: Sequence[TokenNight] | None = None
) -> tuple[Pretrained, Windows]:
    """An untrained model for spectral tokens and the training nights' windows. Features are scaled by `statistics_of`
    (None: all of these nights); a stager that takes the model over must be scaled by the same."""
    torch.manual_seed(recipe.loop.seed)
    channels = train[0].mask.shape[1]
    spectral = SpectralInputs(channels)
    shape, level, mask = (
        torch.from_numpy(np.concatenate([getattr(night, name) for night in statistics_of or train]))
        for name in ("shape", "level", "mask")
    )
    spectral.set_statistics(shape, level, mask)
    module = Pretrained(SynthSleepNet(channels, INPUTS, recipe.model), None, spectral)
    windows = SpectralWindows(train, spectral, recipe.window)
    if not len(windows):
        raise UserError(f"no night has {recipe.window} epochs; set a shorter window")
    return module, windows


def of_signals(
    recipe: SynthSleepNetRecipe, train: Sequence[SignalNight], encoders: Mapping[str, ChannelEncoder]
) -> tuple[Pretrained, Windows]:
    """An untrained model for raw frames and the training nights' windows.

    `encoders` are pretrained, by kind: each channel of that kind has a copy, frozen but for LoRA. A channel of another
    kind has an encoder that learns from nothing. Either begins with tokens standardised over these nights, as spectral
    tokens are.
    """
    torch.manual_seed(recipe.loop.seed)
    slots, kinds = train[0].channels, train[0].kinds
    for night in train:
        if night.channels != slots:
            raise UserError(f"{night.name} has channels {', '.join(night.channels)}, others {', '.join(slots)}")
    windows = FrameWindows(train, recipe.within)
    each = [copy.deepcopy(encoders[kind]) if kind in encoders else ChannelEncoder(recipe.encoder) for kind in kinds]
    for channel, encoder in enumerate(each):
        if encoder.transformer is None:  # which ends in a normalisation of its own
            standardise(encoder.frames, torch.from_numpy(windows.some(channel, _SOME)))
    own = ChannelEncoders(each, [kind in encoders for kind in kinds], recipe.lora, recipe.lora_layers)
    module = Pretrained(SynthSleepNet(len(kinds), own.width, recipe.model), own, None)
    return module, windows


def features(module: Pretrained, nights: Nights, task: str, within: bool = False) -> Labelled:
    """Frozen features with the labels of a task, of nights of either kind."""
    tokens = [night for night in nights if isinstance(night, TokenNight)]
    if tokens and task != "stage":
        raise UserError(f"token nights hold stages, no {task}; probe {task} on signal nights")
    if tokens:
        return token_features(module, tokens)
    return signal_features(module, [n for n in nights if isinstance(n, SignalNight)], task, within)


def held_out(subjects: Sequence[str], share: float, seed: int, met: Collection[str] = ()) -> frozenset[str]:
    """The subjects that only the probes' last figures see: `share` of them, one at least, none that step 1 has `met`.

    Raises UserError for too few.
    """
    every = in_order_of_chance(sorted(set(subjects)), seed, "synthsleepnet")
    if len(every) < 3:
        raise UserError(f"{len(every)} subjects; at least 3 are needed, to learn from, to choose on and to test on")
    strangers = [subject for subject in every if subject not in met]
    if not strangers:
        raise UserError(f"step 1 was trained on all {len(every)} subjects: none can be tested; bring nights of others")
    return frozenset(strangers[: min(max(round(share * len(every)), 1), len(every) - 2)])


def fingerprint(night: TokenNight | SignalNight) -> str:
    """What the night was made of, as a hash; of what it holds, where no files are named."""
    if isinstance(night, TokenNight) or night.source_sha256:
        return night.source_sha256
    return hashlib.sha256(np.ascontiguousarray(night.signal).tobytes() + night.valid.tobytes()).hexdigest()
