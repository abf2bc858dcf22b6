"""One session on disk: what it is, what it said, what came in, and where it was when it was last written down.

    session.json      who and when, and the settings that its results depend on
    results.arrows    what was said (see result_log)
    checkpoint        all that it remembers (see checkpoint), and
    journal/          what came in since (see journal), until the session has ended;
    signals/          what came in, all night, where it is recorded (see recording);
    lock              held by who is at work

and the report beside them.
"""

import secrets
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from hypnostream import __version__
from hypnostream.bounded_file import read_bounded
from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.folder_lock import is_locked
from hypnostream.config import BreathingSection
from hypnostream.errors import UserError

SCHEMA: Final = "hypnostream.session"
_OF_A_SESSION: Final = (
    "session.json",
    "results.arrows",
    "checkpoint",
    "journal",
    "signals",
    "epochs.parquet",
    "summary.json",
    "hypnogram.png",
    "annotations.parquet",
    "events.parquet",
    "scored.edf",
    "scored.xml",
    "scored.annot",
)
Finite = Annotated[float, Meta(ge=-1e12, le=1e12)]
Word = Annotated[str, Meta(max_length=500)]


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is. `t0_s` is where its grid begins, in stream time, and `start_utc` the wall time of that; with
    `stream_clock` the streams say their time themselves, else it is this machine's LSL clock.

    `subject` is a pseudonym, kept here and nowhere else. `breathing` is None in a session of a version that did not
    score it. Given the same steps and these settings, a bed with the bundle of this hash says the same again. From
    `ending_s` on, in stream time, nothing belongs to it any more, for the reason `ending`; `ended_utc` is given when
    all that follows from that is done.
    """

    schema: Literal["hypnostream.session"] = SCHEMA
    schema_version: int = 1
    session_id: Word
    name: Word
    model_hash: Word
    hypnostream_version: Word = __version__
    t0_s: Finite
    start_utc: datetime | None
    speed: Annotated[float, Meta(gt=0)] = 1.0
    stream_clock: bool = False
    lateness_s: Annotated[float, Meta(gt=0)]
    stall_s: Annotated[float, Meta(gt=0)]
    provisional: bool
    channels: dict[str, str]
    breathing: BreathingSection | None = None
    recorded: bool = False
    subject: Word | None = None
    ending_s: Finite | None = None
    ending: Word | None = None
    ended_utc: datetime | None = None


# Made here: msgspec crashes when two threads use a type for the first time at once.
_decoder = msgspec.json.Decoder(SessionRecord)


class SessionFolder:
    """The places of a session's files in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_path = path / "session.json"
        self.results_path = path / "results.arrows"
        self.checkpoint_path = path / "checkpoint"
        self.journal_path = path / "journal"
        self.signals_path = path / "signals"

    def write(self, record: SessionRecord) -> None:
        """Write down what the session is."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.record_path, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")

    def read(self) -> SessionRecord:
        """What the session is. Raises UserError when the folder holds none."""
        try:
            return _decoder.decode(read_bounded(self.record_path, 1 << 20))
        except (OSError, ValueError, RecursionError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{self.path} is a folder, but not of a session: session.json: {reason}") from error

    def unfinished(self) -> SessionRecord | None:
        """What the session is, when it was cut off and can be taken up again."""
        try:
            record = self.read()
        except UserError:
            return None
        return record if record.ended_utc is None and self.checkpoint_path.is_file() else None

    def resumable(self, name: str, model_hash: str, within_s: float) -> SessionRecord | None:
        """What the session is, when it is one of this bed and bundle that was cut off less than `within_s` ago."""
        record = self.unfinished()
        recent = time.time() - self.last_written_utc_s() <= within_s
        return record if record and recent and (record.name, record.model_hash) == (name, model_hash) else None

    def last_written_utc_s(self) -> float:
        """When something was last written down of the session."""
        files = [self.checkpoint_path, *self.journal_path.glob("*.steps")]
        return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)

    def clear(self) -> None:
        """Make room for a new session: an earlier one stays, whole, in a folder `earlier-` and its session_id."""
        earlier = [path for path in self.path.glob("*") if path.name in _OF_A_SESSION]
        if not earlier:
            return
        try:
            name = self.read().session_id
        except UserError:
            name = secrets.token_hex(4)
        safe = "".join(character for character in name if character.isalnum())[:40]
        place, number = self.path / f"earlier-{safe}", 2
        while place.exists():
            place, number = self.path / f"earlier-{safe}-{number}", number + 1
        place.mkdir()
        for path in earlier:
            path.replace(place / path.name)

    def give_up(self, record: SessionRecord, why: str) -> None:
        """What was written down cannot be taken up: it stays, and the session counts as ended. Raises UserError."""
        try:
            self.write(replace(record, ending=why[:500], ended_utc=datetime.now(UTC)))
        except OSError as error:
            raise UserError(f"{self.record_path} cannot be written: {error.strerror}; make room, or move it") from error

    def forget_progress(self) -> None:
        """The session has ended: nothing is to be taken up."""
        self.checkpoint_path.unlink(missing_ok=True)
        if self.journal_path.is_dir():
            for file in self.journal_path.glob("*.steps"):
                file.unlink(missing_ok=True)
            if not any(self.journal_path.iterdir()):
                self.journal_path.rmdir()

    def remove_unsaid(self) -> None:
        """The session ended before it said anything: nothing of it stays. What cannot be removed is left."""
        with suppress(OSError):
            self.forget_progress()
            self.record_path.unlink(missing_ok=True)
            self.results_path.unlink(missing_ok=True)


def folder_of(out: Path | None, parent: Path, name: str, model_hash: str, resume_within_s: float) -> SessionFolder:
    """The folder to work in: that of the newest session that can be taken up, or a new one.

    `out` names it, else it is one in `parent` after the bed's name and the hour. Only a session of the same bed
    and bundle that was cut off less than `resume_within_s` ago is taken up; where a process is at work, none was.
    """
    if out is not None:
        candidates = [SessionFolder(out)]
    else:
        found = sorted(parent.glob(f"{slug(name)}-*/session.json")) if parent.is_dir() else []
        candidates = [SessionFolder(path.parent) for path in found]
    for folder in sorted(candidates, key=SessionFolder.last_written_utc_s, reverse=True):
        resumable = folder.resumable(name, model_hash, resume_within_s) is not None
        if resumable and (out is not None or not is_locked(folder.path)):
            return folder
    if out is not None:
        return SessionFolder(out)
    stem = f"{slug(name)}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    path, number = parent / stem, 2
    while path.exists():
        path, number = parent / f"{stem}-{number}", number + 1
    return SessionFolder(path)


def slug(name: str) -> str:
    """A bed's name as part of a folder's."""
    return "".join(character if character.isalnum() else "-" for character in name)[:60].strip("-") or "bed"
