"""What the model was given that breathing reads too, until breathing's own seconds of the same time are there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hypnostream.stream.seconds import Seconds


@dataclass(slots=True)
class HeardState:
    """Consecutive seconds, in blocks as they came."""

    blocks: list[Seconds]


class Heard:
    """Keeps of the model's seconds the channels at `places`, and puts them before those of breathing."""

    def __init__(self, places: Sequence[int]) -> None:
        self.places = tuple(places)
        self._blocks: list[Seconds] = []

    def snapshot(self) -> HeardState:
        """All that is remembered; blocks never change."""
        return HeardState(list(self._blocks))

    def restore(self, state: HeardState) -> None:
        """Go on from a snapshot of the same places."""
        self._blocks = list(state.blocks)

    def hear(self, seconds: Seconds) -> None:
        """Take what the model was given."""
        self._blocks.append(seconds.of(self.places))

    def with_these(self, seconds: Seconds) -> Seconds:
        """`seconds` with what was heard of them before their channels; it is forgotten then.

        Raises ValueError when it was not heard yet.
        """
        parts: list[Seconds] = []
        missing = seconds.count
        while missing and self._blocks:
            first = self._blocks.pop(0)
            if first.count > missing:
                self._blocks.insert(0, first.part(missing, first.count))
                first = first.part(0, missing)
            parts.append(first)
            missing -= first.count
        if missing or parts[0].start != seconds.start:
            raise ValueError(f"second {seconds.start} of breathing came before the model's")
        heard = [
            each[0] if len(each) == 1 else np.concatenate(each)
            for each in zip(*(part.samples for part in parts), strict=True)
        ]
        quality = np.concatenate((np.concatenate([part.quality for part in parts], axis=1), seconds.quality))
        return Seconds(seconds.start, tuple(range(len(quality))), (*heard, *seconds.samples), quality)
