"""The learned front-end of a bundle: raw signals to a token a second and channel, scaled by what came before.

Frames as step 1 was trained on (`frame_window.py`, `frame_scale.py`), each channel by the encoder of its kind or by its
own (`frame_network.py`).
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from hypnostream.models.frame_network import FrameEncoder, FrameSettings
from hypnostream.models.frame_scale import FrameScale, ScaleState
from hypnostream.models.frame_window import WindowState, framed, initial_window


class FrontState(NamedTuple):
    """float32. The scale's sums are kept as their difference from the beginning, so that zeros are the beginning."""

    window: WindowState
    scale: ScaleState


class ChannelTokens(NamedTuple):
    """Second by second; where nothing is `there` a token is of no meaning."""

    tokens: Tensor  # (B, L 30, C, I)
    there: Tensor  # (B, L 30, C) in 0/1
    age_s: Tensor  # (B, L 30, C)


class FrameFront(nn.Module):
    """`encoder_of` says for each channel which of the encoders is its; `usual` is its usual mean |x| in its unit."""

    def __init__(self, encoder_of: Sequence[int], usual: Sequence[float], settings: FrameSettings) -> None:
        super().__init__()
        self.encoder_of, self.width = tuple(encoder_of), settings.width
        # float32, as the graph of a bundle is: a matrix of 30 seconds loses nothing by it.
        self.scale = FrameScale(usual, dtype=torch.float32)
        self.encoders = nn.ModuleList(FrameEncoder(settings) for _ in range(max(self.encoder_of) + 1))

    def initial_state(self, batch: int) -> FrontState:
        """The state of a night that has not begun: zeros."""
        window = initial_window(batch, len(self.encoder_of), self.scale.prior)
        return FrontState(window, ScaleState(torch.zeros_like(window.left_s), torch.zeros_like(window.left_s)))

    def forward(
        self, signal: Tensor, valid: Tensor, age_s: Tensor, state: FrontState
    ) -> tuple[ChannelTokens, FrontState]:
        """`signal` (B, L, C, 3000), `valid` (B, L, C, 30), `age_s` (B, L, C) -> tokens and the state after them."""
        found, window = framed(signal, valid, age_s, state.window)
        first = self.scale.initial_state(1)
        sums = ScaleState(state.scale.total + first.total, state.scale.weight + first.weight)
        scaled, sums = self.scale(found.frames, found.there, sums)
        after = ScaleState(sums.total - first.total, sums.weight - first.weight)
        return ChannelTokens(self.encode(scaled), found.there, found.age_s), FrontState(window, after)

    def encode(self, scaled: Tensor) -> Tensor:
        """Scaled frames (B, S, C, 400) -> tokens (B, S, C, I)."""
        return torch.stack(
            [cast(FrameEncoder, self.encoders[e])(scaled[:, :, c]) for c, e in enumerate(self.encoder_of)], dim=2
        )
