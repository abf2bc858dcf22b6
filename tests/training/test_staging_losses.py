"""What is asked of a stager: to imagine what it lost, and never a sensor that the sleeper did not wear."""

import torch
from torch import Tensor
from torch.autograd import backward

from hypnostream.models.imaginator import Imagined
from hypnostream.models.stager import Staged
from hypnostream.training.losses.smccl import StageModalityContrast
from hypnostream.training.running.loop import Share, chance
from hypnostream.training.staging.staging_losses import Objectives, StagingLosses

B, L, C, D = 3, 12, 3, 8
EOG = 2


def _read(there: Tensor, kept: Tensor) -> tuple[dict[str, Tensor], Imagined]:
    """The losses of B nights that were recorded where `there` (B, L, C) and read again where `kept` too."""
    generator = chance(1)
    tokens = torch.randn(2 * B, L, C, D, generator=generator)
    mean = torch.randn(2 * B, L, C, D, generator=generator).requires_grad_()
    imagined = Imagined(tokens, mean, torch.zeros(2 * B, L, C, requires_grad=True))
    staged = Staged(torch.randn(2 * B, L, 5, generator=generator), tokens, imagined, torch.zeros(2 * B, L, D))
    torch.manual_seed(0)
    asked = StagingLosses(Objectives(), torch.ones(5), StageModalityContrast(D, C))
    stage = torch.randint(5, (B, L), generator=generator)
    return asked(staged, stage, torch.cat([there, there * kept]), torch.arange(B), Share(), generator), imagined


def test_a_sensor_that_never_was_is_not_imagined_and_one_that_was_taken_away_is() -> None:
    there, kept = torch.ones(B, L, C), torch.ones(B, L, C)
    there[:, :, EOG] = 0
    nothing, _ = _read(there, kept)
    assert float(nothing["imagination"].detach()) == 0
    kept[0, 4:] = 0  # a night loses all that it has
    losses, imagined = _read(there, kept)
    assert float(losses["imagination"].detach()) > 0.1
    backward(losses["imagination"] + losses["smccl"])
    asked_of = torch.zeros(2 * B, L, C, dtype=torch.bool)
    asked_of[B, 4:, :EOG] = True
    assert imagined.mean.grad is not None
    assert torch.equal(imagined.mean.grad.abs().sum(-1) > 0, asked_of)
