"""The grids of one bed: that of the stages, and that of breathing, which waits for its own channels alone.

A slow channel is resampled with a longer look-ahead, so it comes later; no stage may be later for it. Breathing is
never ahead of the stages: it says what it says by them.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.grid import Grid, GridState
from hypnostream.stream.seconds import Seconds

STAGES, BREATHING = range(2)
_GRIDS: Final = 2


class Grids:
    """Both grids of `specs`, of which the first `inputs` are the model's; calls are those of a `Grid`.

    What is of a grid is listed by STAGES and BREATHING. Channels of seconds that are pushed are places in `specs`;
    of those that come out, places in the specs of their own grid. Seconds of breathing close `breathing_every_s` at a
    time, which costs less than one by one; which they are follows from their number.
    """

    def __init__(
        self, specs: Sequence[ChannelSpec], inputs: int, t0_s: float, lateness_s: float, breathing_every_s: int = 1
    ) -> None:
        self.specs, self.inputs = tuple(specs), inputs
        self.t0_s, self.lateness_s, self.breathing_every_s = t0_s, lateness_s, breathing_every_s
        self._grids = tuple(Grid(own, t0_s, {}, lateness_s) for own in (self.specs[:inputs], self.specs[inputs:]))

    @property
    def next_second(self) -> int:
        """The first second that is still open to the model."""
        return self._grids[STAGES].next_second

    def grid_of(self, place: int) -> int:
        """The grid of the spec at a place."""
        return STAGES if place < self.inputs else BREATHING

    def serve(self, name: str, places: Sequence[int], steady: bool = True) -> None:
        """From now on the stream `name` serves the specs at these places and no others."""
        self._grids[STAGES].serve(name, [each for each in places if each < self.inputs], steady)
        self._grids[BREATHING].serve(name, [each - self.inputs for each in places if each >= self.inputs], steady)

    def push(self, seconds: Seconds) -> None:
        """Take what one stream delivered of channels of one grid."""
        which = self.grid_of(seconds.channels[0])
        if which == BREATHING:
            seconds = replace(seconds, channels=tuple(each - self.inputs for each in seconds.channels))
        self._grids[which].push(seconds)

    def due(self, now_s: float) -> tuple[int, int]:
        """By grid, the second before which `advance(now_s)` will close everything, as things stand.

        Where nothing serves the model there is nothing to wait for: its seconds close with those of breathing.
        """
        stages, breathing = (grid.due(now_s) for grid in self._grids)
        if self._grids[BREATHING].is_served and not self._grids[STAGES].is_served:
            stages = max(stages, breathing)
        breathing = min(stages, breathing)
        return stages, max(self._grids[BREATHING].next_second, breathing - breathing % self.breathing_every_s)

    def advance(self, now_s: float, due: tuple[int, int]) -> tuple[list[Seconds], list[Seconds]]:
        """By grid, the blocks that close at `now_s`, before the seconds that are `due`."""
        stages, breathing = due
        return self._grids[STAGES].advance(now_s, stages), self._grids[BREATHING].advance(now_s, breathing)

    def finish(self, end_s: float) -> tuple[list[Seconds], list[Seconds]]:
        """By grid, what closes everything up to the end of the epoch in which stream time `end_s` lies."""
        stages = self._grids[STAGES].finish(end_s)
        return stages, self._grids[BREATHING].finish(self.t0_s + self.next_second)

    def snapshot(self) -> list[GridState]:
        """A copy of all that is remembered."""
        return [grid.snapshot() for grid in self._grids]

    def restore(self, states: Sequence[GridState]) -> None:
        """Go on from a snapshot of the same specs and t0. Raises ValueError for one that is none."""
        if len(states) != _GRIDS:
            raise ValueError(f"a snapshot of {len(states)} grids where {_GRIDS} belong")
        for grid, state in zip(self._grids, states, strict=True):
            grid.restore(state)
