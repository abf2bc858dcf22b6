"""What training a stager is: whole nights, state carried, sensors taken away, and what is asked of the model then.

Truncated back-propagation: a batch of nights is read from lights-off to lights-on in segments; the recurrent state is
carried over and detached, so the model lives through whole nights in training as it will at the bedside. Each night is
read twice, side by side: once with all that was recorded, once with sensors lost. Staging is asked of both; of the
second also to say what the first says, and to imagine the tokens that it lost, whose truth the first has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hypnostream.engine.session import NEVER_S
from hypnostream.models.fills import MeanToken
from hypnostream.models.imaginator import Imagined
from hypnostream.models.stager import Staged, Stager, StagerConfig
from hypnostream.models.state import State, detached, restarted
from hypnostream.training.augment import AugmentSettings, ages_s, other_amplifier, sensors_lost
from hypnostream.training.batch import Batch, class_weights, collate, set_statistics
from hypnostream.training.loop import LoopSettings, Share, chance
from hypnostream.training.losses.imagination import imagination_loss, posterior_consistency
from hypnostream.training.losses.poly1 import poly1
from hypnostream.training.losses.smccl import StageModalityContrast
from hypnostream.training.token_night import TokenNight

SMCCL_TOKENS = 384  # of a segment: the loss is a matrix of them all


@dataclass(frozen=True, slots=True)
class Objectives:
    """Weights of the losses. `full` and `lost`: staging with all sensors, and with some. `poly`: epsilon of Poly-1."""

    full: float = 1.0
    lost: float = 1.0
    consistency: float = 0.5
    imagination: float = 0.1
    smccl: float = 0.01
    poly: float = 0.0


@dataclass(frozen=True, slots=True)
class StagerSettings:
    """The recipe. `class_power` weighs stages by their rarity to that power; `segment` is in epochs of sleep; a night
    restarts at a segment's beginning with probability `restart`."""

    batch: int = 8
    segment: int = 128
    class_power: float = 0.3
    restart: float = 0.05
    loop: LoopSettings = field(default_factory=LoopSettings)
    model: StagerConfig = field(default_factory=StagerConfig)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    objectives: Objectives = field(default_factory=Objectives)


class Trained(nn.Module):
    """The stager, and what only training needs of parameters."""

    def __init__(self, settings: StagerSettings) -> None:
        super().__init__()
        model = settings.model
        self.stager = Stager(model)
        self.contrast = StageModalityContrast(model.d_model, model.channels) if settings.objectives.smccl else None


