"""A bundle: a directory with a model's step graphs and everything that must fit around them.

`bundle.json` names channels, rates, filters, states, rules, training data, figures and the SHA-256 of each file.
Bundles may come from strangers: names cannot leave the directory, sizes are bounded, nothing in one is executed but
its ONNX graph, and whatever does not fit is refused with the field that differs.
"""

import hashlib
import math
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec

from hypnostream.bounded_file import read_bounded
from hypnostream.engine.respiration.tick_inputs import ANSWERS, MANY_S, NUMBERS, TICK_S, TICK_SENSORS
from hypnostream.errors import UserError
from hypnostream.stream.channels import ChannelSpec
from hypnostream.stream.stages import EPOCH_S, STAGES

FORMAT_VERSION = 1
MAX_FILE_BYTES = 64 << 20
MAX_JSON_BYTES = 1 << 20

PlainName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", max_length=100)]
Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output of a graph; `shape` leaves out the batch, which comes first. All are float32."""

    name: PlainName
    shape: tuple[Size, ...]


class StateSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array that is carried from step to step, zeros at the beginning."""

    name: PlainName
    input: PlainName
    output: PlainName
    shape: tuple[Size, ...]


class GraphSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ONNX step graph and the clock it runs by."""

    file: PlainName
    clock_s: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[StateSpec, ...]


class StretchSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The epoch graph for `most` epochs at once; its inputs and outputs have the epochs behind the batch."""

    file: PlainName
    most: Annotated[int, msgspec.Meta(ge=1, le=1024)]


class BundleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `bundle.json`.

    `training` says whose nights the stager was made of and who was held out of them (`held_out`); what begins with
    `breathing_` is of the model of breathing, which is made apart and of other people.
    """

    format_version: int
    name: PlainName
    version: str
    channels: tuple[ChannelSpec, ...]
    stages: tuple[str, ...]
    epoch: GraphSpec
    grid: str
    front_end: str
    normalisation: str
    scoring_rule: str
    min_valid_s: int
    training: dict[str, str]
    metrics: dict[str, float]
    sha256: dict[PlainName, Sha256]
    tick: GraphSpec | None = None  # the learned model of breathing,
    ticks: GraphSpec | None = None  # and the same for many ticks in one call
    stretch: StretchSpec | None = None  # the epoch graph, with an axis of time


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read and found whole. `hash` is the SHA-256 of `bundle.json`, which covers all the rest."""

    path: Path
    content: BundleFile
    hash: str

    @property
    def channels(self) -> tuple[ChannelSpec, ...]:
        """What the model wants of the sensors, in the order of its input."""
        return self.content.channels

    @property
    def step_graphs(self) -> dict[str, GraphSpec]:
        """The graphs that go step by step, by name: "epoch", and "tick" and "ticks" where breathing has a model."""
        content = self.content
        named = {"epoch": content.epoch, "tick": content.tick, "ticks": content.ticks}
        return {name: graph for name, graph in named.items() if graph is not None}

    def graph_bytes(self, graph: GraphSpec | None = None) -> bytes:
        """A graph of the bundle (default: the epoch graph), its hash checked again as it is read."""
        return _checked(self.path, (graph or self.content.epoch).file, self.content)


def default_bundle_path() -> Path:
    """Where the bundle that ships with the package lies."""
    return Path(str(files("hypnostream.engine") / "bundles" / "stager"))


