"""Windows of frames for pretraining: two channels that hold one wave, each window another, so that it can be told."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hypnostream.training.nights.windows import Place


class WaveWindows:
    """`count` windows of six frames, from slow to quick; with `fading` the quick ones are smaller."""

    def __init__(self, count: int, fading: bool = False) -> None:
        self.count, self.fading = count, fading

    def __len__(self) -> int:
        return self.count

    def places(self, rows: Sequence[int], generator: torch.Generator) -> list[Place]:
        """Window by window, each from its beginning."""
        return [Place(row, 0) for row in rows]

    def mask(self, places: Sequence[Place]) -> Tensor:
        """Both channels are always there: (B, 6, 2)."""
        return torch.ones(len(places), 6, 2, dtype=torch.bool)

    def inputs(self, places: Sequence[Place]) -> Tensor:
        """(B, 6, 2, 400)."""
        t = torch.arange(6)[:, None, None] + torch.arange(400) / 100  # (6, 1, 400)
        size = [1 + place.night / 8 if self.fading else 1.0 for place in places]
        waves = [torch.sin(2 * torch.pi * (1 + p.night) * t) / s for p, s in zip(places, size, strict=True)]
        return torch.stack(waves).expand(-1, -1, 2, -1)
