"""The files of a ward as they stand now: looked at again and again while it runs."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hypnostream.bridges.sayable import escaped
from hypnostream.bridges.ward_config import MOST_BEDS, WardFile, load_bed_of, load_ward, published
from hypnostream.config import BedConfig
from hypnostream.errors import UserError

GONE_LOOKS: Final = 3  # in a row without a file, until it counts as gone: some editors take it away to write it,
EMPTY_LOOKS: Final = 20  # and a folder that is quite empty is more often a disk that is away than the end of all beds
_Signature = tuple[int, ...]  # of a file: what tells two states of it apart; () where it cannot be looked at
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Beds:
    """What a look found: the beds by their places ("beds/3.toml", or the name of one in the ward's own file), what is
    wrong with which file, each fault once, and all places that are `refused` for as long as they are wrong."""

    beds: Mapping[str, BedConfig]
    wrong: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept:
    """A file as it was when it was last taken (None: it is yet to be), and as it was seen since; `missed` in so many
    looks in a row."""

    seen: _Signature | None
    taken: _Signature | None = None
    bed: BedConfig | None = None
    missed: int = 0


class WardFiles:
    """The ward's file, and the folder that it names.

    A file that changed is taken when it was the same twice in a row, so not while it is being written. One that is
    wrong changes nothing: what it said before holds. One that is gone counts as gone after GONE_LOOKS, or EMPTY_LOOKS
    where all are. UserError, of the first look alone: the ward's file is wrong, or there is no bed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ward: WardFile = load_ward(path)
        self._ward_kept = _Kept(_signature(path), _signature(path))
        self._files: dict[Path, _Kept] = {}
        self._empty_looks = 0
        self._failure = ""  # what kept the last look from its end
        self._said: dict[str, str] = {}
        self._beds: dict[str, BedConfig] = {}
        self.first = self._look(at_once=True)
        if not self.first.beds:
            reasons = "; ".join(self.first.wrong.values())
            raise UserError(reasons or f"config {path} has no beds: put files into {self.ward.ward.beds}")

    @property
    def beds_expected(self) -> int:
        """For how many beds to make ready: those of the first look, and of a ward two at least."""
        return max(2, len(self.first.beds))

    def look(self) -> Beds:
        """How things stand now. Whatever keeps it from being known, it is said and nothing changes."""
        try:
            found = self._look(at_once=False)
        except Exception as error:
            place, why = str(self.path), f"{self.path} cannot be looked at: {type(error).__name__}: {error}"
            news = {} if why == self._failure else {place: why}
            if news:
                _logger.exception("%s", escaped(why))
            self._failure = why
            return Beds(self._beds, news, tuple(sorted({*self._said, place})))
        self._failure = ""
        return found

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
        folder = self.ward.ward.beds
        try:
            paths = [] if folder is None else _in_folder(Path(folder))
        except OSError as error:  # a disk that is away for a moment ends no bed
            wrong[str(folder)] = f"folder {folder} cannot be read: {error.strerror}"
        else:
            if len(paths) > MOST_BEDS:
                wrong[str(folder)] = f"folder {folder} has {len(paths)} beds; {MOST_BEDS} are taken at most"
            for path in paths[:MOST_BEDS]:
                self._take(path, at_once, wrong)
            self._forget(paths, wrong)
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

    def _forget(self, paths: list[Path], wrong: dict[str, str]) -> None:
        """What is not among the files of the folder, and was not for long enough, is gone."""
        folder, missing = self.ward.ward.beds, self._files.keys() - set(paths)
        self._empty_looks = self._empty_looks + 1 if missing and not paths else 0
        if folder is None or self._empty_looks >= EMPTY_LOOKS:  # None: the ward's file was changed
            self._files.clear()
        elif self._empty_looks:
            wrong[folder] = f"folder {folder} is empty, as where a disk is away; if it stays so, its beds end"
            return
        renamed = {kept.bed.name for path in paths if (kept := self._files.get(path)) and kept.bed}
        for path in missing & self._files.keys():
            kept = self._files[path]
            kept.missed, kept.seen = kept.missed + 1, None  # one that comes back is to settle
            if kept.missed >= GONE_LOOKS or (kept.bed is not None and kept.bed.name in renamed):
                del self._files[path]

    def _take(self, path: Path, at_once: bool, wrong: dict[str, str]) -> None:
        """Read the file if it changed; what is wrong with it goes into `wrong`, for as long as it is."""
        place, signature = escaped(str(path)), _signature(path)
        kept = self._files.setdefault(path, _Kept(signature if at_once else None))
        kept.missed = 0
        if not _changed(kept, signature):
            if place in self._said:
                wrong[place] = self._said[place]
            return
        try:
            kept.bed = load_bed_of(self.ward, path)
        except UserError as error:
            wrong[place] = str(error)


def _in_folder(folder: Path) -> list[Path]:
    """The files of beds that are in it. Raises OSError; glob would not say what is wrong."""
    return sorted(each for each in folder.iterdir() if each.suffix == ".toml" and not each.name.startswith("."))


def _signature(path: Path) -> _Signature:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ()
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size


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
