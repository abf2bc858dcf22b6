"""The report folder: `epochs.parquet` while the night goes on, `hypnogram.png` and `summary.json` when it is over.

Where something was annotated there is `annotations.parquet` too; where there was a sensor of breathing `events.parquet`
and the scored night for other programs (see scored_write.py).
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from hypnostream.bridges.annotations import NightAnnotations, write_annotations
from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.events_table import EventTable
from hypnostream.bridges.picture import Night, draw_night
from hypnostream.bridges.scored_write import ScoredNight, write_luna_annot, write_scored_edf, write_scored_xml
from hypnostream.bridges.summary import Summary, encode_summary
from hypnostream.bridges.tables import EpochTable, EpochTableHeader
from hypnostream.errors import UserError


class ReportFolder:
    """A folder that takes these files, and touches none but them.

    An earlier report in it is replaced file by file, each only when its successor is whole; `summary.json` comes last,
    so a folder is complete when its summary and its table name the same session. Where an earlier night must not be
    lost, use `fresh`.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder if need be. Raises UserError when that cannot be, or something else has one of the names."""
        self.path = path
        self.epochs_path = path / "epochs.parquet"
        self.picture_path = path / "hypnogram.png"
        self.summary_path = path / "summary.json"
        self.annotations_path = path / "annotations.parquet"
        self.events_path = path / "events.parquet"
        self.scored_paths = tuple(path / f"scored.{suffix}" for suffix in ("edf", "xml", "annot"))
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise UserError(f"{path} is a file: name a folder for the report") from None
        except OSError as error:
            raise UserError(f"{path} cannot be made: {error.strerror}; name another folder for the report") from error
        own_paths = (self.epochs_path, self.picture_path, self.summary_path, self.annotations_path, self.events_path)
        for own in (*own_paths, *self.scored_paths):
            if own.exists() and not own.is_file():
                raise UserError(f"{own} is not a file and would have to be replaced: name another folder")

    @classmethod
    def fresh(cls, parent: Path, name: str) -> "ReportFolder":
        """A folder in `parent` that no report has used: `name`, or `name-2`, `name-3` and so on if it is taken."""
        number = 1
        while True:
            path = parent / (name if number == 1 else f"{name}-{number}")
            if not path.exists():
                return cls(path)
            number += 1

    def epoch_table(self, header: EpochTableHeader, channels: Sequence[str]) -> EpochTable:
        """The table of this folder; use it in a `with`."""
        return EpochTable(self.epochs_path, header, channels)

    def write_picture(self, night: Night, draw: Callable[[Night], bytes] = draw_night) -> None:
        """Draw the night, by `draw`. Raises OSError when the file cannot be written."""
        write_atomically(self.picture_path, draw(night))

    def write_annotations(self, annotations: NightAnnotations) -> None:
        """Write the table of what was annotated; none when nothing was. Raises OSError when it cannot be written."""
        write_annotations(self.annotations_path, annotations)

    def event_table(self, header: EpochTableHeader) -> EventTable:
        """The table of events of this folder."""
        return EventTable(self.events_path, header)

    def write_breathing(self, table: EventTable, night: ScoredNight) -> None:
        """Write all events, and the scored night in the forms of others. Raises OSError when they cannot be written."""
        table.write()
        for write, path in zip((write_scored_edf, write_scored_xml, write_luna_annot), self.scored_paths, strict=True):
            write(path, night)

    def remove_breathing(self) -> None:
        """A night without breathing leaves none of an earlier one's. Raises OSError when it cannot be removed."""
        for path in (self.events_path, *self.scored_paths):
            path.unlink(missing_ok=True)

    def write_summary(self, summary: Summary) -> None:
        """Write the numbers, as the last of the files. Raises OSError when the file cannot be written."""
        write_atomically(self.summary_path, encode_summary(summary))
