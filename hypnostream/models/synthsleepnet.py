"""SynthSleepNet, causal where it is deployed: channel tokens are adapted, fused moment by moment, and pretrained by
predicting each channel from all.

After "Toward Foundational Model for Sleep Analysis Using a Multimodal Hybrid SSL Framework", arXiv:2502.17481, and
for dropped channels PhysioME, arXiv:2510.11110. A moment is a second (learned frames) or an epoch (spectral tokens);
the model does not know which: it reads (B, T, C, I) from whatever makes tokens.

What is kept after training is `adapt` and `fuse`, which look at one moment alone. The scaffold, which looks at a whole
window in both directions, and the decoders exist to teach them. In the paper the scaffold reads the kept tokens of all
channels side by side (T * C of them), which no stream can; here it reads the fused token of each moment, so that
whatever it knows of a channel has gone through `fuse`. `joint` gives the paper's way.

    B  batch    T  moments of a window    C  channels    I  width of a channel's token    D  width of the model
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.channel_adaptors import ChannelAdaptors
from hypnostream.models.channel_fusion import ChannelFusion
from hypnostream.models.transformer import Transformer, sinusoidal_positions
from hypnostream.ranges import at_least


@dataclass(frozen=True, slots=True)
class SynthSleepNetSettings:
    """Sizes; the defaults are the product's. `projection` are the hidden and the last width of what is contrasted."""

    width: int = 96
    heads: int = 4
    fusion_depth: int = 1
    scaffold_depth: int = 2
    decoder_width: int = 64
    decoder_depth: int = 1
    decoder_heads: int = 4
    projection: tuple[int, int] = (96, 64)
    joint: bool = False

    def __post_init__(self) -> None:
        at_least(0, self, "fusion_depth", "scaffold_depth", "decoder_depth")
        at_least(1, self, "width", "heads", "decoder_width", "decoder_heads", "projection")


REFERENCE_MODEL = SynthSleepNetSettings(512, 8, 0, 4, 256, 3, 8, (512, 256), joint=True)


class Window(NamedTuple):
    """What a window gave in training. `adapted` and `fused` are those of a stream; `predicted` is each channel's token
    as its decoder would have it, and `together` what is contrasted with the single channels."""

    adapted: Tensor  # (B, T, C, D)
    fused: Tensor  # (B, T, D)
    together: Tensor  # (B, D)
    predicted: Tensor  # (B, T, C, I)


class SynthSleepNet(nn.Module):
    """See the module's head. `inputs` is the width of a channel's token."""

    def __init__(self, channels: int, inputs: int, settings: SynthSleepNetSettings | None = None) -> None:
        super().__init__()
        s = settings or SynthSleepNetSettings()
        self.settings, self.channels, self.inputs = s, channels, inputs
        self.adaptors = ChannelAdaptors(channels, inputs, s.width)
        self.fusion = ChannelFusion(s.width, s.fusion_depth, s.heads)
        self.scaffold = Transformer(s.width, s.scaffold_depth, s.heads)
        self.decoders = nn.ModuleList(ChannelDecoder(inputs, s) for _ in range(channels))
        self.project_fused = _projector(s)
        self.project_channel = nn.ModuleList(_projector(s) for _ in range(channels))

    def adapt(self, tokens: Tensor) -> Tensor:
        """`tokens` (..., C, I) -> (..., C, D), each channel by its own layers and with its name."""
        adapted: Tensor = self.adaptors(tokens)
        return adapted

    def fuse(self, adapted: Tensor, mask: Tensor) -> Tensor:
        """`adapted` (..., C, D), `mask` (..., C) -> (..., D): one moment's channels in one token."""
        fused: Tensor = self.fusion(adapted, mask)[1]
        return fused

    def encode(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """`tokens` (..., C, I), `mask` (..., C) -> (..., D): what a stream runs, and what is probed."""
        return self.fuse(self.adapt(tokens), mask)

    def forward(self, tokens: Tensor, kept: Tensor) -> Window:
        """A window: `tokens` (B, T, C, I), of which only those with `kept` (B, T, C) true are looked at."""
        adapted = self.adapt(torch.where(kept.unsqueeze(-1), tokens, torch.zeros_like(tokens)))  # (B, T, C, D)
        own, fused = self.fusion(adapted, kept.to(adapted.dtype))
        places = sinusoidal_positions(tokens.shape[1], self.settings.width).to(adapted)  # (T, D)
        if self.settings.joint:
            # The paper's scaffold: the kept tokens of all channels and moments read one another.
            everything = (own + places.unsqueeze(1)).flatten(1, 2)  # (B, T * C, D)
            read = self.scaffold(everything, present=kept.flatten(1, 2))
            own, together = read.reshape(own.shape), _mean(read, kept.flatten(1, 2))
            context = together.unsqueeze(1).expand_as(fused)
        else:
            context = self.scaffold(fused + places)
            together = _mean(fused, kept.any(-1))
        return Window(adapted, fused, together, self.decode(own, context, kept))

    def decode(self, own: Tensor, context: Tensor, kept: Tensor) -> Tensor:
        """Each channel's tokens from its own kept ones and the context: `own` (B, T, C, D), `context` (B, T, D), `kept`
        (B, T, C) -> (B, T, C, I). No decoder sees another channel's `own`."""
        each = [decoder(own[:, :, c], context, kept[:, :, c]) for c, decoder in enumerate(self.decoders)]
        return torch.stack(each, dim=2)

    def contrasted(self, window: Window, kept: Tensor) -> tuple[Tensor, Tensor]:
        """What NT-Xent compares: the window as a whole (B, P), and each channel's part of it (B, C, P)."""
        means = [_mean(window.adapted[:, :, c], kept[:, :, c]) for c in range(self.channels)]  # C of (B, D)
        parts = [project(mean) for project, mean in zip(self.project_channel, means, strict=True)]
        return self.project_fused(window.together), torch.stack(parts, dim=1)


class ChannelDecoder(nn.Module):
    """One channel's tokens from those of it that were kept and what the others know."""

    def __init__(self, inputs: int, s: SynthSleepNetSettings) -> None:
        super().__init__()
        self.enter = nn.Linear(s.width, s.decoder_width)
        self.masked = nn.Parameter(torch.randn(s.decoder_width) * 0.02)
        self.transformer = Transformer(s.decoder_width, s.decoder_depth, s.decoder_heads)
        self.leave = nn.Linear(s.decoder_width, inputs)

    def forward(self, own: Tensor, context: Tensor, kept: Tensor) -> Tensor:
        """`own` and `context` (B, T, D), `kept` (B, T) -> (B, T, I)."""
        there = kept.unsqueeze(-1)
        x = self.enter(torch.where(there, own, torch.zeros_like(own)) + context)  # (B, T, d)
        x = x + torch.where(there, torch.zeros_like(self.masked), self.masked)
        x = x + sinusoidal_positions(x.shape[1], x.shape[2]).to(x)
        return self.leave(self.transformer(x))  # type: ignore[no-any-return]


def _projector(s: SynthSleepNetSettings) -> nn.Sequential:
    hidden, out = s.projection
    return nn.Sequential(nn.Linear(s.width, hidden), nn.LayerNorm(hidden), nn.ELU(), nn.Linear(hidden, out))


def _mean(tokens: Tensor, chosen: Tensor) -> Tensor:
    """The mean of the chosen of `tokens` (B, T, D), `chosen` (B, T); zero where none is: (B, D)."""
    weight = chosen.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1.0)
