"""The learned front-end of several channels: each has a pretrained encoder, adapted by LoRA or learned whole.

A product's encoder is the frame network alone, one frame at a time. The paper's reads its 27 frames with a transformer
on top (`depth` 4): that looks both ways within the window, and serves comparison, not a stream.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hypnostream.models.frame_network import REFERENCE_FRAME, FrameEncoder, FrameSettings
from hypnostream.models.lora import LoraSettings, adapted, as_given
from hypnostream.models.transformer import Transformer, sinusoidal_positions
from hypnostream.ranges import at_least


@dataclass(frozen=True, slots=True)
class ChannelEncoderSettings:
    """`width` and `heads` are those of the transformer over a window's `frames`; with `depth` 0 there is none."""

    frame: FrameSettings = field(default_factory=FrameSettings)
    depth: int = 0
    width: int = 96
    heads: int = 8
    frames: int = 27

    def __post_init__(self) -> None:
        at_least(0, self, "depth")
        at_least(1, self, "width", "heads", "frames")


REFERENCE_ENCODER = ChannelEncoderSettings(REFERENCE_FRAME, 4, 768, 8)
REFERENCE_LAYERS = ("attn.proj",)  # where the paper puts its LoRA
PRODUCT_LAYERS = ("head.0", "head.2")


class ChannelEncoder(nn.Module):
    """One channel's frames to tokens; `width` is a token's."""

    def __init__(self, settings: ChannelEncoderSettings | None = None) -> None:
        super().__init__()
        s = settings or ChannelEncoderSettings()
        self.settings, self.width = s, s.width if s.depth else s.frame.width
        self.frames = FrameEncoder(s.frame)
        self.embed = nn.Linear(s.frame.width, s.width) if s.depth else None
        self.positions = nn.Parameter(sinusoidal_positions(s.frames, s.width)) if s.depth else None
        self.transformer = Transformer(s.width, s.depth, s.heads) if s.depth else None

    def forward(self, frames: Tensor) -> Tensor:
        """`frames` (B, T, 400) -> (B, T, I)."""
        tokens: Tensor = self.frames(frames)
        if self.embed is not None and self.transformer is not None:
            tokens = self.transformer(self.embed(tokens) + self.positions)
        return tokens


class ChannelEncoders(nn.Module):
    """An encoder a channel, in the order of the channels.

    Each is a copy of the one given, no weight drawn anew. Those of `frozen` stay as they are but for LoRA on their
    layers named `layers`; the others learn whole, which is for channels that nothing was pretrained for, and a copy of
    each as it was given is kept to say the targets.
    """

    def __init__(
        self,
        encoders: Sequence[ChannelEncoder],
        frozen: Sequence[bool],
        lora: LoraSettings | None = None,
        layers: Sequence[str] = PRODUCT_LAYERS,
    ) -> None:
        super().__init__()
        own = [copy.deepcopy(encoder) for encoder in encoders]
        self.width = own[0].width
        for encoder, stays in zip(own, frozen, strict=True):
            if encoder.width != self.width:
                raise ValueError(f"encoders of widths {self.width} and {encoder.width}; give encoders of one width")
            if stays:
                adapted(encoder, layers, lora or LoraSettings())
        self.channels = nn.ModuleList(own)
        self.given = nn.ModuleDict(
            {
                str(c): copy.deepcopy(encoder).requires_grad_(False)
                for c, (encoder, stays) in enumerate(zip(own, frozen, strict=True))
                if not stays
            }
        )

    def forward(self, frames: Tensor) -> Tensor:
        """`frames` (B, T, C, 400) -> (B, T, C, I)."""
        each = [encoder(frames[:, :, c]) for c, encoder in enumerate(self.channels)]
        return torch.stack(each, dim=2)

    @torch.no_grad()
    def targets(self, frames: Tensor) -> Tensor:
        """What the encoders as they were given say, `frames` (B, T, C, 400) -> (B, T, C, I).

        To predict these cannot be made easy: an encoder that learns, and is also the target, comes to say one thing.
        """
        kept = dict(self.given.items())
        with as_given(self):
            each = [kept.get(str(c), encoder)(frames[:, :, c]) for c, encoder in enumerate(self.channels)]
        return torch.stack(each, dim=2)
