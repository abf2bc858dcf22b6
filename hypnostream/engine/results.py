"""What a session says: plain values, before they become messages, rows or pictures."""

from dataclasses import dataclass

from hypnostream.stream.stages import STAGES


@dataclass(frozen=True, slots=True)
class ChannelState:
    """One channel over an epoch (or the window of a provisional stage): its worst news first.

    `quality` is the name that most seconds had ("ok" only if at least as many seconds are ok as any other),
    `ok_fraction` the share of good seconds, `imputed` whether the model had to do without it. `weight` is its
    share in what was said, of all channels together 1; what was imagined for a missing one counts too, by how sure
    it is. None where the bundle does not say.
    """

    name: str
    quality: str
    ok_fraction: float
    imputed: bool
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class StageResult:
    """The stage of one epoch. `final` results come exactly once an epoch; provisional ones once a second.

    `stage` is None exactly when `absent_reason` is given ("no_data": no channel had anything to say).
    `probabilities` follow STAGES and are always finite; with no data they are the model's prior.
    `seconds` is how much of the epoch had passed (30 when final). `t_start_s` is stream time.
    """

    epoch: int
    t_start_s: float
    final: bool
    seconds: int
    stage: str | None
    absent_reason: str | None
    probabilities: tuple[float, float, float, float, float]
    channels: tuple[ChannelState, ...]
    compute_s: float = 0.0

    @property
    def confidence(self) -> float:
        """The probability of the likeliest stage."""
        return max(self.probabilities)

    def probability(self, stage: str) -> float:
        """The probability of one stage by name."""
        return self.probabilities[STAGES.index(stage)]
