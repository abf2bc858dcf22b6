"""The causal sleep stager: spectral tokens, fusion over the channels that are there, context over epochs, five stages.

Forms with one set of weights: `step` (signals of one epoch), `stretch` (signals of several; both are what is exported),
`forward` (features of a stretch of epochs with carried state; this is what is trained), and each in pieces, the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.models.channel_adaptors import ChannelAdaptors
from hypnostream.models.channel_fusion import ChannelFusion
from hypnostream.models.context import KINDS, make_mixer
from hypnostream.models.filling import FILLINGS, Filled, Filling
from hypnostream.models.imaginator import Imagined
from hypnostream.models.normaliser import LevelState
from hypnostream.models.spectral_inputs import INPUTS, SpectralInputs
from hypnostream.models.state import Recurrent, State
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.models.token_features import SpectralTokens
from hypnostream.ranges import above, at_least, below_one, between, one_of, shown


@dataclass(frozen=True, slots=True)
class StagerConfig:
    """Sizes. `wavelet` and `bands` are per channel: see `SpectralTokens`. `level_memory` is in epochs.

    `filling` is what stands for a missing channel and `d_latent` the width of its latent (see `Filling`), `context`
    what carries the past (see `make_mixer`), `fusion_depth` how often the channels of an epoch look at one another.
    """

    wavelet: tuple[bool, ...] = (True, False, False)
    bands: tuple[int, ...] = (5, 5, 4)
    d_model: int = 96
    layers: int = 2
    d_state: int = 16
    headdim: int = 32
    level_memory: float = 240.0
    min_valid_s: int = 10
    dropout: float = 0.2
    filling: str = "absence"
    context: str = "mamba2"
    fusion_depth: int = 0
    d_latent: int = 64

    def __post_init__(self) -> None:
        if len(self.bands) != len(self.wavelet) or not self.bands:
            raise ValueError(
                f"bands {shown(self.bands)} and wavelet {shown(self.wavelet)} must have a value a channel each"
            )
        between(4, 5, self, "bands")
        at_least(1, self, "d_model", "layers", "d_state", "headdim", "d_latent")
        at_least(0, self, "fusion_depth")
        between(0, 30, self, "min_valid_s")
        above(0, self, "level_memory")
        below_one(self, "dropout")
        one_of(FILLINGS, self, "filling")
        one_of(KINDS, self, "context")

    @property
    def channels(self) -> int:
        """How many sensors it has room for."""
        return len(self.wavelet)


class StagerState(NamedTuple):
    """Everything carried from epoch to epoch, float32. Of an ensemble: one level, the others of each member in turn."""

    level: LevelState
    filling: tuple[State, ...]
    layers: tuple[State, ...]


class Staged(NamedTuple):
    """`logits` (B, L, 5) and, for training, what they were made of: channel `tokens` (B, L, C, D), what was imagined of
    them, and the last hidden values (B, L, D)."""

    logits: Tensor
    tokens: Tensor
    imagined: Imagined | None
    hidden: Tensor


class Answer(NamedTuple):
    """What a step says: `probabilities` (B, 5), and each channel's share in it, `weights` (B, C)."""

    probabilities: Tensor
    weights: Tensor


