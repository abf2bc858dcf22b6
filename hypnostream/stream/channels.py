"""What a model wants of a sensor (`ChannelSpec`), and how it is had from what came (`Derivation`)."""

from dataclasses import dataclass

# Codes that travel with every channel and second. Missing is information: nothing is filled in before the model.
# New codes go to the end: nights on disk hold these numbers.
QUALITY_NAMES = ("ok", "missing", "flat", "saturated", "noisy", "never_present", "mains", "lead_off")
OK, MISSING, FLAT, SATURATED, NOISY, NEVER_PRESENT, MAINS, LEAD_OFF = range(8)


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """One input of a model, as its bundle says.

    `name` is the slot ("eeg_frontal"), `kind` the sensor ("eeg", "eog", "emg", "ecg", "flow", "effort", "spo2"),
    `unit` what the model computes in ("uV"), `rate_hz` the whole number of samples a second it sees.
    `highpass_hz` and `lowpass_hz` are the causal conditioning (None: none; a lowpass at or above 0.45 of a
    stream's rate is left to the anti-alias filter). `derivations` are canonical names in order of preference
    ("Fpz-Cz", "F4-M1", ...).
    """

    name: str
    kind: str
    unit: str
    rate_hz: int
    derivations: tuple[str, ...]
    highpass_hz: float | None = None
    lowpass_hz: float | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """`weight` times one raw channel of a stream; the weight already turns the sender's unit into the spec's."""

    channel_index: int
    weight: float


@dataclass(frozen=True, slots=True)
class Derivation:
    """How a spec's channel is had from one stream: the sum of its terms. `why` is a sentence for people."""

    spec: ChannelSpec
    stream_id: str
    terms: tuple[Term, ...]
    label: str
    why: str


@dataclass(frozen=True, slots=True)
class Montage:
    """Which spec is had from where. `missing` maps a spec's name to why nothing serves; `notes` are ambiguities."""

    specs: tuple[ChannelSpec, ...]
    derivations: tuple[Derivation, ...]
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
