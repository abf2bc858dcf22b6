"""What a bed costs among many in one process, and how late its results are, beside a step of GSSC.

python -m benchmarks.ward [beds ...]
"""

import gc
import heapq
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.peer import ask_peer
from benchmarks.report import heading, quantile, table
from hypnostream.bridges.breathing import breathing_of, specs_of
from hypnostream.bridges.ward import SEARCHES
from hypnostream.config import BreathingSection
from hypnostream.engine.asking import Asking
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.scheduler import BatchSettings, Scheduler
from hypnostream.engine.session import Session
from hypnostream.engine.slots import Slots
from hypnostream.stream.channels import OK, Montage
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import ChannelInfo, Chunk, Step, StreamInfo

BEDS = (1, 10, 100, 500, 1000, 2000)
RATE_HZ = 256
LABELS = ("EEG Fpz-Cz", "EEG Pz-Oz", "EOG horizontal", "EMG chin", "ECG", "Airflow", "Thorax", "SpO2")
WARM_UP_S = 4
SIGNALS = 16
METHOD = """\
One thread. Each bed's seconds end at a time of their own within the second, drawn once, and are handed in then; a bed
gets a provisional stage each second and a final one each 30 s. The clock of the table is the processor time of this
process: it moves on by what the work took and, when there is none, to the next second that ends, as if the core were
its own; so a busy machine makes figures worse, by what shared caches and cores cost, but not absurd. Latency is from
the time at which a step was there to its results, waiting for others included. "Busy" is the share of the time at which
the core worked: over 100 % the beds are too many. Conditioned: three channels at 100 Hz, `Session`. Raw: one stream of
eight channels at 256 Hz, `Bed`: conditioners, grid and session; with breathing, its sensors' conditioning and
events too."""

