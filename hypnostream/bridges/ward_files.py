"""The files of a ward as they stand now: looked at again and again while it runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hypnostream.bridges.ward_config import MOST_BEDS, WardFile, load_bed_of, load_ward, published
from hypnostream.config import BedConfig
from hypnostream.errors import UserError

_Signature = tuple[int, int] | None  # of a file: when it was changed, and its size; None: not there


@dataclass(frozen=True, slots=True)
class Beds:
    """What a look found: the beds by their places ("beds/3.toml", or the name of one in the ward's own file), what is
    wrong with which file, each fault once, and all places that are `refused` for as long as they are wrong."""

    beds: Mapping[str, BedConfig]
    wrong: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept:
    """A file as it was when it was last taken, and as it was seen since."""

    seen: _Signature
    taken: _Signature = None
    bed: BedConfig | None = None


class WardFiles:
    """The ward's file, and the folder that it names.

    A file that changed is taken when it was the same twice in a row, so not while it is being written. One that is
    wrong changes nothing: what it said before holds. UserError, of the first look alone: the ward's file is wrong, or
    there is no bed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ward: WardFile = load_ward(path)
        self._ward_kept = _Kept(_signature(path), _signature(path))
        self._files: dict[Path, _Kept] = {}
        self._said: dict[str, str] = {}
        self._beds: dict[str, BedConfig] = {}
        self.first = self._look(at_once=True)
        if not self.first.beds:
            reasons = "; ".join(self.first.wrong.values())
            raise UserError(
                reasons or f"config {path} has no beds: give it [[bed]] tables, or `beds`, a folder of files"
            )

    @property
    def beds_expected(self) -> int:
        """For how many beds to make ready: those of the first look, and of a ward two at least."""
        return max(2, len(self.first.beds))

    def look(self) -> Beds:
        """How things stand now."""
        return self._look(at_once=False)

    def _look(self, at_once: bool) -> Beds:
        wrong: dict[str, str] = {}
        if _changed(self._ward_kept, _signature(self.path)):
            try:
                self.ward = load_ward(self.path)
                for kept in self._files.values():  # what they share may be another
                    kept.taken = None
            except UserError as error:
                wrong[str(self.path)] = str(error)
        elif str(self.path) in self._said:  # neither mended nor changed
            wrong[str(self.path)] = self._said[str(self.path)]
        beds = dict(self.ward.beds)
        try:
            for path in self._in_folder(wrong):
                self._take(path, at_once, wrong)
        except OSError as error:  # a disk that is away for a moment ends no bed
            wrong[str(self.ward.ward.beds)] = f"folder {error.filename} cannot be read: {error.strerror}"
        beds |= {str(path): kept.bed for path, kept in sorted(self._files.items()) if kept.bed is not None}
        self._beds = self._side_by_side(beds, wrong)
        news = {place: why for place, why in wrong.items() if self._said.get(place) != why}
        self._said = wrong
        return Beds(self._beds, news, tuple(sorted(wrong)))

    def _side_by_side(self, beds: Mapping[str, BedConfig], wrong: dict[str, str]) -> dict[str, BedConfig]:
        """The beds that can be beside one another: those that are as they were go before those that are new."""
        unchanged = [place for place, bed in beds.items() if self._beds.get(place) == bed]
        own = self.ward.ward.metrics.address
        claimed = {} if own is None else {f"address {own}": str(self.path)}
        found: dict[str, BedConfig] = {}
        for place in [*unchanged, *(place for place in beds if place not in unchanged)]:
            for bed in (beds[place], self._beds.get(place)):
                if bed is None:
                    continue
                claims = _claims(bed)
                twice = next((each for each in claims if each in claimed or claims.count(each) > 1), None)
                if twice is None:
                    claimed |= dict.fromkeys(claims, place)
                    found[place] = bed
                    break
                other = claimed.get(twice, place)
                wrong[place] = (
                    f"{place}: {twice} is that of {other} too; give each its own, or an address with {{bed}} in it"
                )
        return {place: found[place] for place in beds if place in found}

    def _in_folder(self, wrong: dict[str, str]) -> list[Path]:
        """The files of the folder; those that are gone are forgotten. Raises OSError."""
        folder = self.ward.ward.beds
        if folder is None:
            self._files.clear()
            return []
        there = [each for each in Path(folder).iterdir() if each.suffix == ".toml"]  # glob does not say what is wrong
        paths = sorted(each for each in there if not each.name.startswith("."))
        if len(paths) > MOST_BEDS:
            wrong[folder] = f"folder {folder} has {len(paths)} beds; {MOST_BEDS} are taken at most"
        for path in self._files.keys() - set(paths):
            del self._files[path]
        return paths[:MOST_BEDS]

    def _take(self, path: Path, at_once: bool, wrong: dict[str, str]) -> None:
        signature = _signature(path)
        kept = self._files.setdefault(path, _Kept(signature if at_once else None))
        if not _changed(kept, signature):
            if str(path) in self._said:
                wrong[str(path)] = self._said[str(path)]
            return
        try:
            kept.bed = load_bed_of(self.ward, path)
        except UserError as error:
            wrong[str(path)] = str(error)


def _signature(path: Path) -> _Signature:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _changed(kept: _Kept, signature: _Signature) -> bool:
    """Whether a file is another than was taken, and the same as when it was seen last; then it counts as taken."""
    settled, kept.seen = signature == kept.seen, signature
    if not settled or signature == kept.taken:
        return False
    kept.taken = signature
    return True


def _claims(bed: BedConfig) -> list[str]:
    """What no two beds may have."""
    addresses = [*published(bed.publish), *([] if bed.metrics.address is None else [bed.metrics.address])]
    fixed = [address for address in addresses if not address.endswith((":*", ":0"))]
    return [f"the name {bed.name!r}", *(f"address {address}" for address in fixed)]
