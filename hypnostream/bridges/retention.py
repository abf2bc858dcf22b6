"""How long recorded signals are kept. Results stay; signals of a session that has ended go by age and by size."""

import shutil
import time
from pathlib import Path

from hypnostream.bridges.session_folder import SessionFolder
from hypnostream.errors import UserError

DAY_S = 86400.0


def remove_old_signals(parent: Path, max_age_days: float | None, max_gb: float | None, but: Path) -> list[Path]:
    """Remove the recorded signals in the session folders of `parent` that are too old, then the oldest that are too
    much in all; returns what was removed. A session that has not ended, and the folder `but`, are left alone.
    """
    if (max_age_days is None and max_gb is None) or not parent.is_dir():
        return []
    recorded: list[tuple[float, int, Path]] = []
    for record_path in parent.glob("*/session.json"):
        folder = SessionFolder(record_path.parent)
        if folder.path.resolve() == but.resolve() or folder.signals_path.is_symlink():
            continue
        try:
            record = folder.read()
        except UserError:
            continue
        if record.ended_utc is not None and folder.signals_path.is_dir():
            size = sum(file.stat().st_size for file in folder.signals_path.iterdir() if file.is_file())
            recorded.append((record.ended_utc.timestamp(), size, folder.signals_path))
    recorded.sort()
    total = sum(size for _, size, _ in recorded)
    removed = []
    for ended_s, size, path in recorded:
        too_old = max_age_days is not None and time.time() - ended_s > max_age_days * DAY_S
        too_much = max_gb is not None and total > max_gb * 1e9
        if too_old or too_much:
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
            total -= size
    return removed
