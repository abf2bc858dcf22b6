"""The learned front-end: four seconds of one channel become a token, each frame by itself.

After the multi-scale frame network of NeuroNet and SynthSleepNet (arXiv:2502.17481): one stem, three residual branches
of kernels 3, 5 and 7 with squeeze-excitation (Hu et al. 2018), and a small network on what they pooled.

Where those use BatchNorm, this normalises each frame alone (GroupNorm of one group): a live stream is a batch of one,
and training on several machines must equal training on one. A frame's size is lost in that, and slow waves are large,
so the frame's level and the level of its slope are handed to the last layers beside what the branches found.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.ranges import at_least, shown

FRAME_SAMPLES = 400


@dataclass(frozen=True, slots=True)
class FrameSettings:
    """Sizes. `planes` and `strides` are those of a branch's stages, `pools` the span of each branch's last average.

    The defaults are the product's; `REFERENCE_FRAME` are the paper's.
    """

    stem: int = 16
    planes: tuple[int, ...] = (16, 32, 48)
    strides: tuple[int, ...] = (2, 2, 2)
    kernels: tuple[int, ...] = (3, 5, 7)
    pools: tuple[int, ...] = (10, 5, 1)
    squeeze: int = 8
    hidden: int = 128
    width: int = 96

    def __post_init__(self) -> None:
        at_least(1, self, "stem", "planes", "strides", "pools", "squeeze", "hidden", "width")
        at_least(3, self, "kernels")
        if len(self.planes) != len(self.strides) or len(self.kernels) != len(self.pools):
            raise ValueError(
                f"{len(self.planes)} planes need as many strides, not {len(self.strides)}, and "
                f"{len(self.kernels)} kernels as many pools, not {len(self.pools)}"
            )
        if not self.planes or not self.kernels:
            raise ValueError("planes and kernels must be one or more")
        if self.squeeze > min(self.planes):
            raise ValueError(f"squeeze is {self.squeeze}; it must be at most the fewest planes, {min(self.planes)}")
        for kernel, pool in zip(self.kernels, self.pools, strict=True):
            left = self.left_by(kernel)
            if pool > left:
                raise ValueError(
                    f"pools are {shown(self.pools)}: a branch of kernel {kernel} leaves {left} values of a frame to "
                    f"average, fewer than {pool}; choose smaller pools, kernels or strides"
                )

    def left_by(self, kernel: int) -> int:
        """How many values of a frame a branch of this kernel ends in, before its average; below 1: none."""
        left = FRAME_SAMPLES // 4  # after the stem
        for stride in self.strides:
            left = (left + 2 - kernel) // stride + 1
            left += 3 - kernel
        return left


REFERENCE_FRAME = FrameSettings(
    stem=64,
    planes=(64, 128, 128, 256),
    strides=(1, 1, 2, 2),
    pools=(16, 11, 6),
    squeeze=16,
    hidden=3328,
    width=3328,
)


class SqueezeExcitation(nn.Module):
    """Each plane is weighted by what all planes are on average."""

    def __init__(self, planes: int, squeeze: int) -> None:
        super().__init__()
        self.down = nn.Linear(planes, planes // squeeze, bias=False)
        self.up = nn.Linear(planes // squeeze, planes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, P, L) -> (N, P, L)."""
        weight = torch.sigmoid(self.up(F.relu(self.down(x.mean(-1)))))  # (N, P)
        return x * weight.unsqueeze(-1)


class ResidualBlock(nn.Module):
    """Two convolutions, squeeze-excitation, and what came in added.

    The padding is 1 whatever the kernel, as in the reference; what came in is cut to what is left, the same either end.
    """

    def __init__(self, planes_in: int, planes: int, kernel: int, stride: int, squeeze: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(planes_in, planes, kernel, stride, padding=1, bias=False)
        self.conv2 = nn.Conv1d(planes, planes, kernel, padding=1, bias=False)
        self.norm1, self.norm2 = nn.GroupNorm(1, planes), nn.GroupNorm(1, planes)
        self.excite = SqueezeExcitation(planes, squeeze)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or planes_in != planes:
            self.shortcut = nn.Conv1d(planes_in, planes, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, P_in, L) -> (N, P, about L / stride)."""
        y = F.elu(self.norm1(self.conv1(x)))
        y = self.excite(self.norm2(self.conv2(y)))
        past = self.shortcut(x)
        surplus = past.shape[-1] - y.shape[-1]
        start = surplus // 2
        return F.elu(y + past[..., start : past.shape[-1] - (surplus - start)])


class FrameEncoder(nn.Module):
    """Frames to tokens; `width` is the token's. A frame's token depends on nothing but that frame."""

    def __init__(self, settings: FrameSettings | None = None) -> None:
        super().__init__()
        s = settings or FrameSettings()
        self.settings, self.width = s, s.width
        self.stem = nn.Sequential(
            nn.Conv1d(1, s.stem, 7, stride=2, padding=3, bias=False),
            nn.GroupNorm(1, s.stem),
            nn.ELU(),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(
                    ResidualBlock(before, planes, kernel, stride, s.squeeze)
                    for before, planes, stride in zip((s.stem, *s.planes[:-1]), s.planes, s.strides, strict=True)
                ),
                nn.AvgPool1d(pool, stride=1),
                nn.Flatten(),
            )
            for kernel, pool in zip(s.kernels, s.pools, strict=True)
        )
        with torch.no_grad():
            found = self._found(torch.zeros(1, FRAME_SAMPLES)).shape[-1]
        self.head = nn.Sequential(nn.Linear(found, s.hidden), nn.ELU(), nn.Linear(s.hidden, s.width))

    def forward(self, frames: Tensor) -> Tensor:
        """`frames` (..., 400), scaled by `FrameScale` -> (..., d)."""
        tokens: Tensor = self.head(self._found(frames.reshape(-1, FRAME_SAMPLES)))
        return tokens.reshape(*frames.shape[:-1], self.width)

    def _found(self, frames: Tensor) -> Tensor:
        stem = self.stem(frames.unsqueeze(1))  # (N, P, 100)
        slope = frames[:, 1:] - frames[:, :-1]
        levels = [0.5 * torch.log(x.square().mean(-1, keepdim=True) + 1e-6) for x in (frames, slope)]  # (N, 1) each
        return torch.cat([branch(stem) for branch in self.branches] + levels, dim=-1)
