"""A token a second and channel to a stage an epoch: imagination, fusion, context among seconds and among epochs."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from hypnostream.models.channel_adaptors import ChannelAdaptors
from hypnostream.models.channel_fusion import ChannelFusion
from hypnostream.models.context import KINDS
from hypnostream.models.filling import FILLINGS, Filling
from hypnostream.models.frame_window import EPOCH_S
from hypnostream.models.multi_level import MultiLevel, MultiLevelState
from hypnostream.models.stager import Staged
from hypnostream.models.state import State
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.ranges import above, at_least, below_one, one_of


@dataclass(frozen=True, slots=True)
class SecondsConfig:
    """Sizes. `filling` is what stands for a missing channel (see `Filling`), its memory in seconds; `context` is what
    carries the past at both clocks (see `make_mixer`), `seconds_context` among seconds where that is another, `past_s`
    and `past_epochs` how far its attention looks back."""

    d_model: int = 96
    fusion_depth: int = 1
    filling: str = "imagination"
    memory_s: float = 3600.0
    d_latent: int = 64
    context: str = "mamba2"
    seconds_context: str | None = None
    past_s: int = 30
    past_epochs: int = 25
    d_state: int = 16
    headdim: int = 32
    dropout: float = 0.15

    def __post_init__(self) -> None:
        at_least(1, self, "d_model", "d_latent", "past_s", "past_epochs", "d_state", "headdim")
        at_least(0, self, "fusion_depth")
        above(0, self, "memory_s")
        below_one(self, "dropout")
        one_of(FILLINGS, self, "filling")
        one_of(KINDS, self, "context", *(() if self.seconds_context is None else ("seconds_context",)))


class SecondsState(NamedTuple):
    """Carried from epoch to epoch, float32, zeros at the beginning."""

    filling: State
    context: MultiLevelState


class SecondsStager(nn.Module):
    """`inputs` is the width of a channel's token."""

    def __init__(self, channels: int, inputs: int, config: SecondsConfig) -> None:
        super().__init__()
        c = config
        self.adaptors = ChannelAdaptors(channels, inputs, c.d_model)
        self.filling = Filling(c.filling, channels, c.d_model, c.memory_s, c.d_latent)
        self.fusion = ChannelFusion(c.d_model, c.fusion_depth, heads=4)
        self.dropout = nn.Dropout(c.dropout)
        self.context = MultiLevel(
            c.d_model,
            c.context,
            seconds_kind=c.seconds_context,
            past_s=c.past_s,
            past_epochs=c.past_epochs,
            d_state=c.d_state,
            headdim=c.headdim,
            dropout=c.dropout,
        )
        self.head = nn.Sequential(nn.LayerNorm(c.d_model), nn.Linear(c.d_model, 5))

    def initial_state(self, batch: int) -> SecondsState:
        """The state of a night that has not begun."""
        return SecondsState(self.filling.initial_state(batch), self.context.initial_state(batch))

    def take(self, pretrained: SynthSleepNet) -> None:
        """Begin with the adaptors and fusion that were trained without labels. Raises ValueError when sizes differ."""
        try:
            self.adaptors.load_state_dict(pretrained.adaptors.state_dict())
            self.fusion.load_state_dict(pretrained.fusion.state_dict())
        except RuntimeError as error:
            raise ValueError(f"the pretrained model does not fit this stager: {error}") from error

    def forward(
        self, tokens: Tensor, there: Tensor, age_s: Tensor, state: SecondsState
    ) -> tuple[Staged, Tensor, SecondsState]:
        """Whole epochs: `tokens` (B, L 30, C, I), `there` and `age_s` (B, L 30, C) -> what is said of each epoch, each
        channel's share in it (B, L, C), and the state after them.

        In `Staged`, channel tokens are those of seconds (B, L 30, C, D).
        """
        tokens = self.adaptors(tokens)
        filled, filling = self.filling(tokens, there, age_s, state.filling, stepwise=False)
        fused = self.dropout(self.fusion(filled.tokens, filled.trust)[1] + filled.known)  # (B, L 30, D)
        epochs = tokens.shape[1] // EPOCH_S
        by_epoch = fused.reshape(-1, epochs, EPOCH_S, fused.shape[-1])  # (B, L, 30, D)
        hidden, context = self.context(by_epoch, state.context)
        share = filled.trust / filled.trust.sum(-1, keepdim=True).clamp(min=1e-6)  # (B, L 30, C)
        share = share.reshape(-1, epochs, EPOCH_S, share.shape[-1]).mean(2)
        staged = Staged(self.head(hidden), tokens, filled.imagined, hidden)
        return staged, share, SecondsState(filling, context)
