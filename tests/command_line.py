"""Running a command as `hypnostream ...` would, and the promise for every mistake."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """What a command said. Warnings and errors are the lines on stderr."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.splitlines()


Cli = Callable[..., Said]


def assert_one_line(said: Said, *parts: str) -> None:
    """The promise for every mistake."""
    assert said.code == 2
    assert said.out == ""
    assert len(said.lines) == 1
    assert said.err.startswith("hypnostream: ")
    assert said.err.endswith("\n")
    for part in parts:
        assert part in said.err