Second = Callable[[int], Asking[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Of all seconds of all beds."""

    bed_second_us: float
    busy: float
    latency_ms: list[float]
    rows: float


def measure(beds: Sequence[Second], seconds: int, settings: BatchSettings, seed: int = 0) -> Cost:
    """Hand in `seconds` seconds of each bed, after some to warm up, as their times come."""
    scheduler = Scheduler[int, object](settings)
    for second in range(WARM_UP_S):
        for bed, begin in enumerate(beds):
            scheduler.begin(bed, begin(second), 0.0)
            while scheduler.run(0.0):
                pass
        scheduler.settle(0.0)
        _check(scheduler)
    phases = np.random.default_rng(seed).uniform(0, 1, len(beds))
    coming = [(WARM_UP_S + phase, WARM_UP_S, bed) for bed, phase in enumerate(phases.tolist())]
    heapq.heapify(coming)
    handed_s: dict[int, float] = {}
    latency_ms: list[float] = []
    scheduler.batches = scheduler.rows = 0
    now_s, busy_s = float(WARM_UP_S), 0.0

    def collect() -> None:
        latency_ms.extend(1000 * (now_s - handed_s[bed]) for bed in _check(scheduler))

    while coming or scheduler.waiting:
        now_s = max(now_s, min(coming[0][0] if coming else np.inf, scheduler.due_s))
        started = time.process_time()
        while coming and coming[0][0] <= now_s:
            at_s, second, bed = heapq.heappop(coming)
            if scheduler.is_busy(bed):  # too many beds: the second before this one has not been answered
                scheduler.settle(now_s)
                collect()
            handed_s[bed] = at_s
            scheduler.begin(bed, beds[bed](second), now_s)
            if second + 1 < WARM_UP_S + seconds:
                heapq.heappush(coming, (at_s + 1.0, second + 1, bed))
        scheduler.run(now_s)
        took_s = time.process_time() - started
        now_s, busy_s = now_s + took_s, busy_s + took_s
        collect()
    bed_seconds = len(beds) * seconds
    return Cost(1e6 * busy_s / bed_seconds, busy_s / seconds, latency_ms, scheduler.rows / max(1, scheduler.batches))


def _check(scheduler: Scheduler[int, object]) -> list[int]:
    finished = scheduler.finished()
    for each in finished:
        if each.error is not None:
            raise each.error
    return [each.bed for each in finished]


def conditioned_beds(count: int, bundle: Bundle, backend: Backend) -> list[Second]:
    """Beds whose signals are conditioned already."""
    rng, slots = np.random.default_rng(0), Slots(bundle.content.epoch, count)
    places = tuple(range(len(bundle.channels)))
    noise = [
        tuple(20 * rng.standard_normal((1, spec.rate_hz)).astype(np.float32) for spec in bundle.channels)
        for _ in range(SIGNALS)
    ]
    quality = np.full((len(places), 1), OK, np.uint8)

    def bed(number: int) -> Second:
        session = Session(bundle, backend, slots=slots)
        return lambda second: session.asking(Seconds(second, places, noise[(number + second) % SIGNALS], quality))

    return [bed(number) for number in range(count)]


def raw_beds(count: int, bundle: Bundle, backend: Backend, breathing: bool) -> list[Second]:
    """Beds from the samples of an amplifier with all channels in one stream."""
    rng, slots = np.random.default_rng(0), Slots(bundle.content.epoch, count)
    channels = tuple(ChannelInfo(label, "%" if label == "SpO2" else "uV", -5000.0, 5000.0) for label in LABELS)
    info = StreamInfo("amplifier", float(RATE_HZ), channels)
    noise = (20 * rng.standard_normal((SIGNALS, RATE_HZ, len(LABELS)))).astype(np.float32)
    noise[:, :, LABELS.index("SpO2")] = 96.0
    section = BreathingSection(enabled=breathing)
    specs = specs_of(bundle, section)

    def bed(number: int) -> Second:
        own = Bed(
            (),
            Montage(specs, ()),
            Session(bundle, backend, slots=slots),
            reorder_s=0.3,
            breathing=breathing_of(bundle, section, 0.0),
        )
        own.step(Step(0.0, (info,)))
        stamps = np.arange(RATE_HZ) / RATE_HZ
        return lambda second: own.asking(
            Step(second + 1.0, (Chunk("amplifier", noise[(number + second) % SIGNALS], second + stamps),))
        )

    return [bed(number) for number in range(count)]


def main(counts: Sequence[int] = BEDS, settings: BatchSettings | None = None) -> None:
    """Print the tables."""
    settings = settings or BatchSettings()
    gc.set_threshold(*SEARCHES)  # as a ward does
    bundle = load_bundle()
    backend = OnnxBackend(bundle, keeps_memory=True)
    heading("Many beds in one process", f"{METHOD} Batches of {settings.most} at most, waiting {settings.wait_s:g} s.")
    kinds: dict[str, Callable[[int], list[Second]]] = {
        "conditioned": lambda count: conditioned_beds(count, bundle, backend),
        "raw": lambda count: raw_beds(count, bundle, backend, breathing=False),
        "raw, with breathing": lambda count: raw_beds(count, bundle, backend, breathing=True),
    }
    for name, made in kinds.items():
        rows = []
        for count in counts:
            cost = measure(made(count), max(2, min(60, 2000 // count)), settings)
            latency = [f"{quantile(cost.latency_ms, share):.0f}" for share in (0.5, 0.99)]
            rows.append(
                [str(count), f"{cost.bed_second_us:.0f}", f"{100 * cost.busy:.0f} %", *latency, f"{cost.rows:.0f}"]
            )
        print(f"\n#### {name.capitalize()}\n")
        table(["beds", "µs a bed and second", "busy", "ms, p50", "ms, p99", "asks a batch"], rows)
    if (answer := ask_peer("gssc_step.py", "60")) is not None:
        step_ms = quantile(answer["torch_ms"], 0.5)
        print(
            f"GSSC, one step in torch: {step_ms:.1f} ms, so {30_000 / step_ms:.0f} beds with an epoch each 30 s and "
            f"{1000 / step_ms:.0f} with a stage each second, without filters ({answer['versions']}).\n"
        )


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]] or BEDS)
