"""What is asked of a stager that reads each night twice, side by side: with all that was recorded, and with less.

Staging of both; of the second also to say what the first says, and to imagine the tokens that it lost, whose truth the
first has.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hypnostream.models.imaginator import Imagined
from hypnostream.models.stager import Staged
from hypnostream.ranges import at_least
from hypnostream.training.losses.imagination import imagination_loss, posterior_consistency
from hypnostream.training.losses.poly1 import poly1
from hypnostream.training.losses.smccl import StageModalityContrast
from hypnostream.training.running.loop import Share

SMCCL_TOKENS = 384  # of a segment of the whole batch: the loss is a matrix of them all


@dataclass(frozen=True, slots=True)
class Objectives:
    """Weights of the losses. `full` and `lost`: staging with all sensors, and with some. `poly`: epsilon of Poly-1.

    `nll` and `kl`: within `imagination`, see `imagination_loss`.
    """

    full: float = 1.0
    lost: float = 1.0
    consistency: float = 0.5
    imagination: float = 0.1
    smccl: float = 0.01
    poly: float = 0.0
    nll: float = 0.1
    kl: float = 0.0

    def __post_init__(self) -> None:
        at_least(0, self, "full", "lost", "consistency", "imagination", "smccl", "poly", "nll", "kl")


@dataclass(frozen=True, slots=True)
class StagingLosses:
    """`class_weights` (5,) are those of the stages; without a `contrast` there is no SMCCL."""

    objectives: Objectives
    class_weights: Tensor
    contrast: StageModalityContrast | None

    def __call__(
        self,
        staged: Staged,
        stage: Tensor,
        mask: Tensor,
        subject: Tensor,
        share: Share,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """All losses of a segment, this process's part: `stage` (B, L), `subject` (B,).

        In `staged` and in `mask` (2B, S, C) the B nights with everything come first. S, the steps of its tokens, is L,
        or a multiple of it where an epoch has several.
        """
        weights, half, by_stage = self.objectives, len(stage), self.class_weights.to(stage.device)
        full, lost = staged.logits[:half], staged.logits[half:]
        losses = {
            "full": poly1(full, stage, share, by_stage, weights.poly),
            "lost": poly1(lost, stage, share, by_stage, weights.poly),
            "consistency": posterior_consistency(full, lost, (stage >= 0).float(), share),
        }
        if staged.imagined is not None:
            imagined = Imagined(*(value[half:] for value in staged.imagined))
            dropped = mask[:half] * (1 - mask[half:])
            truth = staged.tokens[:half]
            wrong = imagination_loss(imagined, truth, dropped, share, nll=weights.nll, kl=weights.kl)
            losses["imagination"] = wrong["loss"]
            if self.contrast is not None:
                by_step = stage.repeat_interleave(mask.shape[1] // stage.shape[1], 1)
                chosen = _compared(staged, imagined, by_step, mask[:half], dropped, subject, share, generator)
                losses["smccl"] = self.contrast(*chosen, share)
        return {"loss": sum((getattr(weights, k) * v for k, v in losses.items()), full.new_zeros(())), **losses}


def _compared(
    staged: Staged,
    imagined: Imagined,
    stage: Tensor,
    there: Tensor,
    dropped: Tensor,
    subject: Tensor,
    share: Share,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Some real tokens and some imagined ones, with stage, channel and sleeper: (M, D), (M,), (M,), (M,).

    They are drawn from the tokens of all processes, the same by each, which keeps its own: as one process would.
    """
    b, L, C = there.shape
    scored = (stage >= 0).unsqueeze(-1)  # (b, L, 1)
    usable = torch.cat([share.gathered(part * scored) for part in (there, dropped)])  # (2B, L, C)
    places = usable.flatten().nonzero()[:, 0]
    chosen = places[torch.randperm(len(places), generator=generator)[:SMCCL_TOKENS]]
    half, night, step, channel = (
        chosen // (L * C * len(usable) // 2), chosen // (L * C) % (len(usable) // 2), chosen // C % L, chosen % C
    )  # fmt: skip
    mine = night % share.world == share.rank
    half, row, step, channel = half[mine], night[mine] // share.world, step[mine], channel[mine]
    tokens = torch.stack([staged.tokens[:b], imagined.mean])  # (2, b, L, C, D)
    return tokens[half, row, step, channel], stage[row, step], channel, subject[row]
