"""One TOML file describes a ward: what its beds share, and the beds, or a folder with a file each.

name = "ward 3"
beds = "beds"

[publish]
address = "ipc:///run/hypnostream/{bed}"

[[bed]]
name = "bed 1"
lsl = { predicate = "name='amplifier 1'" }
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from hypnostream.bridges.address import replay_address_of
from hypnostream.bridges.sayable import escaped
from hypnostream.bridges.session_folder import slug
from hypnostream.config import (
    BedConfig,
    MetricsSection,
    PublishSection,
    bed_config,
    read_toml,
    refuse_nul,
    refuse_unprintable,
)
from hypnostream.errors import UserError

MOST_BEDS: Final = 4096
_BED: Final = "{bed}"  # in an address: the bed's name, as it is in its folder's


class WardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A ward. `beds` is a folder with one bed's TOML file each, `bed` are those that stand here; both may be given.

    `status` is the address at which the ward says how its beds are; none: nowhere but in the log. `metrics` are the
    ward's own, one page for all beds. All other keys of a file are a bed's, and hold for each bed that does not say
    otherwise.
    """

    name: str = "ward"
    beds: str | None = None
    status: str | None = None
    metrics: MetricsSection = MetricsSection()
    bed: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError as `BedConfig` does."""
        refuse_unprintable("name", self.name)
        refuse_nul("beds", self.beds)


class WardFile(msgspec.Struct, frozen=True):
    """What is in a ward's file: itself, what its beds `shared` in TOML's terms, and the `beds` in it by their names."""

    path: Path
    ward: WardConfig
    shared: dict[str, Any]
    beds: dict[str, BedConfig]

    @property
    def defaults(self) -> BedConfig:
        """A bed that says nothing itself; the ward's own address is kept as its publish section says."""
        return bed_config(self.shared, self.path)


def load_ward(path: Path) -> WardFile:
    """Read a ward's file, but none of the folder's. Raises UserError naming the file, the bed, the key and what it
    should be."""
    raw = _read_file(path)
    own = {key: raw.pop(key) for key in WardConfig.__struct_fields__ if key in raw}
    try:
        ward = msgspec.convert(own, WardConfig)
    except msgspec.ValidationError as error:
        raise UserError(f"config {path}: {error}. See docs/ward.md for the keys.") from error
    if not ward.bed and ward.beds is None:  # as a file is that a full disk cut off: it is not to end every session
        raise UserError(f"config {path} has no beds: give it [[bed]] tables, or `beds`, a folder of files")
    bed_config(raw, path)
    beds: dict[str, BedConfig] = {}
    for number, table in enumerate(ward.bed, 1):
        name = table.get("name")
        if not isinstance(name, str) or not name:
            raise UserError(f"config {path}: bed {number} has no name; give each [[bed]] a name of its own.")
        if name in beds:
            raise UserError(f"config {path}: two beds are called {name!r}; give each [[bed]] a name of its own.")
        beds[name] = _bed(raw, table, path, f", bed {name!r}")
    return WardFile(path, ward, raw, beds)


def load_bed_of(ward: WardFile, path: Path) -> BedConfig:
    """Read the file of one bed in the ward's folder; its name, unless it says another, is the file's. UserError."""
    if escaped(str(path)) != str(path):
        raise UserError(f"config {escaped(str(path))}: its name is not UTF-8, which a bed's name must be. Rename it.")
    return _bed(ward.shared, {"name": path.stem} | _read_file(path), path)


def _read_file(path: Path) -> dict[str, Any]:
    """What is read again and again must not wait for someone to write it."""
    try:
        irregular = path.exists() and not path.is_file()
    except OSError as error:  # a folder on its way that may not be searched
        raise UserError(f"config {path} cannot be read: {error.strerror}. Name a TOML file.") from error
    if irregular:
        raise UserError(f"config {path} is no regular file. Name a TOML file.")
    return read_toml(path)


def _bed(shared: Mapping[str, Any], own: Mapping[str, Any], path: Path, of: str = "") -> BedConfig:
    bed_config(own, path, of)  # what is wrong is said of the bed, not of what it became
    bed = bed_config(_merged(shared, own), path, of)
    name = slug(bed.name)
    replay = bed.publish.replay
    publish = replace(
        bed.publish,
        address=bed.publish.address.replace(_BED, name),
        replay=None if replay is None else replay.replace(_BED, name),
    )
    published(publish)
    return replace(bed, publish=publish)


def published(section: PublishSection) -> tuple[str, str]:
    """Where a bed publishes, and where what was missed can be asked for. Raises UserError for what has no next port."""
    return section.address, section.replay or replay_address_of(section.address)


def _merged(shared: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """What a bed says stands above what the ward says, key by key."""
    merged = dict(shared)
    for key, value in own.items():
        before = merged.get(key)
        merged[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged
