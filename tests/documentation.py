"""README.md and docs/ as the tests read them: their blocks of code, their tables, their inline code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of code: where it stands, in which language, and what is in it."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """A command that a page shows, and the lines of output that it shows with it ("..." for any)."""

    block: Block
    text: str
    shown: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.block.page}: {self.text}"


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages, of these languages only if any are given."""
    found = [
        Block(page, text_of(page).count("\n", 0, match.start()) + 1, match[1], match[2])
        for page in PAGES
        for match in _FENCE.finditer(text_of(page))
    ]
    return [block for block in found if not languages or block.language in languages]


def commands() -> list[Command]:
    """Every command in `sh` and `console` blocks, the same one of several pages as often as it shows other output."""
    found: dict[tuple[str, tuple[str, ...]], Command] = {}
    for block in blocks("sh", "console"):
        for text, shown in _commands_in(block):
            found.setdefault((text, shown), Command(block, text, shown))
    return list(found.values())


def _commands_in(block: Block) -> Iterator[tuple[str, tuple[str, ...]]]:
    lines = block.text.replace("\\\n", " ").splitlines()
    if block.language == "sh":
        yield from ((" ".join(line.split()), ()) for line in lines if line.strip() and not line.startswith("#"))
        return
    starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield lines[start].removeprefix("$ "), tuple(line.rstrip() for line in lines[start + 1 : stop])


def inline_code(page: str) -> list[str]:
    """The inline code of a page, blocks left out."""
    return _INLINE.findall(_FENCE.sub("", text_of(page)))


def table(page: str, first_heading: str) -> list[list[str]]:
    """The rows of the table of a page whose first heading is this; cells as they are written."""
    lines = iter(text_of(page).splitlines())
    for line in lines:
        if line.startswith(f"| {first_heading} |"):
            break
    else:
        raise AssertionError(f"{page} has no table that begins with {first_heading!r}")
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def code_in(cell: str) -> list[str]:
    """What a cell has in backticks."""
    return _INLINE.findall(cell)
