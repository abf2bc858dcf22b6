"""Training the learned model of breathing: windows of nights, sensors taken away, labels where there are any, whatever
the sets measured and however finely they were scored.

A batch is of windows from many nights: next to one another are people, not one person's hour. A window is long beside
what the model looks back on, and begins as a night does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.engine.respiration.tick_inputs import NUMBERS, TICK_SENSORS
from hypnostream.errors import UserError
from hypnostream.models.breathing_detector import BreathingDetector, BreathingDetectorSettings
from hypnostream.ranges import at_least, between
from hypnostream.training.breathing.tick_night import TickNight
from hypnostream.training.damage.augment import subset_left
from hypnostream.training.losses.balanced_bce import balance, balanced_bce
from hypnostream.training.running.loop import LoopSettings, Share, chance

_SPO2, _HEART = TICK_SENSORS.index("spo2"), TICK_SENSORS.index("heart")


@dataclass(frozen=True, slots=True)
class TickSettings:
    """A pass is all nights once, cut into windows of `window` seconds, `batch` of them at a time.

    `lose`: how often a window loses some of its sensors; `burst`: each for a while. `offset`: by how much the levels of
    saturation and heart are moved (standard deviation of the numbers), as oximeters and people differ. `power` and
    `focus`: see `balanced_bce`.
    """

    batch: int = 12
    window: int = 1800
    lose: float = 0.5
    burst: float = 0.2
    offset: float = 0.3
    power: float = 0.5
    focus: float = 1.0
    model: BreathingDetectorSettings = field(default_factory=BreathingDetectorSettings)
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(passes=10, learning_rate=3e-3, warmup_steps=50, average=0.98)
    )

    def __post_init__(self) -> None:
        at_least(1, self, "batch", "window")
        between(0, 1, self, "lose", "burst")
        at_least(0, self, "offset", "power", "focus")
        if (self.model.sensors, self.model.numbers) != (len(TICK_SENSORS), NUMBERS):
            raise ValueError(
                f"model.sensors is {self.model.sensors} and model.numbers {self.model.numbers}; the nights have "
                f"{len(TICK_SENSORS)} sensors of {NUMBERS} numbers"
            )


class TickTask:
    """A `Task` of the training loop. Raises UserError when no night has a label."""

    def __init__(self, nights: Sequence[TickNight], settings: TickSettings) -> None:
        self.settings = settings
        targets = [np.where(night.mask.any(1, keepdims=True), night.target(), -1) for night in nights]
        kept = [i for i, target in enumerate(targets) if (target >= 0).any()]
        if not kept:
            raise UserError("no second of the training nights has a label; give nights that were scored for apnea")
        self.nights, self.targets = [nights[i] for i in kept], [targets[i] for i in kept]
        torch.manual_seed(settings.loop.seed)
        self.module = BreathingDetector(settings.model)
        self.weight = balance(np.concatenate(self.targets), settings.power)
        # Labels of minutes are few beside those of seconds: each question counts alike, not each label.
        count = torch.from_numpy((np.concatenate(self.targets) >= 0).sum(0)).float()  # (Q,)
        self.weight = self.weight * (count.max() / count.clamp(min=1)).unsqueeze(1)

    def rounds(self, pass_index: int) -> int:
        """Batches of a pass."""
        return -(-len(self.windows(pass_index)) // self.settings.batch)

    def stepped(self) -> None:
        """Nothing moves beside the weights."""

    def windows(self, pass_index: int) -> list[tuple[int, int]]:
        """Nights and first seconds of the windows of a pass that have a label, in its order; each pass cuts anew."""
        s = self.settings
        generator = chance(s.loop.seed, 7, pass_index)
        offsets = torch.randint(s.window, (len(self.nights),), generator=generator).tolist()
        found = [
            (night, start)
            for night, offset in enumerate(offsets)
            for start in range(offset - s.window, len(self.nights[night]), s.window)
            if (self.targets[night][max(0, start) : start + s.window] >= 0).any()
        ]
        order = torch.randperm(len(found), generator=generator).tolist()
        return [found[i] for i in order]

    def losses(self, pass_index: int, round_index: int, share: Share) -> Iterator[dict[str, Tensor]]:
        """A batch of windows, a step."""
        s = self.settings
        which = self.windows(pass_index)[round_index * s.batch : (round_index + 1) * s.batch]
        generator = chance(s.loop.seed, pass_index, round_index)
        numbers = self._cut([(self.nights[i].numbers, start) for i, start in which], 0).float()
        mask = self._cut([(self.nights[i].mask, start) for i, start in which], 0).float()
        target = self._cut([(self.targets[i], start) for i, start in which], -1)
        mask = subset_left(mask, s.lose, s.burst, generator)
        # Where no sensor is there nothing is asked: without evidence there is nothing to learn but the rate.
        target = torch.where(mask.any(-1, keepdim=True), target, torch.full_like(target, -1))
        moved = torch.randn(2, len(which), 1, generator=generator) * s.offset
        numbers[..., _SPO2, 1] += moved[0]
        numbers[..., _HEART, 1] += moved[1]
        numbers = numbers * mask.unsqueeze(-1)
        rows = list(share.rows(len(which)))
        device = self.module.bias.device
        logits, _ = self.module(numbers[rows].to(device), mask[rows].to(device))
        yield {"loss": balanced_bce(logits, target[rows].to(device), self.weight.to(device), share, s.focus)}

    def _cut(self, parts: Sequence[tuple[NDArray[np.generic], int]], fill: float) -> Tensor:
        """Windows side by side (B, window, ...), `fill` where the night has not begun or is over."""
        length = self.settings.window
        out = np.full((len(parts), length, *parts[0][0].shape[1:]), fill, parts[0][0].dtype)
        for row, (array, start) in enumerate(parts):
            each = array[max(0, start) : start + length]
            begin = max(0, -start)
            out[row, begin : begin + len(each)] = each
        return torch.from_numpy(out)


@torch.no_grad()
def probabilities(
    detector: BreathingDetector, nights: Sequence[TickNight], segment: int = 3600
) -> list[NDArray[np.float32]]:
    """What it says of each second of nights, each read once from its beginning: (T, Q) each."""
    detector.eval()
    out = []
    for night in nights:
        state, said = detector.initial_state(1), []
        for start in range(0, len(night), segment):
            part = slice(start, start + segment)
            numbers, mask = (
                torch.from_numpy(each[part].astype(np.float32))[None] for each in (night.numbers, night.mask)
            )
            logits, state = detector(numbers, mask, state)
            said.append(torch.sigmoid(logits[0]).numpy())
        out.append(np.concatenate(said))
    return out
