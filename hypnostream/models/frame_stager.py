"""The causal sleep stager with the learned front-end: raw signals of any sensors to five stages.

The same contract as `Stager`: `step` on an epoch's signals is what is exported, `forward` reads a stretch with carried
state. Between front-end and stages lies a token a second and channel, so that with encoders that stay as they are
`stager` can be trained on tokens that were made once.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.frame_front import FrameFront, FrontState
from hypnostream.models.frame_network import FrameSettings
from hypnostream.models.seconds_stager import SecondsConfig, SecondsStager, SecondsState
from hypnostream.models.stager import Answer, Staged


@dataclass(frozen=True, slots=True)
class FrameStagerConfig:
    """`encoder_of`: which encoder each channel has; `usual`: its usual mean |x| in its unit, where its level begins."""

    encoder_of: tuple[int, ...]
    usual: tuple[float, ...]
    frame: FrameSettings = field(default_factory=FrameSettings)
    seconds: SecondsConfig = field(default_factory=SecondsConfig)
    min_valid_s: int = 10

    @property
    def channels(self) -> int:
        """How many sensors it has room for."""
        return len(self.encoder_of)


class FrameStagerState(NamedTuple):
    """Everything carried from epoch to epoch, float32, zeros at the beginning."""

    front: FrontState
    stager: SecondsState


class FrameStager(nn.Module):
    """See the module's head. Inputs are batch first, one row a bed."""

    def __init__(self, config: FrameStagerConfig) -> None:
        super().__init__()
        self.config = config
        self.front = FrameFront(config.encoder_of, config.usual, config.frame)
        self.stager = SecondsStager(config.channels, config.frame.width, config.seconds)

    def initial_state(self, batch: int) -> FrameStagerState:
        """The state of a night that has not begun."""
        return FrameStagerState(self.front.initial_state(batch), self.stager.initial_state(batch))

    def forward(
        self, signal: Tensor, valid: Tensor, age_s: Tensor, state: FrameStagerState | None = None
    ) -> tuple[Staged, FrameStagerState]:
        """A stretch of epochs: (B, L, C, 3000), (B, L, C, 30), (B, L, C), and the state after it."""
        staged, _, state = self._read(signal, valid, age_s, state or self.initial_state(signal.shape[0]))
        return staged, state

    def step(
        self, signal: Tensor, valid: Tensor, age_s: Tensor, state: FrameStagerState
    ) -> tuple[Answer, FrameStagerState]:
        """One epoch: (B, C, 3000), (B, C, 30), (B, C) -> what it is, and the next state. Standard operators only."""
        staged, share, state = self._read(signal.unsqueeze(1), valid.unsqueeze(1), age_s.unsqueeze(1), state)
        return Answer(torch.softmax(staged.logits[:, 0], dim=-1), share[:, 0]), state

    def _read(
        self, signal: Tensor, valid: Tensor, age_s: Tensor, state: FrameStagerState
    ) -> tuple[Staged, Tensor, FrameStagerState]:
        found, front = self.front(signal, valid, age_s, state.front)
        staged, share, stager = self.stager(*found, state.stager)
        return staged, share, FrameStagerState(front, stager)
