"""SynthSleepNet's pretraining as a task for the loop: hide, predict, restore, contrast."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.models.channel_encoder import ChannelEncoders
from hypnostream.models.spectral_inputs import SpectralInputs
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.ranges import above, at_least, between, inside
from hypnostream.training.losses.cross_modal import fusion_contrast, hide, prediction_loss
from hypnostream.training.nights.windows import Windows
from hypnostream.training.running.loop import Share, chance


@dataclass(frozen=True, slots=True)
class CrossModalSettings:
    """`mask` is the share of each channel's tokens that is hidden, `drop` the share of windows that lose channels.

    `restoration` and `contrast` weigh their losses beside that of masked prediction. `normalised_targets`: each target
    has mean 0 and variance 1 over its values, so that the size of a learned token says nothing.
    """

    batch: int = 128
    mask: float = 0.4
    drop: float = 0.5
    restoration: float = 1.0
    contrast: float = 1.0
    temperature: float = 0.1
    normalised_targets: bool = False

    def __post_init__(self) -> None:
        at_least(1, self, "batch")
        inside(0, 1, self, "mask")
        between(0, 1, self, "drop")
        at_least(0, self, "restoration", "contrast")
        above(0, self, "temperature")


class Pretrained(nn.Module):
    """The model, with what makes its channel tokens: learned `encoders` of frames, or the fixed `spectral` inputs."""

    def __init__(self, model: SynthSleepNet, encoders: ChannelEncoders | None, spectral: SpectralInputs | None) -> None:
        super().__init__()
        self.model, self.encoders, self.spectral = model, encoders, spectral

    def tokens(self, inputs: Tensor) -> Tensor:
        """`inputs` of `Windows` (B, T, C, 400 or I) -> (B, T, C, I)."""
        tokens: Tensor = inputs if self.encoders is None else self.encoders(inputs)
        return tokens

    def targets(self, inputs: Tensor) -> Tensor:
        """What is to be predicted of `inputs`: the tokens as they were before this training, (B, T, C, I)."""
        return inputs if self.encoders is None else self.encoders.targets(inputs)

    def encode(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """`inputs` (B, T, C, 400 or I), `mask` (B, T, C) -> fused tokens (B, T, D), each of its own moment."""
        return self.model.encode(self.tokens(inputs), mask)


class CrossModalTask:
    """See the module's head. Follows `Task` of the loop; a round is one batch of windows."""

    def __init__(self, module: Pretrained, windows: Windows, settings: CrossModalSettings, seed: int = 0) -> None:
        self.pretrained, self.windows, self.settings, self.seed = module, windows, settings, seed

    @property
    def module(self) -> nn.Module:
        """The model and what makes its tokens."""
        return self.pretrained

    def rounds(self, pass_index: int) -> int:
        """How many whole batches there are; one at least."""
        return max(len(self.windows) // self.settings.batch, 1)

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """One batch: "masked", "restored" and "contrast", and their weighted sum."""
        s, model = self.settings, self.pretrained.model
        order = torch.randperm(len(self.windows), generator=chance(self.seed, pass_index)).tolist()
        rows = order[round_index * s.batch : (round_index + 1) * s.batch]
        generator = chance(self.seed, pass_index, round_index)
        places = self.windows.places(rows, generator)
        hidden = hide(self.windows.mask(places), s.mask, s.drop, generator)
        own = list(share.rows(len(places)))
        device = model.adaptors.modality.device
        kept, masked, dropped = (part[own].to(device) for part in hidden)
        inputs = self.windows.inputs([places[row] for row in own]).to(device)
        target = self.pretrained.targets(inputs)
        if s.normalised_targets:
            target = F.layer_norm(target, target.shape[-1:])
        window = model(self.pretrained.tokens(inputs), kept)
        losses = {
            "masked": prediction_loss(window.predicted, target, masked, share),
            "restored": prediction_loss(window.predicted, target, dropped, share),
            "contrast": fusion_contrast(*model.contrasted(window, kept), kept.any(1), s.temperature, share),
        }
        weighted = losses["masked"] + s.restoration * losses["restored"] + s.contrast * losses["contrast"]
        yield {"loss": weighted, **losses}

    def stepped(self) -> None:
        """Nothing moves by itself."""
