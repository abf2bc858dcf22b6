"""The causal sleep stager: spectral tokens, fusion over the channels that are there, Mamba-2 over epochs, five stages.

Three forms with one set of weights: `step` (signals of one epoch; this is what is exported), `forward` (features of a
stretch of epochs with carried state; this is what is trained), and `forward` in pieces, which is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.models.mamba2 import Mamba2, MambaState
from hypnostream.models.normaliser import LevelState, RunningLevel
from hypnostream.models.token_features import LEVEL, SHAPE, SpectralTokens

MAX_AGE_S = 3600.0  # a channel gone for an hour is gone for good


@dataclass(frozen=True, slots=True)
class StagerConfig:
    """Sizes. `wavelet` and `bands` are per channel: see `SpectralTokens`. `level_memory` is in epochs."""

    wavelet: tuple[bool, ...] = (True, False, False)
    bands: tuple[int, ...] = (5, 5, 4)
    d_model: int = 96
    layers: int = 2
    d_state: int = 16
    headdim: int = 32
    level_memory: float = 240.0
    min_valid_s: int = 10
    dropout: float = 0.2

    @property
    def channels(self) -> int:
        """How many sensors it has room for."""
        return len(self.wavelet)


class StagerState(NamedTuple):
    """Everything carried from epoch to epoch, float32."""

    level: LevelState
    layers: tuple[MambaState, ...]


def flatten_state(state: StagerState) -> dict[str, Tensor]:
    """A state as named tensors, in the order of the graph's inputs."""
    out = {f"level_{name}": value for name, value in state.level._asdict().items()}
    for index, layer in enumerate(state.layers):
        out |= {f"conv_{index}": layer.conv, f"ssm_{index}": layer.ssm}
    return out


def unflatten_state(values: list[Tensor]) -> StagerState:
    """The inverse of `flatten_state`, by order."""
    pairs = zip(values[3::2], values[4::2], strict=True)
    return StagerState(LevelState(*values[:3]), tuple(MambaState(conv, ssm) for conv, ssm in pairs))


