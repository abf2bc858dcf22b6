"""What all tables share: where they were made, how numbers are written, how rows line up."""

import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from hypnostream.bridges.bench import machine

PACKAGES = ("numpy", "scipy", "onnxruntime", "pyarrow", "matplotlib", "pylsl", "pyzmq")


def heading(title: str, method: str) -> None:
    """A section: its title, the machine and the versions that it was made with, and how."""
    here = machine()
    versions = ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    print(f"\n### {title}\n")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {here['machine']}; {here['system']}; {versions}.\n")
    print(f"{method}\n", flush=True)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A Markdown table; the first column is words, the others are numbers."""
    print(f"| {' | '.join(columns)} |")
    print(f"|{'|'.join(['---'] + ['---:'] * (len(columns) - 1))}|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    print(flush=True)


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and from where to where the values lie."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -int(-share * len(ranked) // 1) - 1))]
