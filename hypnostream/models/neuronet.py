"""NeuroNet: the scaffold in which a frame encoder learns from one kind of signal without labels.

After NeuroNet (arXiv:2404.17585) and step 1 of SynthSleepNet (arXiv:2502.17481): masked prediction of frame tokens from
two independent maskings of a window, whose summaries must agree; and a causal predictor of the frames to come. Only
`frames`, the `FrameEncoder`, is kept afterwards: the transformers never leave training.
"""

import copy
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from hypnostream.models.frame_network import FrameEncoder, FrameSettings
from hypnostream.models.frame_spectrum import SPECTRUM, frame_spectrum
from hypnostream.models.transformer import Transformer, sinusoidal_positions
from hypnostream.ranges import at_least, below_one, inside


@dataclass(frozen=True, slots=True)
class NeuroNetSettings:
    """Sizes. `window` is how many frames, one a second; of them `masked` (a share) are hidden from each view.

    `ahead` is how many frames ahead the causal predictor guesses; 4 is the next that shares no sample with the last
    seen. `target` is what is predicted of a frame: its token, as in the papers, or its spectrum, which holds no phase
    and cannot collapse. Tokens are the frame encoder's own, detached, or with `teacher_decay` above 0 those of a slow
    copy of it (an exponential mean of its weights, as in BYOL, arXiv:2006.07733).
    """

    frame: FrameSettings = field(default_factory=FrameSettings)
    window: int = 30
    masked: float = 0.8
    encoder_width: int = 96
    encoder_depth: int = 2
    encoder_heads: int = 4
    decoder_width: int = 64
    decoder_depth: int = 1
    decoder_heads: int = 4
    projector: tuple[int, int] = (192, 96)
    predictor_width: int = 64
    predictor_depth: int = 1
    predictor_heads: int = 4
    ahead: int = 4
    target: Literal["tokens", "spectrum"] = "tokens"
    teacher_decay: float = 0.0

    def __post_init__(self) -> None:
        at_least(1, self, "window", "encoder_width", "encoder_heads", "decoder_width", "decoder_heads", "projector")
        at_least(0, self, "encoder_depth", "decoder_depth", "predictor_depth")
        at_least(1, self, "predictor_width", "predictor_heads")
        inside(0, 1, self, "masked")
        inside(0, self.window, self, "ahead")
        below_one(self, "teacher_decay")
        if not 1 <= self.kept < self.window:
            raise ValueError(f"masked {self.masked} of a window of {self.window} leaves {self.kept} frames to look at")

    @property
    def kept(self) -> int:
        """How many frames of a window a view sees: exactly."""
        return int(self.window * (1 - self.masked) + 1e-9)


class View(NamedTuple):
    """What one masking gave."""

    predicted: Tensor  # (B, L, d) the decoder's guess of every frame's token, or (B, L, 128) of its spectrum
    summary: Tensor  # (B, P) the projected cls token


def random_masks(batch: int, window: int, kept: int, generator: torch.Generator) -> Tensor:
    """(batch, window) bool, true where a frame is hidden; each row shows exactly `kept`."""
    order = torch.rand(batch, window, generator=generator).argsort(1)
    return order.argsort(1) >= kept


class NeuroNet(nn.Module):
    """`frames` is what is trained, the rest is scaffold."""

    def __init__(self, settings: NeuroNetSettings | None = None) -> None:
        super().__init__()
        s = settings or NeuroNetSettings()
        self.settings = s
        self.frames = FrameEncoder(s.frame)
        width = self.frames.width
        told = width if s.target == "tokens" else SPECTRUM
        self.encoder_in = nn.Linear(width, s.encoder_width)
        self.cls = nn.Parameter(torch.randn(s.encoder_width) * 0.02)
        self.encoder_positions = nn.Parameter(sinusoidal_positions(s.window, s.encoder_width))
        self.encoder = Transformer(s.encoder_width, s.encoder_depth, s.encoder_heads)
        self.decoder_in = nn.Linear(s.encoder_width, s.decoder_width)
        self.mask = nn.Parameter(torch.randn(s.decoder_width) * 0.02)
        self.decoder_positions = nn.Parameter(sinusoidal_positions(s.window + 1, s.decoder_width))
        self.decoder = Transformer(s.decoder_width, s.decoder_depth, s.decoder_heads)
        self.decoder_out = nn.Linear(s.decoder_width, told)
        hidden, out = s.projector
        self.projector = nn.Sequential(
            nn.Linear(s.encoder_width, hidden), nn.LayerNorm(hidden), nn.ELU(), nn.Linear(hidden, out)
        )
        self.predictor_in = nn.Linear(width, s.predictor_width)
        self.predictor = Transformer(s.predictor_width, s.predictor_depth, s.predictor_heads)
        self.predictor_out = nn.Linear(s.predictor_width, told)
        self.teacher = copy.deepcopy(self.frames).requires_grad_(False) if s.teacher_decay else None

    def targets(self, frames: Tensor, tokens: Tensor) -> Tensor:
        """What is to be predicted of `frames` (..., 400), whose tokens (..., d) are known; without gradient."""
        if self.settings.target == "spectrum":
            return frame_spectrum(frames)
        if self.teacher is None:
            return tokens.detach()
        with torch.no_grad():
            out: Tensor = self.teacher(frames)
        return out

    @torch.no_grad()
    def follow(self) -> None:
        """The teacher moves towards the frame encoder; called after each step."""
        if self.teacher is not None:
            for slow, fast in zip(self.teacher.parameters(), self.frames.parameters(), strict=True):
                slow.lerp_(fast, 1 - self.settings.teacher_decay)

    def view(self, tokens: Tensor, hidden: Tensor) -> View:
        """Tokens (B, L, d) of a window, `hidden` (B, L) as `random_masks` gives it; hidden tokens are not looked at."""
        batch, length, _ = tokens.shape
        shown = (~hidden).to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, : self.settings.kept]  # (B, K)
        x = self.encoder_in(_picked(tokens, shown)) + self.encoder_positions[shown]  # (B, K, E)
        x = self.encoder(torch.cat([self.cls.expand(batch, 1, -1), x], dim=1))  # (B, 1 + K, E)
        y = self.decoder_in(x)  # (B, 1 + K, F)
        places = shown.unsqueeze(-1).expand(-1, -1, y.shape[-1])
        full = self.mask.to(y.dtype).expand(batch, length, -1).scatter(1, places, y[:, 1:])  # (B, L, F)
        full = torch.cat([y[:, :1], full], dim=1) + self.decoder_positions
        predicted = self.decoder_out(self.decoder(full)[:, 1:])  # (B, L, d)
        return View(predicted, self.projector(x[:, 0]))

    def next_frames(self, tokens: Tensor) -> Tensor:
        """From tokens (B, L, d): at t a guess, out of those up to t, of the target `ahead` frames later."""
        x = self.predictor_in(tokens) + sinusoidal_positions(tokens.shape[1], self.settings.predictor_width).to(tokens)
        out: Tensor = self.predictor_out(self.predictor(x, causal=True))
        return out


def _picked(tokens: Tensor, places: Tensor) -> Tensor:
    return tokens.gather(1, places.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))
