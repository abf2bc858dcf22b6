"""What one epoch and one provisional second of one bed cost, beside a step of GSSC.

python -m benchmarks.epoch_compute [rounds]
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.peer import ONE_THREAD, ask_peer
from benchmarks.report import heading, quantile, spread, table

METHOD = """\
One thread. Each round starts a process of ours and one of the peer's, in turn, and takes the median of its steps; the
table has the median over the rounds and their range, and the 99th percentile of all steps together. Ours:
`Session.advance` with one second of three channels of noise, all there; the second that closes an epoch gives the final
stage, the 29 before it a provisional one each. "From raw samples" adds ring, conditioner and grid of a recording with
six channels at 256 Hz in chunks of 1 s. GSSC: both nets of its wheel, one EEG and one EOG, its hidden state carried,
input already z-scored at its own rate; in onnxruntime as exported on the spot. Memory: the largest resident size of
that process, which holds nothing but what is timed."""


def our_steps() -> dict[str, Any]:
    """Seconds of each step; in a process of its own, so that its memory is its own."""
    from benchmarks.raw_seconds import time_raw_seconds
    from hypnostream.bridges.bench import time_steps
    from hypnostream.engine.bundle import load_bundle

    steps = time_steps(load_bundle(), epochs=40)
    lines = Path("/proc/self/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    peak = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)
    raw = time_raw_seconds(epochs=20)
    return {
        "final_ms": (1000 * steps.final_s).tolist(),
        "provisional_ms": (1000 * steps.provisional_s).tolist(),
        "raw_final_ms": (1000 * raw.final_s).tolist(),
        "raw_provisional_ms": (1000 * raw.provisional_s).tolist(),
        "peak_mib": peak,
    }


def main(rounds: int = 5) -> None:
    """Print the table."""
    ours: list[dict[str, Any]] = []
    gssc: list[dict[str, Any]] = []
    heading("One epoch of one bed", METHOD)
    for _ in range(rounds):
        command = [sys.executable, "-m", "benchmarks.epoch_compute", "--steps"]
        ran = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, check=True)
        ours.append(json.loads(ran.stdout))
        if (answer := ask_peer("gssc_step.py", "60")) is not None:
            gssc.append(answer)
    rows = [
        _row("hypnostream, final epoch", ours, "final_ms"),
        _row("hypnostream, provisional second", ours, "provisional_ms"),
        _row("hypnostream, final epoch, from raw samples", ours, "raw_final_ms"),
        _row("hypnostream, provisional second, from raw samples", ours, "raw_provisional_ms"),
    ]
    if gssc:
        rows.append(_row("GSSC in torch, one step", gssc, "torch_ms"))
        if "onnxruntime_ms" in gssc[0]:
            rows.append(_row("GSSC in onnxruntime, one step", gssc, "onnxruntime_ms", memory=False))
    table(["", "ms, median (range)", "ms, p99", "MiB"], rows)
    if gssc:
        print(f"Peer: {gssc[0]['versions']}, {gssc[0]['parameters'] / 1e6:.1f} M parameters.\n")


def _row(name: str, rounds: list[dict[str, Any]], key: str, memory: bool = True) -> list[str]:
    medians = [quantile(answer[key], 0.5) for answer in rounds]
    steps = [step for answer in rounds for step in answer[key]]
    peaks = [answer["peak_mib"] for answer in rounds if answer["peak_mib"] is not None]
    shown = f"{max(peaks):.0f}" if memory and peaks and not key.startswith("raw") else ""
    return [name, spread(medians), f"{quantile(steps, 0.99):.2f}", shown]


if __name__ == "__main__":
    if sys.argv[1:] == ["--steps"]:
        print(json.dumps(our_steps()))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
