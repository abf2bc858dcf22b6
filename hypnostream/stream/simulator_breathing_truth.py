"""How a simulated night with physiology is asked to breathe, and what is known of it: the truth to compare with."""

from dataclasses import dataclass
from math import log

from hypnostream.errors import UserError
from hypnostream.stream.simulator_breathing import EVENT_KINDS, RespiratoryEvent

# Saturation falls from so long after an event's start, to its nadir so long after the end, and comes back at this
# rate, each a circulation time later at the finger.
FALL_AFTER_START_S, NADIR_AFTER_END_S, REGAIN_TAU_S = 4.0, 2.0, 5.0


@dataclass(frozen=True, slots=True)
class BreathingSettings:
    """How a night with physiology breathes; NightSettings says how often there are events, up to about 70 an hour.

    `shares` of the kinds in the order of EVENT_KINDS; `hypopneas_without`: the share of hypopneas with neither 3 % of
    desaturation nor an arousal, which by rule are none; `arousals_after`: of apneas; rates are an hour of sleep, and
    awake one moves six times as often; `periodic_share` of sleep is spells of Cheyne-Stokes breathing.
    `circulation_s` from lung to finger, None to draw it.
    """

    circulation_s: float | None = None
    shares: tuple[float, float, float, float] = (0.35, 0.1, 0.45, 0.1)
    hypopneas_without: float = 0.25
    arousals_after: float = 0.7
    spontaneous_arousals_per_hour: float = 5.0
    movements_per_hour: float = 4.0
    periodic_share: float = 0.0

    def __post_init__(self) -> None:
        if self.circulation_s is not None and not 5 <= self.circulation_s <= 60:
            raise UserError(f"circulation_s {self.circulation_s} is not from 5 to 60 s")
        if len(self.shares) != len(EVENT_KINDS) or min(self.shares) < 0 or sum(self.shares) <= 0:
            raise UserError(f"shares {self.shares} are not one of 0 or more for each of {', '.join(EVENT_KINDS)}")
        for name in ("hypopneas_without", "arousals_after", "periodic_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)} is not a share from 0 to 1")
        for name in ("spontaneous_arousals_per_hour", "movements_per_hour"):
            if not 0 <= getattr(self, name) <= 120:
                raise UserError(f"{name} {getattr(self, name)} is not from 0 to 120")


@dataclass(frozen=True, slots=True)
class Breather:
    """What is this sleeper's own: seconds from lung to finger, percent of saturation lost a second of apnea, and how
    much the heart answers (1: as most)."""

    circulation_s: float
    fall_per_s: float
    heart_response: float


@dataclass(frozen=True, slots=True)
class Desaturation:
    """A dip of SpO2 as the finger has it: by `fall` percent at the nadir, two thirds of it regained at `end_s`.

    `event` is the index of the event that it follows; a dip of less than 1 % is not listed.
    """

    start_s: float
    nadir_s: float
    end_s: float
    fall: float
    event: int


@dataclass(frozen=True, slots=True)
class Arousal:
    """An arousal; `event` is the index of the event that it ends, None of a spontaneous one."""

    start_s: float
    duration_s: float
    event: int | None


@dataclass(frozen=True, slots=True)
class Movement:
    """A movement of the body. After a `turn` the sensors of breathing lie differently for good.

    `misread` is what a shaken oximeter says too little, in percent; 100: it has no reading and says 0.
    """

    start_s: float
    duration_s: float
    turn: bool
    misread: float


@dataclass(frozen=True, slots=True)
class Breathing:
    """The truth of a night's breathing beside its events. `periodic` are the (start_s, end_s) of periodic spells."""

    breather: Breather
    desaturations: tuple[Desaturation, ...]
    arousals: tuple[Arousal, ...]
    movements: tuple[Movement, ...]
    periodic: tuple[tuple[float, float], ...]


def desaturation(event: RespiratoryEvent, index: int, circulation_s: float) -> Desaturation:
    """When the finger sees what an event does to the lung."""
    nadir_s = event.end_s + NADIR_AFTER_END_S + circulation_s
    begins_s = event.start_s + FALL_AFTER_START_S + circulation_s
    return Desaturation(begins_s, nadir_s, nadir_s + REGAIN_TAU_S * log(3), event.fall or 0.0, index)
