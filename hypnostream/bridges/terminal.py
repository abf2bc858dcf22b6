"""What a person at a terminal sees of a command: a progress bar while it works, a few lines when it is done."""

import shutil
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hypnostream.bridges.run import Sink
from hypnostream.bridges.summary import Summary
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.stream.source import Notice

if TYPE_CHECKING:
    from rich.progress import Progress

SHOW_AFTER_S = 2.0  # what is done sooner needs no bar


def width() -> int:
    """Columns of the terminal, 120 where there is none."""
    return shutil.get_terminal_size((120, 40)).columns


@contextmanager
def progress_bar(title: str, total: int | None = None) -> Iterator[Sink | None]:
    """A bar on stderr that grows by an epoch with each final result; without a `total` it only moves.

    Nothing where nobody looks, and nothing in the first two seconds: what is quick pays for no bar.
    """
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(title, total)
    try:
        yield bar
    finally:
        bar.close()


class _Bar:
    """The bar of `progress_bar`: a sink from the start, drawn by a timer."""

    def __init__(self, title: str, total: int | None) -> None:
        self._title, self._total, self._done = title, total, 0
        self._progress: Progress | None = None
        self._timer = threading.Timer(SHOW_AFTER_S, self._show)
        self._timer.daemon = True
        self._timer.start()

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Count a final result."""
        self._done += result.final
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=self._done)

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """A bar has no words."""

    def notice(self, notice: Notice) -> None:
        """A bar has no words."""

    def heartbeat(self, now_s: float) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Take the bar away, or never show it."""
        self._timer.cancel()
        self._timer.join()
        if self._progress is not None:
            self._progress.stop()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = [TextColumn("{task.description}", markup=False), BarColumn()]
        counted = [MofNCompleteColumn(), TextColumn("epochs"), TimeRemainingColumn()]
        progress = Progress(*columns, *(counted if self._total else []), console=Console(stderr=True), transient=True)
        progress.add_task(self._title, total=self._total, completed=self._done)
        progress.start()
        self._progress = progress


USUAL = ("session_started", "session_ended", "source_found")


def summary_lines(summary: Summary, folder: Path) -> list[str]:
    """The night in a few lines."""
    from hypnostream.bridges.picture import agreement_line, statistics_line

    lines = []
    for channel in summary.channels:
        found = channel.label if channel.found else f"missing: {channel.why}"
        lines.append(f"{channel.name}: {found}")
    lines += [f"note: {note}" for note in summary.notes]
    lines += [f"warning: {warning}" for warning in summary.warnings]
    absent = "".join(f", {count} without stage ({reason})" for reason, count in summary.epochs.absent.items())
    lines.append(f"{summary.epochs.total} epochs{absent}; {statistics_line(summary.sleep)}")
    troubles = Counter(notice.state for notice in summary.notices if notice.state not in USUAL)
    if troubles:
        lines.append("in the night: " + ", ".join(f"{state} {count} x" for state, count in troubles.items()))
    if summary.agreement is not None:
        lines.append(agreement_line(summary.agreement))
    if summary.breathing is not None:
        from hypnostream.bridges.breathing_report import breathing_lines

        lines += breathing_lines(summary.breathing)
    lines.append(f"report: {folder}/ (summary.json, epochs.parquet, hypnogram.png). Not a medical device.")
    return lines
