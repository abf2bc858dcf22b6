"""How long recorded signals are kept. Results stay; signals of a session that is over go by age and by size."""

import shutil
import time
from pathlib import Path

from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.errors import UserError

DAY_S = 86400.0


def remove_old_signals(parent: Path, max_age_days: float | None, max_gb: float | None, but: Path) -> list[Path]:
    """Remove the recorded signals in the session folders of `parent` that are too old, then the oldest that are too
    much in all; returns the folders that lost theirs. The folder `but` is left alone, and so is a session of another
    bed that goes on, or was cut off within a day.

    What a session took in lies in its journal until it has ended in good order; that counts as its signals.
    """
    if (max_age_days is None and max_gb is None) or not parent.is_dir():
        return []
    recorded: list[tuple[float, int, SessionFolder]] = []
    for record_path in (*parent.glob("*/session.json"), *parent.glob("*/earlier-*/session.json")):
        folder = SessionFolder(record_path.parent)
        if folder.path.resolve() != but.resolve() and _is_over(folder):
            files = [file for place in _places(folder) for file in place.iterdir() if file.is_file()]
            if files:
                newest_s = max(file.stat().st_mtime for file in files)
                recorded.append((newest_s, sum(file.stat().st_size for file in files), folder))
    recorded.sort(key=lambda each: each[0])
    total = sum(size for _, size, _ in recorded)
    removed = []
    for newest_s, size, folder in recorded:
        too_old = max_age_days is not None and time.time() - newest_s > max_age_days * DAY_S
        too_much = max_gb is not None and total > max_gb * 1e9
        if too_old or too_much:
            for place in _places(folder):
                shutil.rmtree(place, ignore_errors=True)
            removed.append(folder.path)
            total -= size
    return removed


def _places(folder: SessionFolder) -> list[Path]:
    places = [place for name in ("signals*", ".signals*.part", "journal*") for place in folder.path.glob(name)]
    return [place for place in places if place.is_dir() and not place.is_symlink()]


def _is_over(folder: SessionFolder) -> bool:
    """Whether a session has ended, or was cut off so long ago that no one is at work in it."""
    try:
        ended = folder.read().ended_utc is not None
    except UserError:
        return False
    return ended or time.time() - folder.last_written_utc_s() > DAY_S