def load_bundle(path: Path | None = None) -> Bundle:
    """Read and check a bundle (default: the shipped one). Raises UserError with the field that does not fit."""
    directory = default_bundle_path() if path is None else Path(path)
    manifest = directory / "bundle.json"
    if not manifest.is_file():
        raise UserError(f"{directory} is no bundle: it has no bundle.json. Name a directory that `train` exported.")
    raw = _read(manifest, MAX_JSON_BYTES)
    try:
        content = msgspec.json.decode(raw, type=BundleFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{manifest}: {error}. Export the bundle again with this version.") from error
    _check(manifest, content)
    for name in content.sha256:
        _checked(directory, name, content)
    return Bundle(directory, content, hashlib.sha256(raw).hexdigest())


def _check(manifest: Path, content: BundleFile) -> None:
    """Everything that this engine requires of a bundle, field by field."""

    def require(field: str, found: object, expected: object) -> None:
        if found != expected:
            raise UserError(f"{manifest}: {field} is {found!r}, this engine needs {expected!r}. Export it again.")

    require("format_version", content.format_version, FORMAT_VERSION)
    require("stages", content.stages, STAGES)
    require("epoch.clock_s", content.epoch.clock_s, EPOCH_S)
    if not content.channels:
        raise UserError(f"{manifest}: channels is empty; a model needs at least one. Export it again.")
    rates = {spec.rate_hz for spec in content.channels}
    if len(rates) != 1 or not 1 <= min(rates) <= 4096:
        raise UserError(f"{manifest}: channels have rates {sorted(rates)} Hz; the epoch graph needs one in 1 to 4096.")
    count, rate = len(content.channels), rates.pop()
    expected_inputs = {
        "signal": (count, EPOCH_S * rate),
        "valid": (count, EPOCH_S),
        "age_s": (count,),
    }
    require("epoch.inputs", {t.name: t.shape for t in content.epoch.inputs}, expected_inputs)
    outputs = {t.name: t.shape for t in content.epoch.outputs}
    weights = {"weights": (count,)} if "weights" in outputs else {}  # a bundle may keep them to itself
    require("epoch.outputs", outputs, {"probabilities": (len(STAGES),)} | weights)
    names = [spec.name for spec in content.channels]
    require("channel names, each once,", sorted(set(names)), sorted(names))
    for spec in content.channels:
        band = (spec.highpass_hz or 0.0, spec.lowpass_hz or math.inf)
        if spec.highpass_hz == 0 or spec.lowpass_hz == 0 or not 0 <= band[0] < min(band[1], rate / 2):
            raise UserError(
                f"{manifest}: channel {spec.name} has highpass_hz {spec.highpass_hz} and lowpass_hz {spec.lowpass_hz}; "
                f"they must rise from above 0, the first below {rate / 2:g}. Export it again."
            )
    if not 1 <= content.min_valid_s <= EPOCH_S:
        raise UserError(f"{manifest}: min_valid_s is {content.min_valid_s}, it must lie in 1 to {EPOCH_S}.")
    for name, graph, clock_s in (("tick", content.tick, TICK_S), ("ticks", content.ticks, MANY_S)):
        if graph is None:
            continue
        require(f"{name}.clock_s", graph.clock_s, clock_s)
        given = {"numbers": (clock_s, len(TICK_SENSORS), NUMBERS), "mask": (clock_s, len(TICK_SENSORS))}
        require(f"{name}.inputs", {t.name: t.shape for t in graph.inputs}, given)
        answers = {"probabilities": (clock_s, len(ANSWERS))}
        require(f"{name}.outputs", {t.name: t.shape for t in graph.outputs}, answers)
        require(f"{name}.states", graph.states, () if content.tick is None else content.tick.states)
    for part in (content.epoch, content.tick, content.ticks, content.stretch):
        if part is not None and part.file not in content.sha256:
            raise UserError(f"{manifest}: sha256 does not cover {part.file}. Export it again.")


def _checked(directory: Path, name: str, content: BundleFile) -> bytes:
    data = _read(directory / name, MAX_FILE_BYTES)
    found = hashlib.sha256(data).hexdigest()
    if found != content.sha256[name]:
        raise UserError(
            f"{directory / name} was changed: its SHA-256 is {found[:12]}..., bundle.json says "
            f"{content.sha256[name][:12]}.... Install or export the bundle again."
        )
    return data


def _read(path: Path, limit: int) -> bytes:
    try:
        return read_bounded(path, limit)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Install or export the bundle again.") from error