class Stager(nn.Module):
    """See the module's head. Inputs are batch first, one row a bed."""

    def __init__(self, config: StagerConfig) -> None:
        super().__init__()
        self.config = config
        C, D = config.channels, config.d_model
        self.spectral = SpectralTokens(config.wavelet, config.bands, config.min_valid_s).float()
        self.inputs = SpectralInputs(C, config.level_memory)
        self.adaptors = ChannelAdaptors(C, INPUTS, D)
        self.filling = Filling(config.filling, C, D, d_latent=config.d_latent)
        self.fusion = ChannelFusion(D, config.fusion_depth, heads=4)
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(config.layers))
        self.mixers = nn.ModuleList(
            make_mixer(config.context, D, d_state=config.d_state, headdim=config.headdim) for _ in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Sequential(nn.LayerNorm(D), nn.Linear(D, 5))

    def initial_state(self, batch: int) -> StagerState:
        """The state of a night that has not begun."""
        layers = tuple(cast(Recurrent, mixer).initial_state(batch) for mixer in self.mixers)
        return StagerState(self.inputs.initial_state(batch), (self.filling.initial_state(batch),), layers)

    def take(self, pretrained: SynthSleepNet) -> None:
        """Begin with the adaptors and fusion that were trained without labels. Raises ValueError when sizes differ."""
        try:
            self.adaptors.load_state_dict(pretrained.adaptors.state_dict())
            self.fusion.load_state_dict(pretrained.fusion.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the pretrained model does not fit this stager: {error}") from error

    def fuse(self, filled: Filled) -> tuple[Tensor, Tensor]:
        """One token of all channels (..., D), and each channel's share in it (..., C), 0 where there is nothing."""
        fused = self.fusion(filled.tokens, filled.trust)[1] + filled.known
        return self.dropout(fused), filled.trust / filled.trust.sum(-1, keepdim=True).clamp(min=1e-6)

    def decode(self, x: Tensor, layers: tuple[State, ...], stepwise: bool) -> tuple[Tensor, tuple[State, ...]]:
        """Fused tokens, a stretch (B, L, D) or one `stepwise` (B, D), -> hidden (..., D) and the layers' states."""
        after = list[State]()
        for index, (norm, mixer) in enumerate(zip(self.norms, self.mixers, strict=True)):
            recurrent = cast(Recurrent, mixer)
            y, state = (recurrent.step if stepwise else recurrent)(norm(x), layers[index])
            x = x + self.dropout(y)
            after.append(state)
        return x, tuple(after)

    def forward(
        self, shape: Tensor, level: Tensor, mask: Tensor, age_s: Tensor, state: StagerState | None = None
    ) -> tuple[Staged, StagerState]:
        """A stretch of epochs from features, (B, L, C, ...) each, and the state after it."""
        state = self.initial_state(shape.shape[0]) if state is None else state
        numbers, level_state = self.inputs(shape, level, mask, state.level)
        tokens = self.adaptors(numbers)
        filled, filling = self.filling(tokens, mask, age_s, state.filling[0], stepwise=False)
        hidden, layers = self.decode(self.fuse(filled)[0], state.layers, stepwise=False)
        staged = Staged(self.head(hidden), tokens, filled.imagined, hidden)
        return staged, StagerState(level_state, (filling,), layers)

    def step(self, signal_uv: Tensor, valid: Tensor, age_s: Tensor, state: StagerState) -> tuple[Answer, StagerState]:
        """One epoch from signals: (B, C, 3000), (B, C, 30), (B, C) -> what it is, and the next state."""
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
        """See `StagerState`."""
        states = [self._member(index).initial_state(batch) for index in range(len(self.members))]
        filling = tuple(each for state in states for each in state.filling)
        return StagerState(states[0].level, filling, tuple(layer for state in states for layer in state.layers))

    def step(self, signal_uv: Tensor, valid: Tensor, age_s: Tensor, state: StagerState) -> tuple[Answer, StagerState]:
        """As `Stager.step`."""
        first = self._member(0)
        shape, level, mask = first.spectral(signal_uv, valid)
        numbers, level_state = first.inputs.step(shape, level, mask, state.level)
        return self._answer(numbers, mask, age_s, state._replace(level=level_state), stepwise=True)

    def stretch(
        self, signal_uv: Tensor, valid: Tensor, age_s: Tensor, state: StagerState
    ) -> tuple[Answer, StagerState]:
        """Steps one after the other as one: (B, L, C, 3000), (B, L, C, 30), (B, L, C) -> answers (B, L, ...)."""
        first, epochs = self._member(0), signal_uv.shape[:2]
        features = first.spectral(signal_uv.flatten(0, 1), valid.flatten(0, 1))
        shape, level, mask = (feature.reshape(*epochs, *feature.shape[1:]) for feature in features)
        numbers, level_state = first.inputs(shape, level, mask, state.level)
        return self._answer(numbers, mask, age_s, state._replace(level=level_state), stepwise=False)

    def _answer(
        self, numbers: Tensor, mask: Tensor, age_s: Tensor, state: StagerState, stepwise: bool
    ) -> tuple[Answer, StagerState]:
        """What all members make of the front-end's numbers (B, C, I), or (B, L, C, I), and the state after it."""
        depth = self.config.layers
        probabilities, weights, fillings, layers = [], [], list[State](), list[State]()
        for index in range(len(self.members)):
            member = self._member(index)
            tokens = member.adaptors(numbers)
            filled, filling = member.filling(tokens, mask, age_s, state.filling[index], stepwise)
            fused, share = member.fuse(filled)
            own = state.layers[index * depth : (index + 1) * depth]
            hidden, after = member.decode(fused, own, stepwise)
            probabilities.append(F.softmax(member.head(hidden), dim=-1))
            weights.append(share)
            fillings.append(filling)
            layers += after
        answer = Answer(torch.stack(probabilities).mean(0), torch.stack(weights).mean(0))
        return answer, StagerState(state.level, tuple(fillings), tuple(layers))
