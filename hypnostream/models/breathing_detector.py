"""Breathing second by second: which seconds an apnea or hypopnea is in, and which half minutes and minutes had one.

Each sensor's last two minutes become a token by filters of its own, tokens of what is there are added up, and Mamba-2
carries what is further back. A sensor that is not there adds nothing: it is not imagined, as an imagined saturation
would be evidence of an event that nobody measured.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.models.mamba2 import Mamba2, MambaState
from hypnostream.ranges import at_least, below_one

# What is asked at the end of each second: of that second, of the one `LATE_S` before, and of the half minute and the
# minute that ended so long ago. Saturation comes late.
QUESTIONS = ("event_now", "apnea_now", "event_late", "event_in_half_minute", "event_in_minute")
LATE_S = 60


@dataclass(frozen=True, slots=True)
class BreathingDetectorSettings:
    """Sizes. The filters of a sensor see `taps` steps of `stride_s` seconds."""

    sensors: int = 7
    numbers: int = 3
    taps: int = 60
    stride_s: int = 2
    filters: int = 16
    width: int = 48
    layers: int = 2
    d_state: int = 16
    headdim: int = 32
    dropout: float = 0.1

    def __post_init__(self) -> None:
        at_least(1, self, "sensors", "numbers", "taps", "stride_s", "filters", "width", "layers", "d_state", "headdim")
        below_one(self, "dropout")

    @property
    def memory_s(self) -> int:
        """How far back the filters see."""
        return self.taps * self.stride_s


class BreathingDetectorState(NamedTuple):
    """Everything carried from second to second, float32."""

    recent: Tensor  # (B, S (F + 1), memory - 1) the last seconds, each sensor's numbers and its mask
    layers: tuple[MambaState, ...]


class BreathingDetector(nn.Module):
    """Follows `Recurrent`, but for its inputs: `numbers` (..., S, F), zero where `mask` (..., S) in 0/1 is."""

    def __init__(self, settings: BreathingDetectorSettings) -> None:
        super().__init__()
        self.settings = s = settings
        each = s.numbers + 1
        self.filters = nn.Parameter(torch.randn(s.sensors, s.filters, each, s.taps) * (each * s.taps) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(s.sensors, s.filters))
        self.tokens = nn.Linear(s.sensors * s.filters, s.width)
        self.norms = nn.ModuleList(nn.LayerNorm(s.width) for _ in range(s.layers))
        self.mixers = nn.ModuleList(Mamba2(s.width, d_state=s.d_state, headdim=s.headdim) for _ in range(s.layers))
        self.dropout = nn.Dropout(s.dropout)
        self.head = nn.Sequential(nn.LayerNorm(s.width), nn.Linear(s.width, len(QUESTIONS)))

    def initial_state(self, batch: int) -> BreathingDetectorState:
        """The state of a night that has not begun."""
        s = self.settings
        recent = self.bias.new_zeros(batch, s.sensors * (s.numbers + 1), s.memory_s - 1)
        return BreathingDetectorState(recent, tuple(mixer.initial_state(batch) for mixer in self._mixers()))

    def forward(
        self, numbers: Tensor, mask: Tensor, state: BreathingDetectorState | None = None
    ) -> tuple[Tensor, BreathingDetectorState]:
        """A stretch of seconds, (B, L, S, F) and (B, L, S) -> logits (B, L, Q), and the state after it."""
        s = self.settings
        state = self.initial_state(mask.shape[0]) if state is None else state
        values = torch.cat([numbers, mask.unsqueeze(-1)], -1)  # (B, L, S, F+1)
        values = values.reshape(-1, int(mask.shape[1]), s.sensors * (s.numbers + 1)).transpose(1, 2)  # (B, S (F+1), L)
        window = torch.cat([state.recent, values], -1)  # (B, S (F+1), M-1+L)
        strided = F.avg_pool1d(window, s.stride_s, 1)  # each step is the mean of `stride_s` seconds
        weight = self.filters.flatten(0, 1)  # (S filters, F+1, taps)
        found = F.conv1d(strided, weight, self.bias.flatten(), dilation=s.stride_s, groups=s.sensors)
        x = self.dropout(self.tokens(F.gelu(found.transpose(1, 2))))  # (B, L, D)
        after = []
        for norm, mixer, before in zip(self.norms, self._mixers(), state.layers, strict=True):
            y, layer = mixer(norm(x), before)
            x = x + self.dropout(y)
            after.append(layer)
        return self.head(x), BreathingDetectorState(window[..., 1 - s.memory_s :], tuple(after))

    def step(
        self, numbers: Tensor, mask: Tensor, state: BreathingDetectorState
    ) -> tuple[Tensor, BreathingDetectorState]:
        """One second, (B, S, F) and (B, S) -> logits (B, Q) and the next state. Standard operators only."""
        s = self.settings
        values = torch.cat([numbers, mask.unsqueeze(-1)], -1).reshape(-1, s.sensors * (s.numbers + 1), 1)
        window = torch.cat([state.recent, values], -1)  # (B, S (F+1), M)
        steps = window.reshape(-1, s.sensors, s.numbers + 1, s.taps, s.stride_s).mean(-1)
        steps = steps.reshape(-1, s.sensors, 1, (s.numbers + 1) * s.taps)
        found = steps @ self.filters.flatten(2).transpose(1, 2) + self.bias.unsqueeze(1)  # (B, S, 1, filters)
        x = self.tokens(F.gelu(found.reshape(-1, s.sensors * s.filters)))  # (B, D)
        after = []
        for norm, mixer, before in zip(self.norms, self._mixers(), state.layers, strict=True):
            y, layer = mixer.step(norm(x), before)
            x = x + y
            after.append(layer)
        return self.head(x), BreathingDetectorState(window[..., 1:], tuple(after))

    def _mixers(self) -> list[Mamba2]:
        return [mixer for mixer in self.mixers if isinstance(mixer, Mamba2)]
