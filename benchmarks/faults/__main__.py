"""The fault matrix: `python -m benchmarks.faults [--short] [--rows NAME,...] [--json FILE]`, some five minutes."""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.faults.matrix import Seen, as_json, as_markdown
from benchmarks.faults.peer import NOT_CONNECTED, ask_mne_lsl
from benchmarks.faults.rows import ROWS
from benchmarks.report import heading

PEER_PORT = 17000
METHOD = """\
Each row in a private LSL session of its own, {jobs} at a time, with the parts that a bed has: a sender in a process
that breaks on command (EEG and EOG at 256 Hz in packets of 20 ms, channel 0 the sample's number), `hypnostream run`, a
`Client`. Times are from the fault, or from the last sample before it, until a subscriber has the message. A true count
or gap is that of the sender, or of the numbers in what the engine wrote down. mne-lsl: `StreamLSL` with background
acquisition and all processing flags, a buffer of 4 s, beside the same sender, which breaks in the same way."""


def run_row(name: str) -> dict[str, Any]:
    """One row, in a folder and an LSL session of its own."""
    each, started = ROWS[name], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        try:
            seen = each.run(Path(folder), _session(name))
        except (OSError, ValueError, AssertionError) as error:
            seen = Seen(False, f"{type(error).__name__}: {error}".splitlines()[0], {})
    return as_json(name, seen, time.monotonic() - started, None)


def run_peer(name: str) -> str | None:
    """The same fault beside mne-lsl, where there is one; three tries, as it does not always find the stream."""
    fault, port = ROWS[name].peer, PEER_PORT + 40 * list(ROWS).index(name)
    if fault is None:
        return None
    seen: str | None = None
    for number in range(3):
        seen = ask_mne_lsl(fault, f"{_session(name)}-peer-{number}", port)
        if seen != NOT_CONNECTED:
            break
    return seen


def _session(name: str) -> str:
    return f"faults-{os.getpid()}-{list(ROWS).index(name)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the matrix; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    parser.add_argument("--short", action="store_true", help="one row of each kind, under 90 s")
    parser.add_argument("--rows", help="these rows, by comma")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--no-peers", action="store_true", help="leave mne-lsl out")
    parser.add_argument("--jobs", type=int, default=3, help="rows side by side; they mostly wait")
    options = parser.parse_args(arguments)
    names = (
        options.rows.split(",") if options.rows else [n for n, each in ROWS.items() if each.short or not options.short]
    )
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    rows, peers = [], not (options.no_peers or options.short)
    with ThreadPoolExecutor(options.jobs) as pool:
        for each in pool.map(run_row, names):
            rows.append(each)
            print(
                f"{'kept' if each['kept'] else 'NOT KEPT':>8}  {each['fault']}: {each['words']}",
                file=sys.stderr,
                flush=True,
            )
        if peers:  # after our rows: LSL has ports for 16 outlets on a machine
            for each, peer in zip(rows, pool.map(run_peer, names), strict=True):
                each["mne_lsl"] = peer
    heading("Faults", METHOD.format(jobs=options.jobs))
    print(as_markdown(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return int(not all(each["kept"] for each in rows))


if __name__ == "__main__":
    sys.exit(main())