class StagerTask:
    """A `Task` of the training loop over token nights. `statistics_of` are the nights that features are scaled by."""

    def __init__(
        self, nights: Sequence[TokenNight], settings: StagerSettings, statistics_of: Sequence[TokenNight] | None = None
    ) -> None:
        self.nights, self.settings = list(nights), settings
        torch.manual_seed(settings.loop.seed)
        self.module = Trained(settings)
        set_statistics(self.module.stager, statistics_of or nights)
        self.weights = class_weights(nights, settings.class_power)

    def rounds(self, pass_index: int) -> int:
        """Batches of nights."""
        return -(-len(self.nights) // self.settings.batch)

    def stepped(self) -> None:
        """Nothing moves beside the weights."""

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """A batch of nights from beginning to end, a step a segment."""
        seed, segment, stager = self.settings.loop.seed, self.settings.segment, self.module.stager
        order = torch.randperm(len(self.nights), generator=chance(seed, pass_index)).tolist()
        first = round_index * self.settings.batch
        generator = chance(seed, pass_index, round_index)
        batch, lost = self._drawn([self.nights[i] for i in order[first : first + self.settings.batch]], generator)
        segments = range(0, batch.length, segment)
        restarts = torch.rand(len(segments), len(batch.stage), generator=generator) < self.settings.restart
        # The rows of this process, first with everything, then with sensors lost.
        rows = list(share.rows(len(batch.stage)))
        mask = torch.cat([batch.mask[rows], lost[rows]])
        age_s = ages_s(mask, NEVER_S)
        initial = stager.initial_state(2 * len(rows))
        state: State = initial
        for index, start in enumerate(segments):
            part = slice(start, start + segment)
            state = restarted(state, initial, restarts[index, rows].repeat(2))
            shape, level = (value[rows, part].repeat(2, 1, 1, 1) for value in (batch.shape, batch.level))
            staged, state = stager(shape, level, mask[:, part], age_s[:, part], state)
            state = detached(state)
            if (batch.stage[:, part] >= 0).any():
                self._follow(staged, mask[:, part])
                yield self._asked(staged, batch.stage[rows, part], mask[:, part], batch.subject[rows], share, generator)

    def _drawn(self, nights: Sequence[TokenNight], generator: torch.Generator) -> tuple[Batch, Tensor]:
        """The batch, some nights joined late and of another amplifier, and a mask with sensors lost."""
        augment, segment = self.settings.augment, self.settings.segment
        starts = []
        for night in nights:
            late = torch.rand(1, generator=generator).item() < augment.late_start
            latest = min(augment.late_start_epochs, len(night) - segment)
            starts.append(int(torch.randint(latest + 1, (1,), generator=generator)) if late and latest > 0 else 0)
        batch = collate(nights, starts)
        batch.shape = other_amplifier(batch.shape, self.module.stager.inputs.shape_std, augment, generator)
        return batch, sensors_lost(batch.mask, augment, generator)

    def _asked(
        self,
        staged: Staged,
        stage: Tensor,
        mask: Tensor,
        subject: Tensor,
        share: Share,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """All losses of a segment; in `staged` and `mask` the nights with everything come first."""
        weights, half = self.settings.objectives, len(stage)
        full, lost = staged.logits[:half], staged.logits[half:]
        losses = {
            "full": poly1(full, stage, share, self.weights, weights.poly),
            "lost": poly1(lost, stage, share, self.weights, weights.poly),
            "consistency": posterior_consistency(full, lost, (stage >= 0).float(), share),
        }
        if staged.imagined is not None:
            imagined = Imagined(*(value[half:] for value in staged.imagined))
            dropped = mask[:half] * (1 - mask[half:])
            losses["imagination"] = imagination_loss(imagined, staged.tokens[:half], dropped, share)["loss"]
            if self.module.contrast is not None:
                chosen = self._compared(staged, imagined, stage, mask[:half], dropped, subject, generator)
                losses["smccl"] = self.module.contrast(*chosen, share)
        return {"loss": sum((getattr(weights, k) * v for k, v in losses.items()), torch.zeros(())), **losses}

    @staticmethod
    def _compared(
        staged: Staged,
        imagined: Imagined,
        stage: Tensor,
        there: Tensor,
        dropped: Tensor,
        subject: Tensor,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Some real tokens and some imagined ones, with stage, channel and sleeper: (M, D), (M,), (M,), (M,)."""
        B, L, C = there.shape
        tokens = torch.cat([staged.tokens[:B], imagined.mean])  # (2B, L, C, D)
        usable = torch.cat([there, dropped]) * (stage >= 0).repeat(2, 1).unsqueeze(-1)  # (2B, L, C)
        places = usable.flatten().nonzero()[:, 0]
        chosen = places[torch.randperm(len(places), generator=generator)[:SMCCL_TOKENS]]
        row, step, channel = chosen // (L * C), chosen // C % L, chosen % C
        return tokens[row, step, channel], stage[row % B, step], channel, subject[row % B]

    @torch.no_grad()
    def _follow(self, staged: Staged, mask: Tensor) -> None:
        """The mean token follows the tokens as they learn; other fillings have nothing to follow."""
        if isinstance(fill := self.module.stager.filling.fill, MeanToken):
            before = fill.value.clone()
            fill.set_mean(staged.tokens, mask)
            fill.value.copy_(before.lerp(fill.value, 0.02))
