"""A plain pre-norm transformer: the scaffold of pretraining, and attention wherever a set of tokens is read at once.

After Vaswani et al., "Attention is all you need" (2017), with the normalisation before each part (Xiong et al. 2020).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"heads {heads} do not divide width {width}; choose a number that does")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """`x` (B, L, D), `seen` (B or 1, 1, L, L) true where row may look at column -> (B, L, D)."""
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  # (B, H, L, D/H)
        out: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return out


class Block(nn.Module):
    """Attention, then a small network for each token; both are added to what comes in."""

    def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.fc1, self.fc2 = nn.Linear(width, mlp_ratio * width), nn.Linear(mlp_ratio * width, width)

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x = x + self.attn(self.norm1(x), seen)
        out: Tensor = x + self.fc2(F.gelu(self.fc1(self.norm2(x))))
        return out


class Transformer(nn.Module):
    """`depth` blocks and a last normalisation. It knows no positions: those are added to the tokens before."""

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.width = width
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, causal: bool = False, present: Tensor | None = None) -> Tensor:
        """`x` (B, L, D) -> (B, L, D). `causal`: a token sees those before it and itself.

        `present` (B, L) bool: tokens that are not there are seen by themselves alone, so that nothing becomes NaN.
        """
        length = x.shape[1]
        seen = torch.ones(1, 1, length, length, dtype=torch.bool, device=x.device) if causal else None
        if seen is not None:
            seen = seen.tril()
        if present is not None:
            there = present[:, None, None, :] if seen is None else present[:, None, None, :] & seen
            seen = there | torch.eye(length, dtype=torch.bool, device=x.device)
        for block in self.blocks:
            x = block(x, seen)
        out: Tensor = self.norm(x)
        return out


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Fixed positions (length, width): sines in the first half, cosines in the second (Vaswani et al. 2017)."""
    place = torch.arange(length, dtype=torch.float32)[:, None]
    rate = 10_000 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
    return torch.cat([torch.sin(place * rate), torch.cos(place * rate)], dim=-1)[:, :width]
