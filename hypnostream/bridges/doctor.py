"""`hypnostream doctor`: whether a night can be left alone here, and what to do where it cannot.

Each examination runs in a process of its own with a limit on its time, since native code may hang or abort; what it
had found by then is kept, and that it was cut off is said.
"""

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

import msgspec

from hypnostream.bridges.own_process import own_command, own_environment
from hypnostream.config import BedConfig

OK: Literal["ok"] = "ok"
WARNING: Literal["warning"] = "warning"
PROBLEM: Literal["problem"] = "problem"
UNKNOWN: Literal["not known here"] = "not known here"

LIMIT_S = 30.0
SIDE_BY_SIDE = 2  # more would disturb each other's measurements
_LONGEST_LINE = 4000


class Check(msgspec.Struct, frozen=True):
    """One line of a doctor's finding. `todo` is what to do about it, "" where there is nothing to do."""

    name: str
    state: Literal["ok", "warning", "problem", "not known here"]
    said: str
    todo: str = ""


class Examination(NamedTuple):
    """`module` has `examine(config) -> Iterable[Check]`, or `examine(config, beds)` where it `counts_beds`."""

    name: str
    module: str
    limit_s: float = LIMIT_S
    counts_beds: bool = False


# The slow ones first: they mostly wait.
EXAMINATIONS = tuple(
    Examination(name, f"hypnostream.bridges.doctor_{name}", limit_s, name == "software")
    for name, limit_s in (
        ("streams", 45.0),
        ("network", LIMIT_S),
        ("software", LIMIT_S),
        ("clock", LIMIT_S),
        ("machine", LIMIT_S),
        ("addresses", LIMIT_S),
    )
)

_decoder = msgspec.json.Decoder(Check)


def run_doctor(config: BedConfig, examinations: Sequence[Examination] = EXAMINATIONS, beds: int = 1) -> list[Check]:
    """Everything, in the order of `examinations`; it takes as long as the slowest, and never for ever. `config` is that
    of one bed, or what so many `beds` have in common."""
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        examined = pool.map(lambda each: _examined(each, config, beds), examinations)
        return [check for checks in examined for check in checks]


def worst(checks: Iterable[Check]) -> str:
    """The state of all together."""
    states = {check.state for check in checks}
    return next((state for state in (PROBLEM, WARNING) if state in states), OK)


def to_text(checks: Sequence[Check]) -> str:
    """A line a check, what to do after it, and the sum of it all."""
    width = max((len(check.name) for check in checks), default=0)
    lines = [
        f"{check.state:14}  {check.name:{width}}  {check.said}{f' -> {check.todo}' if check.todo else ''}"
        for check in checks
    ]
    counts = {state: sum(check.state == state for check in checks) for state in (PROBLEM, WARNING)}
    total = ", ".join(f"{count} {state}{'s' * (count != 1)}" for state, count in counts.items() if count)
    return "\n".join([*lines, f"{total or 'all well'}"])


def _examined(examination: Examination, config: BedConfig, beds: int) -> list[Check]:
    counted = (str(beds),) if examination.counts_beds else ()
    process = subprocess.Popen(  # noqa: S603  our own module
        own_command("hypnostream.bridges.doctor", examination.module, *counted),
        env=own_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = process.communicate(msgspec.json.encode(config), examination.limit_s)
        ended = f"ended with {process.returncode}" if process.returncode else ""
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        ended = f"did not end within {examination.limit_s:g} s and was stopped"
    checks = _read(out)
    if ended:
        said = err.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        last = "".join(c for c in said[0] if c.isprintable())[:200]
        checks.append(
            Check(examination.name, PROBLEM, f"this examination {ended}: {last}", "ask again; if it stays, report it")
        )
    return checks


def _read(out: bytes) -> list[Check]:
    """The lines that are checks: native libraries may say other things between them."""
    checks = []
    for line in out.splitlines():
        try:
            checks.append(_decoder.decode(line))
        except ValueError:
            continue
    return checks


def main(module: str, *beds: str) -> None:
    """Run one examination: a bed's configuration on stdin, each check on stdout as soon as it is known."""
    from importlib import import_module

    examine: Callable[..., Iterable[Check]] = import_module(module).examine
    config = msgspec.json.decode(sys.stdin.buffer.read(), type=BedConfig)
    for check in examine(config, *map(int, beds)):
        said = Check(check.name, check.state, _one_line(check.said), _one_line(check.todo))
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()


def _one_line(text: str) -> str:
    """What comes from the network stays on its line."""
    return "".join(c if c.isprintable() else "?" for c in text)[:_LONGEST_LINE]


if __name__ == "__main__":
    main(*sys.argv[1:])
