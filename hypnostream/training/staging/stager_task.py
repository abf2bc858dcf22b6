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
from hypnostream.errors import UserError
from hypnostream.models.fills import MeanToken
from hypnostream.models.stager import Staged, Stager, StagerConfig
from hypnostream.models.state import State, detached, restarted
from hypnostream.ranges import at_least, between
from hypnostream.training.damage.augment import AugmentSettings, ages_s, late_starts, other_amplifier, sensors_lost
from hypnostream.training.losses.smccl import ContrastSettings, StageModalityContrast
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.running.loop import LoopSettings, Share, chance
from hypnostream.training.staging.batch import Batch, ClassRule, class_weights, collate, set_statistics
from hypnostream.training.staging.staging_losses import Objectives, StagingLosses


@dataclass(frozen=True, slots=True)
class StagerSettings:
    """The recipe. `class_rule` and `class_power`: see `class_weights`; `segment` is in epochs of sleep; a night begins
    anew at a segment with probability `restart`."""

    batch: int = 8
    segment: int = 128
    class_rule: ClassRule = "power"
    class_power: float = 0.3
    restart: float = 0.05
    loop: LoopSettings = field(default_factory=LoopSettings)
    model: StagerConfig = field(default_factory=StagerConfig)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    objectives: Objectives = field(default_factory=Objectives)
    contrast: ContrastSettings = field(default_factory=ContrastSettings)

    def __post_init__(self) -> None:
        at_least(1, self, "batch", "segment")
        at_least(0, self, "class_power")
        between(0, 1, self, "restart")
        if {len(subset) for subset in self.augment.subsets} != {self.model.channels}:
            raise ValueError(
                f"augment.subsets is {[list(s) for s in self.augment.subsets]}; each must have a value for each of the "
                f"{self.model.channels} sensors of model.wavelet"
            )


class Trained(nn.Module):
    """The stager, and what only training needs of parameters."""

    def __init__(self, settings: StagerSettings) -> None:
        super().__init__()
        model = settings.model
        self.stager = Stager(model)
        smccl = settings.objectives.smccl
        self.contrast = StageModalityContrast(model.d_model, model.channels, settings.contrast) if smccl else None


class StagerTask:
    """A `Task` of the training loop over token nights. `statistics_of` are the nights that features are scaled by."""

    def __init__(
        self, nights: Sequence[TokenNight], settings: StagerSettings, statistics_of: Sequence[TokenNight] | None = None
    ) -> None:
        self.nights, self.settings = list(nights), settings
        self._labelled = [night for night in nights if (night.stage >= 0).any()]
        if not self._labelled:
            raise UserError(f"none of the {len(self.nights)} training nights has a stage; give nights with some")
        torch.manual_seed(settings.loop.seed)
        self.module = Trained(settings)
        set_statistics(self.module.stager, statistics_of or nights)
        weights = class_weights(nights, settings.class_power, settings.class_rule)
        self._asked = StagingLosses(settings.objectives, weights, self.module.contrast)

    def rounds(self, pass_index: int) -> int:
        """Batches of nights: as many with few labels as with all, so that arms differ in labels and not in steps."""
        return -(-len(self.nights) // self.settings.batch)

    def stepped(self) -> None:
        """Nothing moves beside the weights."""

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """A batch of nights from beginning to end, a step a segment."""
        seed, segment, stager = self.settings.loop.seed, self.settings.segment, self.module.stager
        first = round_index * self.settings.batch
        generator = chance(seed, pass_index, round_index)
        batch, lost = self._drawn(self._order(pass_index)[first : first + self.settings.batch], generator)
        device = stager.inputs.shape_mean.device
        segments = range(0, batch.length, segment)
        restarts = torch.rand(len(segments), len(batch.stage), generator=generator) < self.settings.restart
        # The rows of this process, first with everything, then with sensors lost.
        rows = list(share.rows(len(batch.stage)))
        mask = torch.cat([batch.mask[rows], lost[rows]])
        anew = torch.zeros(mask.shape[:2], dtype=torch.bool)
        anew[:, ::segment] = restarts[:, rows].repeat(1, 2).T
        age_s = ages_s(mask, NEVER_S, anew=anew).to(device)
        mask, subject = mask.to(device), batch.subject[rows].to(device)
        initial = stager.initial_state(2 * len(rows))
        state: State = initial
        for index, start in enumerate(segments):
            part = slice(start, start + segment)
            state = restarted(state, initial, restarts[index, rows].repeat(2).to(device))
            shape, level = (value[rows, part].repeat(2, 1, 1, 1).to(device) for value in (batch.shape, batch.level))
            staged, state = stager(shape, level, mask[:, part], age_s[:, part], state)
            state = detached(state)
            if (batch.stage[:, part] >= 0).any():
                self._follow(staged, mask[:, part])
                stage = batch.stage[rows, part].to(device)
                yield self._asked(staged, stage, mask[:, part], subject, share, generator)

    def _order(self, pass_index: int) -> list[TokenNight]:
        """The nights of a pass, as many as there are: those with labels, each once before any comes again."""
        generator, count = chance(self.settings.loop.seed, pass_index), len(self._labelled)
        dealt = [torch.randperm(count, generator=generator) for _ in range(0, len(self.nights), count)]
        return [self._labelled[i] for i in torch.cat(dealt)[: len(self.nights)].tolist()]

    def _drawn(self, nights: Sequence[TokenNight], generator: torch.Generator) -> tuple[Batch, Tensor]:
        """The batch, some nights joined late and of another amplifier, and a mask with sensors lost."""
        augment = self.settings.augment
        starts = late_starts([len(night) for night in nights], self.settings.segment, augment, generator)
        batch = collate(nights, starts)
        batch.shape = other_amplifier(batch.shape, self.module.stager.inputs.shape_std.cpu(), augment, generator)
        return batch, sensors_lost(batch.mask, augment, generator)

    @torch.no_grad()
    def _follow(self, staged: Staged, mask: Tensor) -> None:
        """The mean token follows the tokens as they learn; other fillings have nothing to follow."""
        if isinstance(fill := self.module.stager.filling.fill, MeanToken):
            before = fill.value.clone()
            fill.set_mean(staged.tokens, mask)
            fill.value.copy_(before.lerp(fill.value, 0.02))
