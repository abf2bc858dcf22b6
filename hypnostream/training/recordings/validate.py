"""Is the store what it says it is? Hashes, rows, channels, labels and subjects of each recording."""

from collections.abc import Callable
from pathlib import Path

from hypnostream.errors import UserError
from hypnostream.training.recordings.recording_file import FILE, read_recording_file, sha256_of
from hypnostream.training.recordings.store import PARTIAL, read_recording, recordings_in
from hypnostream.training.recordings.store_signals import SIGNALS, signals_wrong
from hypnostream.training.running.many import Failed, run_each

Progress = Callable[[int, int, str], None]


def validate(store: Path, workers: int = 1, progress: Progress = lambda *_: None) -> dict[str, list[str]]:
    """What is wrong, by recording, [] for one that is as it was written. Raises UserError when there is no store."""
    folders = recordings_in(store)
    if not folders:
        raise UserError(f"{store} holds no recordings; `hypnostream train ingest DATA {store}` brings them there")
    found: dict[str, list[str]] = {}
    progress(0, len(folders), "")
    for done, (place, result) in enumerate(run_each(wrong_with, folders, workers), 1):
        found[folders[place].name] = [result.message] if isinstance(result, Failed) else result
        progress(done, len(folders), folders[place].name)
    for name, other in _two_people(folders):
        found[name].append(f"has the very signals of {other}, which is said to be another person")
    for left in store.glob(f"{PARTIAL}*"):
        found[left.name] = ["was left by an ingest that was stopped; ingest again to clear it away"]
    return dict(sorted(found.items()))


def how_to_go_on(store: Path) -> str:
    """What to do about recordings of a store that cannot be read."""
    return (
        f"`hypnostream train validate {store}` names all that are damaged: ingest them again, or remove their folders "
        "to go on without them"
    )


def wrong_with(folder: Path) -> list[str]:
    """What is wrong with one recording, a line each."""
    try:
        content = read_recording_file(folder)
    except UserError as error:
        return [str(error)]
    wrong = []
    if content.name != folder.name:
        wrong.append(f"is called {content.name!r} in {FILE}")
    wrong += [f"its {what} is not said" for what in ("subject", "set_name") if not getattr(content, what)]
    for path in sorted(folder.iterdir()):
        if path.name != FILE and path.name not in content.tables:
            wrong.append(f"{path.name} is not one of its tables")
    for name, table in content.tables.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            wrong.append(f"{name} is not there")
        elif sha256_of(path) != table.sha256:
            wrong.append(f"{name} is not what its hash says")
    if wrong:
        return wrong
    try:
        recording = read_recording(folder)
    except UserError as error:
        return [str(error)]
    if content.channels:
        signals = signals_wrong(folder / SIGNALS, content.channels, content.epochs)
        wrong += [signals] if signals else []
    elif SIGNALS in content.tables:
        wrong.append(f"{SIGNALS} is there, but no channel is named")
    wrong += [
        f"track {name}: a label each {track.resolution_s} s"
        for name, track in recording.tracks.items()
        if track.resolution_s < 1
    ]
    return wrong


def _two_people(folders: list[Path]) -> list[tuple[str, str]]:
    """Recordings of the very same signals that are said to be of different people: one could be on two sides."""
    seen: dict[str, tuple[str, str]] = {}
    out = []
    for folder in folders:
        try:
            content = read_recording_file(folder)
        except UserError:
            continue
        if SIGNALS in content.tables:
            name, subject = seen.setdefault(content.tables[SIGNALS].sha256, (folder.name, content.subject))
            if subject != content.subject:
                out.append((folder.name, name))
    return out
