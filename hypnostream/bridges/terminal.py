"""What a person at a terminal sees of a command: a progress bar while it works, a few lines when it is done."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypnostream.bridges.run import Sink
from hypnostream.bridges.summary import Summary
from hypnostream.engine.results import StageResult

SHOW_AFTER_S = 2.0  # what is done sooner needs no bar


def width() -> int:
    """Columns of the terminal, 120 where there is none."""
    return shutil.get_terminal_size((120, 40)).columns


class _Bar:
    """Grows by an epoch with each final result. The bar itself is made when it is worth it."""

    def __init__(self, title: str) -> None:
        import time

        self._title, self._epochs, self._clock, self._started = title, 0, time.monotonic, time.monotonic()
        self._shown_s = 0.0

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Count a final result."""
        if not result.final:
            return
        self._epochs += 1
        now = self._clock()
        if now - self._started > SHOW_AFTER_S and now - self._shown_s > 0.1:
            self._shown_s = now
            hours = self._epochs * 30 / 3600
            print(f"\r{self._title}: {hours:5.2f} h, {self._epochs} epochs", end="", file=sys.stderr, flush=True)

    def heartbeat(self, now_s: float) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Leave the line."""
        if self._shown_s:
            print(file=sys.stderr)


@contextmanager
def progress_bar(title: str, path: Path) -> Iterator[Sink | None]:
    """A bar on stderr, where someone looks at it."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = _Bar(title)
    try:
        yield bar
    finally:
        bar.close()


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
    if summary.agreement is not None:
        lines.append(agreement_line(summary.agreement))
    lines.append(f"report: {folder}/ (summary.json, epochs.parquet, hypnogram.png). Not a medical device.")
    return lines
