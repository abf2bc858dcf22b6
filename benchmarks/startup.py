"""How long the command line takes to answer, and what it takes to.

python -m benchmarks.startup [rounds]
"""

import sys

from benchmarks.report import heading, spread, table
from hypnostream.bridges.bench_process import ProcessCost, measure
from hypnostream.bridges.own_process import own_command, own_environment

METHOD = """\
From the start of a process to its end, the commands in turn in each round, after one round that does not count. "Python
alone" runs nothing. The other rows import what a command imports, and leave."""

COMMANDS = {
    "Python alone": [sys.executable, "-P", "-c", "pass"],
    "hypnostream --help": own_command("hypnostream", "--help"),
    "hypnostream --version": own_command("hypnostream", "--version"),
    "imports of replay": [sys.executable, "-P", "-c", "import hypnostream.bridges.replay"],
    "imports of run": [sys.executable, "-P", "-c", "import hypnostream.bridges.live"],
    "imports of watch": [sys.executable, "-P", "-c", "import hypnostream.bridges.watch"],
}


def main(rounds: int = 10) -> None:
    """Print the table."""
    heading("Start-up", METHOD)
    costs: dict[str, list[ProcessCost]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, command in COMMANDS.items():
            costs[name].append(measure(command, own_environment()))
    table(
        ["", "s, median (range)", "MiB"],
        (
            [name, spread([cost.wall_s for cost in each[1:]]), f"{max(cost.peak_mib for cost in each[1:]):.0f}"]
            for name, each in costs.items()
        ),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
