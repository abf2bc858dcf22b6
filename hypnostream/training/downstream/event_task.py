"""Training a detector of events: whole nights with their state carried, sensors taken away, labels where there are any.

Nights lie side by side, each in its own row of a batch with its own state: nothing is cut after joining people, so no
window is of two nights and none is there twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.errors import UserError
from hypnostream.models.event_detector import DetectorSettings, EventDetector
from hypnostream.models.spectral_inputs import SpectralInputs
from hypnostream.models.state import State, detached, restarted
from hypnostream.ranges import at_least, between
from hypnostream.training.damage.augment import subset_left
from hypnostream.training.downstream.event_night import SLOTS, TASKS, EventNight
from hypnostream.training.losses.balanced_bce import balance, balanced_bce
from hypnostream.training.running.loop import LoopSettings, Share, chance


@dataclass(frozen=True, slots=True)
class EventSettings:
    """`rounds` of `batch` nights are a pass, however few nights have labels. `segment` is in epochs.

    `lose`: how often a night loses some of its sensors for good; `burst`: one of them for a while. `restart`: how often
    a segment begins as if the night did. `power` and `focus`: see `balanced_bce`.
    """

    rounds: int = 10
    batch: int = 8
    segment: int = 128
    lose: float = 0.5
    burst: float = 0.3
    restart: float = 0.1
    power: float = 0.5
    focus: float = 1.0
    model: DetectorSettings = field(default_factory=DetectorSettings)
    loop: LoopSettings = field(default_factory=lambda: LoopSettings(passes=6, warmup_steps=20, average=0.98))

    def __post_init__(self) -> None:
        at_least(1, self, "rounds", "batch", "segment")
        between(0, 1, self, "lose", "burst", "restart")
        at_least(0, self, "power", "focus")


class EventTask:
    """A `Task` of the training loop. `given` says which epochs' labels may be learned from, by night (all: None).

    `statistics_of` are the nights that numbers are scaled by: training nights, with labels or without. Raises UserError
    when there is nothing to learn from.
    """

    def __init__(
        self,
        nights: Sequence[EventNight],
        settings: EventSettings,
        given: Mapping[str, NDArray[np.bool_]] | None = None,
        statistics_of: Sequence[EventNight] | None = None,
    ) -> None:
        self.settings = settings
        targets = [_given(night, given) for night in nights]
        kept = [i for i, target in enumerate(targets) if (target >= 0).any()]
        if not kept:
            raise UserError("no epoch of the training nights has a label that may be learned from; give more of them")
        self.nights, self.targets = [nights[i] for i in kept], [targets[i] for i in kept]
        torch.manual_seed(settings.loop.seed)
        self.module = EventDetector(len(SLOTS), len(TASKS), settings.model)
        scale(self.module.inputs, statistics_of or nights)
        self.weight = balance(np.concatenate(self.targets), settings.power)

    def rounds(self, pass_index: int) -> int:
        """As many as the settings say."""
        return self.settings.rounds

    def stepped(self) -> None:
        """Nothing moves beside the weights."""

    def chosen(self, pass_index: int, round_index: int) -> list[int]:
        """The nights of a round: each comes once before any comes again."""
        first = (pass_index * self.settings.rounds + round_index) * self.settings.batch
        count = len(self.nights)
        places = range(first, first + min(self.settings.batch, count))
        orders = {turn: self._order(turn) for turn in {place // count for place in places}}
        return [orders[place // count][place % count] for place in places]

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """A batch of nights from beginning to end; each segment with labels is a step."""
        s = self.settings
        which = self.chosen(pass_index, round_index)
        generator = chance(s.loop.seed, pass_index, round_index)
        tokens = [self.nights[i].tokens for i in which]
        length = max(int(np.flatnonzero((self.targets[i] >= 0).any(1))[-1]) + 1 for i in which)
        shape, level, mask = (
            torch.from_numpy(_padded([getattr(t, name)[:length] for t in tokens], length, 0))
            for name in ("shape", "level", "mask")
        )
        target = torch.from_numpy(_padded([self.targets[i][:length] for i in which], length, -1))
        there = mask
        mask = subset_left(mask, s.lose, s.burst, generator)
        # An epoch that has lost all it had is asked nothing: without evidence there is nothing to learn but the rate.
        target = torch.where((mask.any(-1) | ~there.any(-1)).unsqueeze(-1), target, torch.full_like(target, -1))
        segments = range(0, length, s.segment)
        restarts = torch.rand(len(segments), len(which), generator=generator) < s.restart
        rows = list(share.rows(len(which)))
        device = self.module.absent.device
        initial = self.module.initial_state(len(rows))
        state: State = initial
        for index, start in enumerate(segments):
            part = slice(start, start + s.segment)
            state = restarted(state, initial, restarts[index, rows].to(device))
            asked = bool((target[:, part] >= 0).any())
            with torch.set_grad_enabled(asked):
                inputs = (each[rows, part].to(device) for each in (shape, level, mask))
                logits, state = self.module(*inputs, state)
            state = detached(state)
            if asked:
                wanted = target[rows, part].to(device)
                yield {"loss": balanced_bce(logits, wanted, self.weight.to(device), share, s.focus)}

    def _order(self, turn: int) -> list[int]:
        order: list[int] = torch.randperm(len(self.nights), generator=chance(self.settings.loop.seed, 7, turn)).tolist()
        return order


def scale(inputs: SpectralInputs, nights: Sequence[EventNight]) -> None:
    """Tell the inputs mean and spread of each number over these nights, which are training nights."""
    inputs.set_statistics(
        *(
            torch.from_numpy(np.concatenate([getattr(night.tokens, name) for night in nights]))
            for name in ("shape", "level", "mask")
        )
    )


@torch.no_grad()
def probabilities(detector: EventDetector, night: EventNight) -> NDArray[np.float32]:
    """What it says of each epoch of a night, read once from its beginning: (N, K)."""
    detector.eval()
    inputs = (torch.from_numpy(getattr(night.tokens, name)).unsqueeze(0) for name in ("shape", "level", "mask"))
    logits, _ = detector(*inputs)
    said: NDArray[np.float32] = torch.sigmoid(logits[0]).numpy()
    return said


def _given(night: EventNight, given: Mapping[str, NDArray[np.bool_]] | None) -> NDArray[np.int8]:
    """(N, K): the night's labels where they may be learned from, else -1."""
    target = night.target()
    if given is None:
        return target
    return np.where(given[night.name][:, None], target, -1).astype(np.int8)


def _padded(arrays: Sequence[NDArray[np.generic]], length: int, fill: float) -> NDArray[np.generic]:
    """Side by side (B, length, ...), `fill` behind the end of each."""
    out = np.full((len(arrays), length, *arrays[0].shape[1:]), fill, arrays[0].dtype)
    for row, array in enumerate(arrays):
        out[row, : len(array)] = array
    return out
