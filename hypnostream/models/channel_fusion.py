"""One moment's channel tokens become one token, whatever channels there are: what a stream runs each second or epoch.

The tokens of a moment attend to one another and to a summary that is always there, so with nothing available the
answer is what was learned to say then, never NaN. Nothing is carried over: it is the same live and in training.
"""

import torch
from torch import Tensor, nn

from hypnostream.models.transformer import Block

NOTHING = -1e9  # what is added to the attention to an absent channel: exp of it is exactly zero


class ChannelFusion(nn.Module):
    """Attention over channels. With `depth` 0 it is the mean of the available tokens, normalised, as in the paper."""

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: int = 2) -> None:
        super().__init__()
        self.width = width
        self.summary = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """`tokens` (..., C, D), `mask` (..., C) -> each channel's token as it knows of the others (..., C, D), zero
        where absent, and all in one (..., D).

        `mask` is 1 where a channel is there and 0 where not (its token may then be anything, NaN too); in between it
        is how far a token is trusted.
        """
        there = (mask > 0).unsqueeze(-1)  # (..., C, 1)
        own = torch.where(there, tokens, torch.zeros_like(tokens))
        summary: Tensor = self.summary
        if self.blocks:
            summary, own = self._attended(own, mask)
            own = own * there
        weight = mask / mask.sum(-1, keepdim=True).clamp(min=1e-6)  # (..., C)
        return own, self.norm(summary + (own * weight.unsqueeze(-1)).sum(-2))

    def _attended(self, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The summary (..., D) and the tokens (..., C, D) after they have looked at one another."""
        channels = mask.shape[-1]
        flat, trust = tokens.reshape(-1, channels, self.width), mask.reshape(-1, channels)  # (M, C, D), (M, C)
        x = torch.cat([self.summary.expand(flat.shape[0], 1, self.width), flat], dim=1)  # (M, 1+C, D)
        lean = torch.where(trust > 0, torch.log(trust.clamp(min=1e-6)), torch.full_like(trust, NOTHING))
        lean = torch.cat([torch.zeros_like(lean[:, :1]), lean], dim=1).unsqueeze(1).unsqueeze(1)  # (M, 1, 1, 1+C)
        for block in self.blocks:
            x = block(x, lean)
        return x[:, 0].reshape(*mask.shape[:-1], self.width), x[:, 1:].reshape(tokens.shape)
