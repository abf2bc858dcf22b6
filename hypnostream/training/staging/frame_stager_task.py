"""Training a stager with the learned front-end: as `stager_task.py`, with a token a second for its one an epoch.

With frozen encoders tokens are made before; through encoders that learn on, whole or by LoRA, each step goes back,
which costs several times as much, and memory: then let `segment` be short.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hypnostream.engine.session import NEVER_S
from hypnostream.errors import UserError
from hypnostream.models.channel_encoder import PRODUCT_LAYERS
from hypnostream.models.frame_stager import FrameStager, FrameStagerConfig
from hypnostream.models.frame_window import FRAME_S
from hypnostream.models.lora import LoraSettings, adapted, merged
from hypnostream.models.seconds_stager import SecondsConfig
from hypnostream.models.state import State, detached, restarted
from hypnostream.ranges import at_least, between
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.damage.augment import AugmentSettings, ages_s, late_starts, sensors_lost
from hypnostream.training.losses.smccl import ContrastSettings, StageModalityContrast
from hypnostream.training.nights.signal_nights import KIND_SIGNALS
from hypnostream.training.running.loop import LoopSettings, Share, chance
from hypnostream.training.staging.batch import ClassRule, class_weights
from hypnostream.training.staging.learned_front import LearnedFront
from hypnostream.training.staging.night_tokens import NightTokens
from hypnostream.training.staging.staging_losses import Objectives, StagingLosses


@dataclass(frozen=True, slots=True)
class FrameStagerSettings:
    """As `StagerSettings`; of `augment` only what sensors are lost and who is joined late is read.

    `encoders` of the front-end stay as they are ("frozen"), or have `lora` on their layers named `lora_layers`, or are
    "learned" whole.
    """

    batch: int = 4
    segment: int = 32
    class_rule: ClassRule = "power"
    class_power: float = 0.3
    restart: float = 0.05
    encoders: Literal["frozen", "lora", "learned"] = "frozen"
    lora_layers: tuple[str, ...] = PRODUCT_LAYERS
    lora: LoraSettings = field(default_factory=lambda: LoraSettings(alpha=8.0))
    loop: LoopSettings = field(default_factory=LoopSettings)
    model: SecondsConfig = field(default_factory=SecondsConfig)
    augment: AugmentSettings = field(default_factory=lambda: AugmentSettings(subset_share=0.0, late_start=0.15))
    objectives: Objectives = field(default_factory=Objectives)
    contrast: ContrastSettings = field(default_factory=ContrastSettings)

    def __post_init__(self) -> None:
        at_least(1, self, "batch", "segment")
        at_least(0, self, "class_power")
        between(0, 1, self, "restart")


class FrameTrained(nn.Module):
    """The stager, and what only training needs of parameters."""

    def __init__(self, front: LearnedFront, kinds: Sequence[str], settings: FrameStagerSettings) -> None:
        super().__init__()
        usual = tuple(KIND_SIGNALS[kind].usual for kind in kinds)
        self.model = FrameStager(FrameStagerConfig(front.encoder_of, usual, front.encoders[0].settings, settings.model))
        for mine, learned in zip(self.model.front.encoders, front.encoders, strict=True):
            mine.load_state_dict(learned.state_dict())
        self.model.front.requires_grad_(settings.encoders == "learned")
        if settings.encoders == "lora":
            self._adapt(settings)
        if front.fused is not None:
            try:
                self.model.stager.take(front.fused)
            except ValueError as error:
                raise UserError(f"step 2 was of other sizes: {str(error).splitlines()[0]}; use its width") from error
        smccl = settings.objectives.smccl
        self.contrast = StageModalityContrast(settings.model.d_model, len(kinds), settings.contrast) if smccl else None

    def _adapt(self, settings: FrameStagerSettings) -> None:
        for encoder in self.model.front.encoders:
            try:
                adapted(encoder, settings.lora_layers, settings.lora)
            except ValueError as error:
                raise UserError(f"fit.lora_layers: {error}") from error

    def plain(self) -> FrameStager:
        """The stager that is exported, with LoRA merged: it says what the trained one says within rounding."""
        return merged(self.model).cpu().eval().requires_grad_(False)


class FrameStagerTask:
    """A `Task` of the training loop over nights whose tokens `module` makes, or made."""

    def __init__(self, nights: Sequence[NightTokens], module: FrameTrained, settings: FrameStagerSettings) -> None:
        self.module, self.settings = module, settings
        self.nights = [each for each in nights if (each.night.stage >= 0).any()]
        if not self.nights:
            raise UserError(f"none of the {len(nights)} training nights has a stage; give nights with some")
        fitted = [each.night for each in self.nights]
        weights = class_weights(fitted, settings.class_power, settings.class_rule)
        self._asked = StagingLosses(settings.objectives, weights, module.contrast)
        self._augment = _for_channels(settings.augment, module.model.config.channels)

    def rounds(self, pass_index: int) -> int:
        """Batches of nights."""
        return -(-len(self.nights) // self.settings.batch)

    def stepped(self) -> None:
        """Nothing moves beside the weights."""

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """A batch of nights from beginning to end, a step a segment."""
        seed, segment, stager = self.settings.loop.seed, self.settings.segment, self.module.model.stager
        order = torch.randperm(len(self.nights), generator=chance(seed, pass_index)).tolist()
        first = round_index * self.settings.batch
        nights = [self.nights[i] for i in order[first : first + self.settings.batch]]
        generator = chance(seed, pass_index, round_index)
        starts = late_starts([night.epochs for night in nights], segment, self._augment, generator)
        length = max(night.epochs - start for night, start in zip(nights, starts, strict=True))
        stage = _padded([night.night.stage[start:] for night, start in zip(nights, starts, strict=True)], length, -1)
        valid = _padded(
            [night.night.valid[start * EPOCH_S :] for night, start in zip(nights, starts, strict=True)],
            length * EPOCH_S,
            0,
        ).float()  # (B, S, C)
        lost = sensors_lost(valid, self._augment, generator)
        segments = range(0, length, segment)
        restarts = torch.rand(len(segments), len(nights), generator=generator) < self.settings.restart
        # The rows of this process, first with everything, then with sensors lost.
        rows = list(share.rows(len(nights)))
        there = whole_frames(torch.cat([valid[rows], lost[rows]]))
        anew = torch.zeros(there.shape[:2], dtype=torch.bool)
        anew[:, :: segment * EPOCH_S] = restarts[:, rows].repeat(1, 2).T
        device = self.module.model.front.scale.prior.device
        age_s = ages_s(there, NEVER_S, 1.0, anew).to(device)
        there, scored, stage = there.to(device), (stage >= 0).any(0), stage[rows].long().to(device)
        subjects = sorted({night.night.subject for night in nights})
        subject = torch.tensor([subjects.index(nights[row].night.subject) for row in rows], device=device)
        initial = stager.initial_state(2 * len(rows))
        state: State = initial
        for index, start in enumerate(segments):
            count = min(segment, length - start)
            seconds = slice(start * EPOCH_S, (start + count) * EPOCH_S)
            state = restarted(state, initial, restarts[index, rows].repeat(2).to(device))
            tokens = [nights[row].of((starts[row] + start) * EPOCH_S, count * EPOCH_S).to(device) for row in rows]
            nobody = there.new_zeros(0, count * EPOCH_S, there.shape[2], self.module.model.front.width)
            both = (torch.stack(tokens) if rows else nobody).repeat(2, 1, 1, 1)  # (2b, S, C, I)
            staged, _, state = stager(both, there[:, seconds], age_s[:, seconds], state)
            state = detached(state)
            if scored[start : start + count].any():  # in the whole batch: all processes make this step, or none
                yield self._asked(staged, stage[:, start : start + count], there[:, seconds], subject, share, generator)


def whole_frames(valid: Tensor) -> Tensor:
    """`valid` seconds (B, S, C) in 0/1 -> seconds with which a whole frame ends, (B, S, C)."""
    before = torch.cat([torch.zeros_like(valid[:, : FRAME_S - 1]), valid], dim=1)
    return torch.stack([before[:, back : back + valid.shape[1]] for back in range(FRAME_S)]).amin(0)


@torch.no_grad()
def predict(
    model: FrameStager, night: NightTokens, sensors: Sequence[int] | None = None, segment: int = 32
) -> NDArray[np.float32]:
    """What is said of each epoch (N, 5), causal, from the first one on, with only `sensors` there (None: all)."""
    model.eval()
    device = model.front.scale.prior.device
    valid = torch.from_numpy(np.array(night.night.valid, np.float32)).unsqueeze(0)  # (1, S, C)
    there = whole_frames(valid if sensors is None else valid * torch.tensor(sensors, dtype=torch.float32))
    age_s = ages_s(there, NEVER_S, 1.0)
    state, said = model.stager.initial_state(1), []
    for start in range(0, night.epochs, segment):
        seconds = slice(start * EPOCH_S, min(start + segment, night.epochs) * EPOCH_S)
        tokens = night.of(seconds.start, seconds.stop - seconds.start).unsqueeze(0).to(device)
        staged, _, state = model.stager(tokens, there[:, seconds].to(device), age_s[:, seconds].to(device), state)
        said.append(torch.softmax(staged.logits[0], -1).cpu().numpy())
    return np.concatenate(said)


def _padded(arrays: Sequence[NDArray[np.generic]], length: int, fill: int) -> Tensor:
    out = np.full((len(arrays), length, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return torch.from_numpy(out)


def _for_channels(augment: AugmentSettings, channels: int) -> AugmentSettings:
    """Where no subsets are drawn, those that the settings have, which are of other sensors, are not looked at."""
    if augment.subset_share == 0:
        return replace(augment, subsets=((1,) * channels,), subset_weights=(1.0,))
    if {len(subset) for subset in augment.subsets} != {channels}:
        raise UserError(f"augment.subsets are of {len(augment.subsets[0])} sensors; the nights have {channels}")
    return augment
