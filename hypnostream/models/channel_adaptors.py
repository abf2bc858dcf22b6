"""Each channel's numbers, whatever they are, as a token of the model's width: its own layers, and its name."""

import torch
from torch import Tensor, nn


class ChannelAdaptors(nn.Module):
    """Linear, LayerNorm, ELU, Linear a channel, plus a learned modality token, as in SynthSleepNet (arXiv:2502.17481).

    Tokens leave with mean 0 and variance 1: of tokens of any size, small ones would be the easiest to predict.
    """

    def __init__(self, channels: int, inputs: int, width: int) -> None:
        super().__init__()
        self.each = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, width), nn.LayerNorm(width), nn.ELU(), nn.Linear(width, width))
            for _ in range(channels)
        )
        self.modality = nn.Parameter(torch.randn(channels, width) * 0.02)
        self.norm = nn.LayerNorm(width, elementwise_affine=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """(..., C, I) -> (..., C, D)."""
        tokens = torch.stack([adaptor(numbers[..., c, :]) for c, adaptor in enumerate(self.each)], dim=-2)
        normed: Tensor = self.norm(tokens + self.modality)
        return normed