class Stager(nn.Module):
    """See the module's head. Inputs are batch first, one row a bed."""

    shape_mean: Tensor
    shape_std: Tensor

    def __init__(self, config: StagerConfig) -> None:
        super().__init__()
        self.config = config
        C, D = config.channels, config.d_model
        self.tokens = SpectralTokens(config.wavelet, config.bands, config.min_valid_s).float()
        self.register_buffer("shape_mean", torch.zeros(C, SHAPE))
        self.register_buffer("shape_std", torch.ones(C, SHAPE))
        self.running_level = RunningLevel(C, LEVEL + SHAPE, config.level_memory)
        width = SHAPE + 2 * (LEVEL + SHAPE)
        self.embed_weight = nn.Parameter(torch.randn(C, width, D) / width**0.5)
        self.embed_bias = nn.Parameter(torch.zeros(C, D))
        self.token = nn.Sequential(nn.LayerNorm(D), nn.GELU(), nn.Linear(D, D))
        # What a channel says by its absence, and by how long it has been absent.
        self.absent = nn.Parameter(torch.randn(C, D) * 0.1)
        self.absent_age = nn.Parameter(torch.zeros(C, D))
        self.fusion = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, D))
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(config.layers))
        self.mixers = nn.ModuleList(Mamba2(D, config.d_state, headdim=config.headdim) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 5))

    def initial_state(self, batch: int) -> StagerState:
        """The state of a night that has not begun."""
        level = self.running_level.initial_state(batch, self.embed_bias)
        return StagerState(level, tuple(self._mixer(i).initial_state(batch) for i in range(self.config.layers)))

    def _mixer(self, index: int) -> Mamba2:
        return cast(Mamba2, self.mixers[index])

    def fuse(self, shape: Tensor, relative: Tensor, mask: Tensor, age_s: Tensor) -> Tensor:
        """`shape` (..., C, 19), `relative` (..., C, 52) of `RunningLevel`, `mask` and `age_s` (..., C) -> (..., D)."""
        absolute = ((shape - self.shape_mean) / self.shape_std).clamp(-6, 6)
        centred, standardised = torch.split(relative, LEVEL + SHAPE, dim=-1)
        centred = (centred / self.running_level.prior_spread).clamp(-6, 6)
        x = torch.cat([absolute, centred, standardised.clamp(-6, 6)], dim=-1) * mask.unsqueeze(-1)  # (..., C, 71)
        # A product a channel: one broadcast product would copy the weights for each row of the batch.
        each = [x[..., c, :] @ self.embed_weight[c] for c in range(self.config.channels)]
        x = torch.stack(each, dim=-2) + self.embed_bias  # (..., C, D)
        x = self.token(x) * mask.unsqueeze(-1)
        mean = x.sum(-2) / mask.sum(-1, keepdim=True).clamp(min=1.0)  # (..., D)
        age = torch.log1p(age_s.clamp(0, MAX_AGE_S) / 30.0).unsqueeze(-1)  # (..., C, 1)
        absent = ((self.absent + age * self.absent_age) * (1 - mask).unsqueeze(-1)).sum(-2)
        fused: Tensor = self.dropout(self.fusion(mean + absent))
        return fused

    def decode(
        self, x: Tensor, layers: tuple[MambaState, ...], stepwise: bool
    ) -> tuple[Tensor, tuple[MambaState, ...]]:
        """Fused tokens, a stretch (B, L, D) or one `stepwise` (B, D), -> logits (..., 5) and the layers' states."""
        after = []
        for index, norm in enumerate(self.norms):
            mixer = self._mixer(index)
            y, state = (mixer.step if stepwise else mixer)(norm(x), layers[index])
            x = x + self.dropout(y)
            after.append(state)
        return self.head(x), tuple(after)

    def forward(
        self, shape: Tensor, level: Tensor, mask: Tensor, age_s: Tensor, state: StagerState | None = None
    ) -> tuple[Tensor, StagerState]:
        """A stretch of epochs from features, (B, L, C, ...) each -> logits (B, L, 5) and the state after it."""
        state = self.initial_state(shape.shape[0]) if state is None else state
        relative, level_state = self.running_level(torch.cat([level, shape], dim=-1), mask, state.level)
        logits, layers = self.decode(self.fuse(shape, relative, mask, age_s), state.layers, stepwise=False)
        return logits, StagerState(level_state, layers)

    def step(self, signal_uv: Tensor, valid: Tensor, age_s: Tensor, state: StagerState) -> tuple[Tensor, StagerState]:
        """One epoch from signals: (B, C, 3000), (B, C, 30), (B, C) -> probabilities (B, 5) and the next state."""
        return StagerEnsemble([self]).step(signal_uv, valid, age_s, state)


class StagerEnsemble(nn.Module):
    """Stagers that differ in their seed alone, asked together: the mean of their probabilities.

    They share the front-end and the running level, so that a member costs only its own recurrence.
    """

    def __init__(self, members: Sequence[Stager]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if len({member.config for member in members}) != 1:
            raise ValueError("the members of an ensemble need one and the same config")

    @property
    def config(self) -> StagerConfig:
        """What each member is like."""
        return self._member(0).config

    def _member(self, index: int) -> Stager:
        return cast(Stager, self.members[index])

    def initial_state(self, batch: int) -> StagerState:
        """One level, and the layers of all members one after the other."""
        states = [self._member(index).initial_state(batch) for index in range(len(self.members))]
        return StagerState(states[0].level, tuple(layer for state in states for layer in state.layers))

    def step(self, signal_uv: Tensor, valid: Tensor, age_s: Tensor, state: StagerState) -> tuple[Tensor, StagerState]:
        """As `Stager.step`."""
        first, depth = self._member(0), self.config.layers
        shape, level, mask = first.tokens(signal_uv, valid)
        relative, level_state = first.running_level.step(torch.cat([level, shape], dim=-1), mask, state.level)
        probabilities, layers = [], list[MambaState]()
        for index in range(len(self.members)):
            member = self._member(index)
            own = state.layers[index * depth : (index + 1) * depth]
            logits, after = member.decode(member.fuse(shape, relative, mask, age_s), own, stepwise=True)
            probabilities.append(F.softmax(logits, dim=-1))
            layers += after
        mean = torch.stack(probabilities).mean(0)
        return mean, StagerState(level_state, tuple(layers))
