"""Step 1: a frame encoder for one kind of signal, trained without labels (`models/neuronet.py` says how).

The loop is the common one; here is what a pass is made of, and what a batch is asked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.errors import UserError
from hypnostream.models.neuronet import NeuroNet, random_masks
from hypnostream.ranges import above, at_least
from hypnostream.training.losses.contrast import nt_xent
from hypnostream.training.losses.masked import masked_mse, target_of
from hypnostream.training.losses.next_frame import next_frame_mse
from hypnostream.training.losses.spread import spread
from hypnostream.training.nights.scaled_frames import ScaledFrames
from hypnostream.training.pretraining.collapse import effective_rank, token_variance
from hypnostream.training.running.loop import Share, chance


@dataclass(frozen=True, slots=True)
class NeuroNetObjective:
    """What is descended: masked prediction of both views, plus these times contrast, next-frame prediction and spread.

    `batch` is in windows. A pass shows each channel of each night as many windows as it has room for, and at most
    `windows_per_channel`, each beginning anywhere. `together` of them come one after the other from the same channel:
    what tells people and amplifiers apart is then of less use to the contrast than what changes in a night.
    """

    batch: int = 64
    temperature: float = 0.05
    contrast: float = 1.0
    next_frame: float = 1.0
    spread: float = 1.0
    windows_per_channel: int = 400
    together: int = 1

    def __post_init__(self) -> None:
        at_least(1, self, "batch", "windows_per_channel", "together")
        above(0, self, "temperature")
        at_least(0, self, "contrast", "next_frame", "spread")


class NeuroNetTask:
    """The `Task` of the loop. Whatever is drawn comes from the seed, the pass and the round."""

    def __init__(self, module: NeuroNet, sources: Sequence[ScaledFrames], objective: NeuroNetObjective, seed: int):
        self._module, self.objective, self.seed = module, objective, seed
        window = module.settings.window
        starts = [(source, source.window_starts(window)) for source in sources]
        self._starts = [(source, found) for source, found in starts if len(found)]
        if not self._starts:
            raise UserError(f"no channel has {window} seconds on end to train on")
        self._counts = [
            max(1, min(objective.windows_per_channel, int(source.valid.sum()) // window)) for source, _ in self._starts
        ]
        self._order = lru_cache(maxsize=1)(self._drawn)

    @property
    def module(self) -> NeuroNet:
        """What is trained."""
        return self._module

    def rounds(self, pass_index: int) -> int:
        """As many whole batches as there are; one smaller one when there is not even one."""
        return max(1, sum(self._counts) // self.objective.batch)

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """One batch, one step."""
        batch, settings = self.objective.batch, self.module.settings
        rows = self._order(pass_index)[round_index * batch : (round_index + 1) * batch]
        mine = list(share.rows(len(rows)))
        generator = chance(self.seed, pass_index, round_index)
        hidden = [random_masks(len(rows), settings.window, settings.kept, generator)[mine] for _ in range(2)]
        device = self.module.cls.device
        frames = torch.from_numpy(self._windows(rows[mine])).to(device)  # (B, L, 400)
        yield self._asked(frames, [each.to(device) for each in hidden], share)

    def stepped(self) -> None:
        """The teacher follows, if there is one."""
        self.module.follow()

    def _asked(self, frames: Tensor, hidden: Sequence[Tensor], share: Share) -> dict[str, Tensor]:
        module, ask = self.module, self.objective
        tokens = module.frames(frames)  # (B, L, d)
        target = target_of(module.targets(frames, tokens), share)
        views = [module.view(tokens, each) for each in hidden]
        masked = sum(
            (masked_mse(view.predicted, target, each, share) for view, each in zip(views, hidden, strict=True)),
            start=tokens.new_zeros(()),
        )
        contrast = nt_xent(views[0].summary, views[1].summary, ask.temperature, share)
        next_frame = next_frame_mse(module.next_frames(tokens), target, module.settings.ahead, share)
        apart = spread(tokens.flatten(0, 1), share)
        loss = masked + ask.contrast * contrast + ask.next_frame * next_frame + ask.spread * apart
        seen = share.gathered(tokens.detach().flatten(0, 1))
        return {
            "loss": loss,
            "masked": masked / 2,
            "contrast": contrast,
            "next_frame": next_frame,
            "spread": apart,
            "token_variance": loss.new_tensor(token_variance(seen) / share.world),
            "token_rank": loss.new_tensor(effective_rank(seen) / share.world),
        }

    def _drawn(self, pass_index: int) -> NDArray[np.int64]:
        """The windows of a pass in their order: (n, 2), the source and the first second."""
        generator = chance(self.seed, pass_index)
        groups: list[NDArray[np.int64]] = []
        for index, ((_, starts), count) in enumerate(zip(self._starts, self._counts, strict=True)):
            chosen = torch.randint(len(starts), (count,), generator=generator).numpy()
            rows = np.stack([np.full(count, index), starts[chosen]], axis=1)
            groups += np.split(rows, range(self.objective.together, count, self.objective.together))
        order = torch.randperm(len(groups), generator=generator).tolist()
        return np.concatenate([groups[place] for place in order])

    def _windows(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        seconds = np.arange(self.module.settings.window)
        return np.stack([self._starts[index][0].frames(first + seconds) for index, first in rows])
