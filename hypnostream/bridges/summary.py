"""`summary.json`: one night in numbers, with what they were made from and by."""

import hashlib
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

import msgspec

from hypnostream import __version__
from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.annotations import AnnotationSummary, PositionTime
from hypnostream.bridges.breathing_report import BreathingSummary
from hypnostream.bridges.tables import NOTICE
from hypnostream.engine.agreement import Agreement
from hypnostream.engine.results import StageResult
from hypnostream.engine.sleep_statistics import SleepStatistics
from hypnostream.errors import UserError
from hypnostream.stream.channels import QUALITY_NAMES, Montage
from hypnostream.stream.source import StreamInfo

SCHEMA: Final = "hypnostream.summary"
LARGEST_BYTES: Final = 64 << 20
PACKAGES: Final = ("numpy", "scipy", "onnxruntime", "pyarrow", "matplotlib", "pylsl", "pyzmq", "msgspec")


class InputFile(msgspec.Struct, frozen=True, kw_only=True):
    """The recording: its file name without the folders, its SHA-256 and size."""

    name: str
    sha256: str
    size_bytes: int


class ChannelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One channel of the model: what it was taken from, or why nothing served.

    `label` is the derivation ("C4-M1"), `sources` and `units` are the sender's labels and units of what it is made of;
    these, `stream_id` and `rate_hz` are None or empty when nothing was found. `ok_fraction` is the mean over the
    epochs that speak of the channel, `epochs_by_quality` counts epochs by the quality that most of their seconds had.
    """

    name: str
    kind: str
    found: bool
    why: str
    label: str | None
    stream_id: str | None
    rate_hz: float | None
    sources: tuple[str, ...]
    units: tuple[str, ...]
    ok_fraction: float | None
    epochs_by_quality: dict[str, int]
    epochs_imputed: int


class NoticeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What was said of a source or of the session in the night; see `stream.source.Notice`. `at_s` is stream time."""

    state: str
    subject: str
    at_s: float
    detail: str
    seconds: float | None
    samples: int | None


class EpochCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many epochs there are, and how many have no stage, by reason."""

    total: int
    staged: int
    absent: dict[str, int]


class ModelSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Which model said it, and what ran it. `hash` is the bundle's."""

    name: str
    hash: str
    backend: str
    scoring_rule: str


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `summary.json`. Versions only ever add fields; a reader ignores what it does not know.

    `input` is None when the night came live. `start_utc` is the wall time of the beginning of epoch 0, where it is
    known. `timings` are seconds by name; each name ends in `_s`. `agreement` is there when a reference was given.
    `lights_off_s` and `lights_on_s` are stream time, None where no marker said it. `annotations` are at most the first
    thousand; `position_min` has a position only when one was ever said. `breathing` is None where no sensor of it was.
    """

    schema: Literal["hypnostream.summary"] = SCHEMA
    schema_version: int = 1
    notice: str = NOTICE
    hypnostream_version: str = __version__
    versions: dict[str, str]
    session_id: str
    input: InputFile | None
    start_utc: datetime | None
    channels: list[ChannelSummary]
    notes: list[str]
    epochs: EpochCounts
    sleep: SleepStatistics
    model: ModelSummary
    timings: dict[str, float]
    warnings: list[str]
    agreement: Agreement | None = None
    lights_off_s: float | None = None
    lights_on_s: float | None = None
    annotations: list[AnnotationSummary] = []
    notices: list[NoticeSummary] = []
    position_min: dict[str, PositionTime] = {}
    breathing: BreathingSummary | None = None


def encode_summary(summary: Summary) -> bytes:
    """Indented JSON, UTF-8; a number that is not finite becomes null."""
    return msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n"


def read_summary(path: Path) -> Summary:
    """Read a `summary.json`. Raises UserError when it cannot be read or is none."""
    try:
        return msgspec.json.decode(read_bounded(path, LARGEST_BYTES), type=Summary)
    except (OSError, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise UserError(f"{path} cannot be read as a summary of Hypnostream: {error}") from error


def describe_file(path: Path) -> InputFile:
    """Name, hash and size of a file; reads all of it (less than a second a gigabyte where a disk can)."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return InputFile(name=path.name, sha256=digest, size_bytes=file.tell())


def describe_channels(
    montage: Montage, streams: Sequence[StreamInfo], results: Sequence[StageResult]
) -> list[ChannelSummary]:
    """Every channel of the model, in its order: where it is had from, and what became of it over the night."""
    derivations = {derivation.spec.name: derivation for derivation in montage.derivations}
    missing = dict(montage.missing)
    described = []
    for spec in montage.specs:
        derivation = derivations.get(spec.name)
        stream = next((each for each in streams if derivation and each.stream_id == derivation.stream_id), None)
        terms = [stream.channels[term.channel_index] for term in derivation.terms] if derivation and stream else []
        states = [state for result in results for state in result.channels if state.name == spec.name]
        counts = Counter(state.quality for state in states)
        described.append(
            ChannelSummary(
                name=spec.name,
                kind=spec.kind,
                found=derivation is not None,
                why=derivation.why if derivation else missing.get(spec.name, "nothing serves"),
                label=derivation.label if derivation else None,
                stream_id=derivation.stream_id if derivation else None,
                rate_hz=stream.rate_hz if stream else None,
                sources=tuple(term.label for term in terms),
                units=tuple(term.unit for term in terms),
                ok_fraction=sum(state.ok_fraction for state in states) / len(states) if states else None,
                epochs_by_quality={name: counts[name] for name in QUALITY_NAMES if counts[name]},
                epochs_imputed=sum(state.imputed for state in states),
            )
        )
    return described


def count_epochs(results: Sequence[StageResult]) -> EpochCounts:
    """How many of the final results have a stage, and why the others have none."""
    absent = Counter(result.absent_reason for result in results if result.absent_reason is not None)
    return EpochCounts(total=len(results), staged=len(results) - absent.total(), absent=dict(sorted(absent.items())))


def installed_versions() -> dict[str, str]:
    """Python, the platform and those packages of ours that are installed."""
    versions = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
