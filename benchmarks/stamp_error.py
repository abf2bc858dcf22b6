"""How far the stamps of our dejitter are from the truth, and how exactly it counts what was lost.

python -m benchmarks.stamp_error [hours]
"""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import heading, table
from hypnostream.stream.timeline import Timeline

RATE_HZ = 256.0
METHOD = """\
256 Hz in packets of 8 to 32 samples; each packet's stamps err together, evenly within the jitter. Ten minutes apart
there is a gap of 1, 10 and 30 s in turn, or packets are lost at random. Error: where the timeline puts a sample minus
where it was taken, in ms, of all samples from 10 s after a gap on (lossy rows: of all); and in the first second after
one. `naive` is a recursive least-squares line over the count of received samples with a half-life of 90 s, as liblsl
has it. Lost: counted / true samples."""


@dataclass(frozen=True)
class Sent:
    """What arrived of a stream: `stamps` and the true times (n,), which samples begin a gap, how many never came."""

    stamps: NDArray[np.float64]
    true_s: NDArray[np.float64]
    resumes: NDArray[np.intp]
    lost: int


def send(
    hours: float,
    jitter_s: float = 0.0,
    drift: float = 0.0,
    gaps_s: tuple[float, ...] = (),
    every_s: float = 600.0,
    loss: float = 0.0,
    packet: tuple[int, int] = (8, 32),
    seed: int = 0,
) -> Sent:
    """A sender whose clock runs by `drift` fast, with a gap each `every_s` and a share `loss` of packets lost."""
    rng = np.random.default_rng(seed)
    n = int(hours * 3600 * RATE_HZ)
    sizes = rng.integers(packet[0], packet[1] + 1, 2 * n // (packet[0] + packet[1]) + 1000)
    of_packet = np.repeat(np.arange(len(sizes)), sizes)[:n]
    true_s = 100.0 + np.arange(n) / RATE_HZ * (1 + drift)
    stamps = true_s + rng.uniform(-jitter_s, jitter_s, len(sizes))[of_packet]
    there = (rng.random(len(sizes)) >= loss)[of_packet]
    there[0] = there[-1] = True
    for number, at_s in enumerate(np.arange(every_s, hours * 3600 - every_s / 2, every_s) if gaps_s else ()):
        first = int(at_s * RATE_HZ)
        there[first : first + int(gaps_s[number % len(gaps_s)] * RATE_HZ)] = False
    taken = np.flatnonzero(there)
    resumes = np.flatnonzero(np.diff(taken) > 1) + 1
    return Sent(stamps[taken], true_s[taken], resumes, int(taken[-1] - taken[0] + 1 - len(taken)))


def placed(timeline: Timeline, stamps: NDArray[np.float64], chunk: int = 16) -> NDArray[np.float64]:
    """Where `timeline` puts each sample (n,), given in chunks; NaN for those it drops."""
    times = np.full(len(stamps), np.nan)
    index = 0
    for start in range(0, len(stamps), chunk):
        for run in timeline.accept(stamps[start : start + chunk]):
            rows = np.arange(start, min(start + chunk, len(stamps)))[run.rows]
            index = 0 if run.opens_segment else index
            times[rows] = run.origin_s + (index + np.arange(len(rows))) / RATE_HZ
            index += len(rows)
    return times


def naive(stamps: NDArray[np.float64], half_life_s: float = 90.0) -> NDArray[np.float64]:
    """The same by recursive least squares of the stamp on the number of samples received, which knows no gap."""
    forget = 2.0 ** (-1 / (RATE_HZ * half_life_s))
    base, level, slope = float(stamps[0]), 0.0, 1 / RATE_HZ
    p00, p01, p11 = 1e10, 0.0, 1e10
    times = np.empty(len(stamps))
    for n, stamp in enumerate((stamps - base).tolist()):
        g0, g1 = p00 + p01 * n, p01 + p11 * n
        total = forget + g0 + g1 * n
        error = stamp - level - slope * n
        level += g0 / total * error
        slope += g1 / total * error
        p00, p01, p11 = (
            (p00 - g0 * g0 / total) / forget,
            (p01 - g0 * g1 / total) / forget,
            (p11 - g1 * g1 / total) / forget,
        )
        times[n] = base + level + slope * n
    return times


def errors_ms(sent: Sent, times: NDArray[np.float64], from_s: float, until_s: float) -> NDArray[np.float64]:
    """|Error| of the samples that are `from_s` to `until_s` after the latest gap (or the start)."""
    begins = sent.true_s[np.concatenate(([0], sent.resumes))]
    since_s = sent.true_s - begins[np.searchsorted(begins, sent.true_s, side="right") - 1]
    chosen: NDArray[np.float64] = 1000 * np.abs(times - sent.true_s)[(since_s >= from_s) & (since_s < until_s)]
    return chosen


def main(hours: float = 8.0) -> None:
    """Print the table."""
    heading("Stamps and losses", METHOD)
    rows = []
    for jitter_s in (0.0, 0.001, 0.02):
        for drift in (0.0, 100e-6, 500e-6):
            sent = send(hours, jitter_s, drift, (1.0, 10.0, 30.0))
            rows.append(_row(f"gaps of 1, 10, 30 s; ±{1000 * jitter_s:g} ms; {1e6 * drift:.0f} ppm", sent, 10.0))
    for jitter_s in (0.0, 0.02):
        for loss in (0.0, 0.01, 0.05, 0.2):
            sent = send(hours, jitter_s, 100e-6, loss=loss)
            rows.append(_row(f"{100 * loss:g} % of packets; ±{1000 * jitter_s:g} ms; 100 ppm", sent, 0.0))
    sent = send(min(hours, 0.5), 0.0, 0.0, (1.0, 10.0, 30.0))
    rows.append(_row("naive: gaps of 1, 10, 30 s; ±0 ms; 0 ppm", sent, 10.0, naive(sent.stamps)))
    table(["", "p50", "p95", "largest", "first second, largest", "segments", "lost"], rows)


def _row(name: str, sent: Sent, from_s: float, times: NDArray[np.float64] | None = None) -> list[str]:
    timeline = Timeline(RATE_HZ, 0.0)
    segments = lost = ""
    if times is None:
        times = placed(timeline, sent.stamps, 256)
        segments, lost = f"{timeline.state.segments} / {1 + len(sent.resumes)}", f"{timeline.state.lost} / {sent.lost}"
    settled, first = errors_ms(sent, times, from_s, np.inf), errors_ms(sent, times, 0.0, 1.0)
    p50, p95 = np.nanquantile(settled, (0.5, 0.95))
    return [name, f"{p50:.2f}", f"{p95:.2f}", f"{np.nanmax(settled):.2f}", f"{np.nanmax(first):.2f}", segments, lost]


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 8.0)
