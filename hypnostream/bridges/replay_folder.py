"""A folder of recorded nights: which there are, where the report of each goes, and which have theirs already.

OUT/replay.json     the settings and the model that all reports in it are made with
OUT/NAME/           the report of FOLDER/NAME.edf; a folder within FOLDER is one within OUT
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.model import Model
from hypnostream.bridges.picture import draw_night
from hypnostream.bridges.replay import ReplayOptions, bundle_of, model_of, replay
from hypnostream.bridges.summary import Summary, read_summary
from hypnostream.config import BedConfig, BreathingSection, GridSection
from hypnostream.errors import UserError

SCHEMA: Final = "hypnostream.replay"
SUFFIXES: Final = (".edf", ".xdf")
SETTINGS: Final = "replay.json"
_REPORT: Final = "summary.json"
_NO_NIGHTS: Final = (_REPORT, "session.json", SETTINGS)  # what a folder of reports has, or one of a session
_LARGEST_BYTES: Final = 1 << 20


class FolderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the reports of one folder have in common."""

    schema: Literal["hypnostream.replay"] = SCHEMA
    schema_version: int = 1
    model_hash: str
    grid: GridSection
    breathing: BreathingSection
    channels: dict[str, str]


@dataclass(frozen=True, slots=True)
class Night:
    """A recording and where its report goes."""

    recording: Path
    report: Path


def is_session(path: Path) -> bool:
    """Whether a folder is that of one live session, which is replayed by its steps."""
    return (path / "session.json").is_file()


def nights_in(folder: Path, out: Path) -> list[Night]:
    """The recordings in a folder and those below it, by name; reports and sessions in it are none.

    Raises UserError when there is none.
    """
    recordings = sorted(_recordings(folder))
    if not recordings:
        raise UserError(f"{folder} holds no recording ({', '.join(SUFFIXES)}) and no recorded session")
    names = [path.relative_to(folder) for path in recordings]
    alike = Counter(name.with_suffix("") for name in names)
    return [
        Night(path.resolve(), out.resolve() / (name if alike[name.with_suffix("")] > 1 else name.with_suffix("")))
        for path, name in zip(recordings, names, strict=True)
    ]


def take_settings(out: Path, config: BedConfig) -> FolderSettings:
    """Write down what all reports in `out` are made with. Raises UserError where those in it were made otherwise."""
    settings = FolderSettings(
        model_hash=bundle_of(config).hash, grid=config.grid, breathing=config.breathing, channels=dict(config.channels)
    )
    path = out / SETTINGS
    try:
        out.mkdir(parents=True, exist_ok=True)
        if path.exists():
            before = msgspec.json.decode(read_bounded(path, _LARGEST_BYTES), type=FolderSettings)
            if before != settings:
                raise UserError(
                    f"{out} has reports of another model or other settings ({SETTINGS}); name another --out"
                )
        else:
            write_atomically(path, msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n")
    except ValueError as error:  # msgspec's errors are ValueErrors
        raise UserError(f"{path} is no {SETTINGS} of Hypnostream: {error}; name another --out") from error
    return settings


def is_reported(night: Night, settings: FolderSettings) -> bool:
    """Whether a night has its report, by these settings, of a file of this name and size that is not younger."""
    path = night.report / _REPORT
    try:
        summary, file = read_summary(path), night.recording.stat()
        if path.stat().st_mtime < file.st_mtime:
            return False
    except (UserError, OSError):
        return False
    same = summary.input is not None and (summary.input.name, summary.input.size_bytes) == (
        night.recording.name,
        file.st_size,
    )
    return same and summary.model.hash == settings.model_hash


def stage_night(config: BedConfig, night: Night) -> Summary:
    """Write the report of one night, in a process that stages one after the other: what can be kept is."""
    model = _model(msgspec.json.encode(config))
    summary, _ = replay(night.recording, ReplayOptions(out=night.report, config=config), model=model, draw=draw_night)
    return replace(summary, annotations=[], notices=[])  # a line is said of it; it need not travel


@lru_cache(maxsize=1)
def _model(config: bytes) -> Model:
    return model_of(msgspec.json.decode(config, type=BedConfig), stretches=True)


def _recordings(folder: Path) -> Iterator[Path]:
    if any((folder / name).is_file() for name in _NO_NIGHTS):
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _recordings(path)
        elif path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            yield path
