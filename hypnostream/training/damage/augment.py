"""What training does to a night so that the bedside holds no surprise: sensors gone, sensors failing, other amplifiers.

All of it acts on token features, sequence by sequence, with a generator that the caller seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hypnostream.models.token_features import WAVELET_SHAPE
from hypnostream.ranges import at_least, between, shown
from hypnostream.training.damage.missing import randomly_missing


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """How often and how much. `subsets` are drawn with `subset_weights` for a share `subset_share` of the nights;
    in the others each channel stays with probability `keep`. Of what that and the bursts leave, a share `missing` goes
    step by step at random (see `randomly_missing`)."""

    keep: float = 0.7
    subset_share: float = 0.6
    subsets: tuple[tuple[int, ...], ...] = ((1, 1, 1), (1, 1, 0), (1, 0, 0), (0, 0, 1))
    subset_weights: tuple[float, ...] = (0.3, 0.2, 0.25, 0.25)
    burst: float = 0.3
    missing: float = 0.0
    late_start: float = 0.5
    late_start_epochs: int = 600
    amplifier_share: float = 1.0
    offset: float = 0.15
    tilt: float = 0.15
    entropy_offset: float = 0.05
    noise: float = 0.1

    def __post_init__(self) -> None:
        between(0, 1, self, "keep", "subset_share", "burst", "missing", "late_start", "amplifier_share")
        at_least(0, self, "subset_weights", "late_start_epochs", "offset", "tilt", "entropy_offset", "noise")
        if len(self.subset_weights) != len(self.subsets) or not sum(self.subset_weights):
            raise ValueError(
                f"subset_weights is {shown(self.subset_weights)}; it must be one number for each of the "
                f"{len(self.subsets)} subsets, not all 0"
            )
        if {each for subset in self.subsets for each in subset} - {0, 1} or len({len(s) for s in self.subsets}) > 1:
            raise ValueError(
                f"subsets is {[list(s) for s in self.subsets]}; each must say 1 or 0 of each of the same sensors"
            )


# How far each relative power lies from the middle of the spectrum, in units of the tilt.
_WAVELET_TILT = torch.tensor([-1.2, -1.0, -0.5, 0.0, 0.5])
_STFT_TILT = torch.tensor([-1.0, -0.4, 0.1, 0.9])
_BAND_TILT = torch.linspace(-1, 1, 5)


def sensors_lost(mask: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """`mask` (B, L, C) with whole channels gone (at least one stays), bursts of loss of any length up to half, and
    steps missing here and there."""
    batch, _, channels = mask.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    kept = (uniform(batch, channels) < settings.keep).float()
    subsets = torch.tensor(settings.subsets, dtype=torch.float32)
    chosen = torch.multinomial(torch.tensor(settings.subset_weights), batch, replacement=True, generator=generator)
    kept = torch.where(uniform(batch, 1) < settings.subset_share, subsets[chosen], kept)
    one = torch.nn.functional.one_hot(torch.randint(channels, (batch,), generator=generator), channels).float()
    kept = torch.where(kept.sum(1, keepdim=True) == 0, one, kept)
    # A night that never had a kept channel keeps what it has: nothing is learned from a night without any.
    there = (mask.amax(1) * kept).sum(1, keepdim=True) > 0
    kept = torch.where(there, kept, torch.ones_like(kept))
    lost = _bursts(mask, settings.burst, generator)
    left = mask * kept.unsqueeze(1) * (~lost).float()
    return randomly_missing(left, settings.missing, generator) if settings.missing else left


def subset_left(mask: Tensor, lose: float, burst: float, generator: torch.Generator) -> Tensor:
    """`mask` (B, L, C) with, in a share `lose` of the rows, only some (at least one) of the channels that were there
    left, and a share `burst` of the channels gone for a while."""
    batch, _, channels = mask.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    present = mask.amax(1) > 0  # (B, C)
    order = uniform(batch, channels).masked_fill(~present, 2.0).argsort(1).argsort(1)  # those there come first
    count = present.sum(1, keepdim=True)
    left = 1 + (uniform(batch, 1) * (count - 1)).floor()  # of several, from one to all but one
    kept = (order < left) | (uniform(batch, 1) >= lose)
    return mask * kept.unsqueeze(1) * ~_bursts(mask, burst, generator)


def late_starts(
    lengths: Sequence[int], segment: int, settings: AugmentSettings, generator: torch.Generator
) -> list[int]:
    """The epoch from which each night, of `lengths` epochs, is read: some are joined late, a segment before their end
    at the latest."""
    starts = []
    for length in lengths:
        late = torch.rand(1, generator=generator).item() < settings.late_start
        latest = min(settings.late_start_epochs, length - segment)
        starts.append(int(torch.randint(latest + 1, (1,), generator=generator)) if late and latest > 0 else 0)
    return starts


def other_amplifier(shape: Tensor, std: Tensor, settings: AugmentSettings, generator: torch.Generator) -> Tensor:
    """`shape` (B, L, C, 19) as another recorder would have had it: constant offsets and a tilt of each spectrum.

    `std` (C, 19) scales the white noise that is added to everything.
    """
    batch, channels = shape.shape[0], shape.shape[2]

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator)

    tilt = normal(batch, 1, channels, 1) * settings.tilt

    def recolour(part: Tensor, lean: Tensor, among: slice) -> Tensor:
        moved = part + normal(batch, 1, channels, part.shape[-1]) * settings.offset + tilt * lean
        return moved - torch.logsumexp(moved[..., among], -1, keepdim=True)

    everything = slice(None)
    energy = recolour(shape[..., :5], _WAVELET_TILT, slice(1, None))
    entropy = shape[..., 5:10] + normal(batch, 1, channels, 5) * settings.entropy_offset
    stft = recolour(shape[..., 10:14], _STFT_TILT, everything)
    bands = shape[..., WAVELET_SHAPE:]
    five = recolour(bands, _BAND_TILT, everything)
    four = recolour(bands[..., :4], _BAND_TILT[:4], everything)
    four = torch.cat([four, torch.zeros_like(four[..., :1])], -1)
    # A channel with four bands keeps zeros where the fifth would be.
    bands = torch.where((bands[..., 4:].abs().amax((1, 3), keepdim=True) == 0), four, five)
    moved = torch.cat([energy, entropy, stft, bands], -1)
    other = torch.rand(batch, 1, channels, 1, generator=generator) < settings.amplifier_share
    moved = torch.where(other, moved, shape)
    moved = moved + normal(*shape.shape) * settings.noise * std
    return moved * (shape != 0)


def ages_s(mask: Tensor, never_s: float, epoch_s: float = 30.0, anew: Tensor | None = None) -> Tensor:
    """`mask` (B, L, C) -> seconds since each channel was last there, 0 where it is, `never_s` and more before it was.

    Where `anew` (B, L) is true the row begins there: what was before is not known.
    """
    never = torch.full_like(mask[:, 0], never_s)
    age = never
    out = []
    for step in range(mask.shape[1]):
        if anew is not None:
            age = torch.where(anew[:, step, None], never, age)
        age = torch.where(mask[:, step] > 0, torch.zeros_like(age), age + epoch_s)
        out.append(age)
    return torch.stack(out, 1)


def _bursts(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Where a share of the channels of `mask` (B, L, C) is gone for a while, of any length up to half: (B, L, C)."""
    batch, length, channels = mask.shape

    def uniform() -> Tensor:
        return torch.rand(batch, 1, channels, generator=generator)

    t = torch.arange(length).view(1, -1, 1)
    start = uniform() * length
    run = uniform().square() * length / 2 * (uniform() < share)
    return (t >= start) & (t < start + run)
