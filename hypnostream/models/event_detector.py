"""Breathing events epoch by epoch from whatever sensors there are: yes or no for each task, causal over whole nights.

The stager's parts with other heads: channel numbers, made relative to the sleeper's past; SynthSleepNet's adaptors and
fusion; Mamba-2 over epochs with its state carried. A missing sensor is not imagined here: an imagined saturation would
be evidence of an event that nobody measured. The model knows of its absence, and that is all.
"""

from dataclasses import dataclass, field
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from hypnostream.models.context import KINDS, make_mixer
from hypnostream.models.normaliser import LevelState
from hypnostream.models.spectral_inputs import INPUTS, SpectralInputs
from hypnostream.models.state import Recurrent, State
from hypnostream.models.synthsleepnet import SynthSleepNet, SynthSleepNetSettings
from hypnostream.ranges import above, at_least, below_one, one_of


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """Sizes. `level_memory` is in epochs; `context` is one of `context.KINDS`."""

    layers: int = 1
    context: str = "mamba2"
    d_state: int = 16
    headdim: int = 32
    dropout: float = 0.2
    level_memory: float = 240.0
    encoder: SynthSleepNetSettings = field(default_factory=lambda: SynthSleepNetSettings(width=64, projection=(64, 32)))

    def __post_init__(self) -> None:
        at_least(1, self, "layers", "d_state", "headdim")
        below_one(self, "dropout")
        above(0, self, "level_memory")
        one_of(KINDS, self, "context")


class DetectorState(NamedTuple):
    """Everything carried from epoch to epoch, float32."""

    level: LevelState
    layers: tuple[State, ...]


class EventDetector(nn.Module):
    """Follows `Recurrent`, but for its inputs: `shape` (..., C, 19), `level` (..., C, 7), `mask` (..., C) in 0/1.

    `tasks` is how many yes-or-no questions it answers. Of the encoder, `adapt` and `fuse` are used; what taught it
    stays behind unused.
    """

    def __init__(self, channels: int, tasks: int, settings: DetectorSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.encoder.width
        self.inputs = SpectralInputs(channels, settings.level_memory)
        self.encoder = SynthSleepNet(channels, INPUTS, settings.encoder)
        self.absent = nn.Parameter(torch.randn(channels, width) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(settings.layers))
        self.mixers = nn.ModuleList(
            make_mixer(settings.context, width, d_state=settings.d_state, headdim=settings.headdim)
            for _ in range(settings.layers)
        )
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, tasks))

    def initial_state(self, batch: int) -> DetectorState:
        """The state of a night that has not begun."""
        layers = tuple(cast(Recurrent, mixer).initial_state(batch) for mixer in self.mixers)
        return DetectorState(self.inputs.initial_state(batch), layers)

    def forward(
        self, shape: Tensor, level: Tensor, mask: Tensor, state: DetectorState | None = None
    ) -> tuple[Tensor, DetectorState]:
        """A stretch of epochs, (B, L, C, ...) each -> logits (B, L, K), and the state after it."""
        state = self.initial_state(mask.shape[0]) if state is None else state
        numbers, level_state = self.inputs(shape, level, mask, state.level)
        logits, layers = self._answered(numbers, mask, state.layers, stepwise=False)
        return logits, DetectorState(level_state, layers)

    def step(self, shape: Tensor, level: Tensor, mask: Tensor, state: DetectorState) -> tuple[Tensor, DetectorState]:
        """One epoch, (B, C, ...) each -> logits (B, K) and the next state."""
        numbers, level_state = self.inputs.step(shape, level, mask, state.level)
        logits, layers = self._answered(numbers, mask, state.layers, stepwise=True)
        return logits, DetectorState(level_state, layers)

    def _answered(
        self, numbers: Tensor, mask: Tensor, layers: tuple[State, ...], stepwise: bool
    ) -> tuple[Tensor, tuple[State, ...]]:
        x = self.encoder.encode(numbers, mask) + ((1 - mask).unsqueeze(-1) * self.absent).sum(-2)  # (..., D)
        x = self.dropout(x)
        after = list[State]()
        for index, (norm, mixer) in enumerate(zip(self.norms, self.mixers, strict=True)):
            recurrent = cast(Recurrent, mixer)
            y, state = (recurrent.step if stepwise else recurrent)(norm(x), layers[index])
            x = x + self.dropout(y)
            after.append(state)
        return self.head(x), tuple(after)
