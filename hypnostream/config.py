"""One TOML file describes one bed. Everything has a default; an unknown key is an error, never ignored."""

import tomllib
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import replace

from hypnostream.errors import UserError

LARGEST_BYTES = 1 << 20
MOST_NAME = 200  # characters
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e9)]  # without an upper bound infinity would pass
Name = Annotated[str, msgspec.Meta(max_length=MOST_NAME)]
BackendName = Literal["auto", "onnxruntime", "tensorrt"]


class LslSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where live signals come from. `predicate` is an LSL query ("type='EEG' and name='bed 3'"), or several, one for
    each device of the bed; none: all there are.

    `timeout_s` is how long to look for at least `minimum` streams; others may come and go at any time. A stream that
    says nothing for `stall_s` has stalled. The session ends after `max_silence_s` without a sample (none: it waits for
    ever). While it stands still, the newest `backlog_mb` megabytes of samples are kept for it. With a
    `private_session` only streams of that session on this machine are seen. `known_peers` are machines to ask by name
    where the network has no multicast.
    """

    predicate: str | tuple[str, ...] = ""
    minimum: Annotated[int, msgspec.Meta(ge=1)] = 1
    timeout_s: Positive = 10.0
    max_silence_s: Positive | None = None
    private_session: str | None = None
    stall_s: Positive = 2.5
    backlog_mb: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 64.0
    known_peers: tuple[str, ...] = ()

    @property
    def predicates(self) -> tuple[str, ...]:
        """The queries, one or more; () is for all there are."""
        several = (self.predicate,) if isinstance(self.predicate, str) else self.predicate
        return tuple(predicate for predicate in several if predicate)


class ModelSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`bundle` is a directory; none: the one that ships. `provisional`: a stage each second, beside the final ones.

    `backend` is what runs it; "auto" is TensorRT where that is installed, else onnxruntime. What cannot be used is
    replaced by onnxruntime, and that is said. `precision` is TensorRT's.
    """

    bundle: str | None = None
    provisional: bool = True
    backend: BackendName = "auto"
    precision: Literal["fp32", "fp16"] = "fp32"


class PublishSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ZeroMQ address. Loopback, unless `keys` names a folder of CURVE keys (`hypnostream keys new`) or `insecure`
    is said.

    `replay` is where what was missed can be asked for; none: the port after that of `address`, or its path + "-replay".
    """

    address: str = "tcp://127.0.0.1:5556"
    replay: str | None = None
    keys: str | None = None
    insecure: bool = False


class KeepSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stays on disk of a night. Each session has a folder in `folder`; `record` keeps the raw signals in it.

    A session that was cut off less than `resume_within_s` ago goes on when the bed starts again. Recorded signals older
    than `max_age_days`, and the oldest beyond `max_gb` in all, are removed when a session starts (none: never).
    `subject` is a pseudonym, kept with the results and never published.
    """

    folder: str = "nights"
    record: bool = False
    resume_within_s: Annotated[float, msgspec.Meta(ge=0)] = 3600.0
    max_age_days: Positive | None = None
    max_gb: Positive | None = None
    subject: Name | None = None


class MetricsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`address` (HOST:PORT) is where Prometheus and a supervisor may ask for metrics and health; none: nowhere."""

    address: str | None = None


class GridSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long an epoch waits for a late stream, in seconds of the session's clock."""

    lateness_s: Positive = 2.0


class BreathingSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether breathing is scored where its sensors are there. `rule` is that of hypopneas whose AHI is shown first;
    both are computed. `pap` says that the flow is that of a PAP device. With `arousals` those that are found here may
    make a hypopnea by rule 1A where saturation does not. Events are said each `every_s` seconds.
    """

    enabled: bool = True
    rule: Literal["1A", "1B"] = "1A"
    pap: bool = False
    arousals: bool = False
    every_s: Annotated[int, msgspec.Meta(ge=1, le=30)] = 1


class BedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One bed. `channels` names, for an input of the model or a sensor of breathing, the derivation or label to take
    ("eeg_frontal" = "F4-M1", "flow" = "Kanal 7").
    """

    name: Name = "bed"
    lsl: LslSection = LslSection()
    model: ModelSection = ModelSection()
    publish: PublishSection = PublishSection()
    keep: KeepSection = KeepSection()
    metrics: MetricsSection = MetricsSection()
    grid: GridSection = GridSection()
    breathing: BreathingSection = BreathingSection()
    channels: dict[str, str] = {}

    def __post_init__(self) -> None:
        """Raises ValueError for what no name and no path may hold; msgspec makes a ValidationError of it."""
        refuse_unprintable("name", self.name)
        refuse_nul("model.bundle", self.model.bundle)
        refuse_nul("publish.keys", self.publish.keys)
        refuse_nul("keep.folder", self.keep.folder)

    def insecure(self) -> "BedConfig":
        """The same bed, which may publish where other machines reach it."""
        return replace(self, publish=replace(self.publish, insecure=True))


def refuse_unprintable(key: str, name: str) -> None:
    """Raises ValueError for a name that could steer a terminal or make a line of its own."""
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise ValueError(f"{key} {name!r} holds control characters; take them out")


def refuse_nul(key: str, path: str | None) -> None:
    """Raises ValueError for a path that no system takes."""
    if path is not None and "\0" in path:
        raise ValueError(f"{key} {path!r} holds a NUL, which no path may; take it out")


def load_config(path: Path) -> BedConfig:
    """Read a bed's file. Raises UserError naming the file, the key and what it should be."""
    raw = read_toml(path)
    if is_ward(raw):
        raise UserError(f"config {path} is a ward's, which `hypnostream run` and `doctor` take. Name a bed's.")
    return bed_config(raw, path)


def is_ward(raw: Mapping[str, object]) -> bool:
    """Whether a file describes a ward: see `bridges.ward_config`."""
    return "bed" in raw or "beds" in raw


def read_toml(path: Path) -> dict[str, Any]:
    """What is in a TOML file. Raises UserError naming the file and what is wrong."""
    try:
        with path.open("rb") as file:  # a pipe is as good as a file
            raw = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"config {path} cannot be read: {reason}. Name a TOML file.") from error
    if len(raw) > LARGEST_BYTES:
        raise UserError(f"config {path} is larger than {LARGEST_BYTES} bytes. Name a TOML file.")
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"config {path} is not UTF-8 text: {error.reason} at byte {error.start}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"config {path} is not TOML: {error}.") from error
    except RecursionError as error:
        raise UserError(f"config {path} is nested too deeply to be a bed's.") from error


def bed_config(raw: Mapping[str, object], path: Path, of: str = "") -> BedConfig:
    """The bed that a file, or a part `of` it, describes. Raises UserError naming the key and what it should be."""
    try:
        return msgspec.convert(raw, BedConfig)
    except RecursionError as error:
        raise UserError(f"config {path} is nested too deeply to be a bed's.") from error
    except msgspec.ValidationError as error:
        raise UserError(f"config {path}{of}: {error}. See docs/configuration.md for the keys.") from error
