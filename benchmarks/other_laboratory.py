"""A raw night of another laboratory through `replay`: UCDDB subject 022, one EEG C3-A2, 128 Hz, missing epochs as gaps.

    python -m benchmarks.other_laboratory [--bundle DIR ...] [--data ../shared/data]

Prints, for each bundle: agreement with the scored hypnogram, the same with the signal 50 % louder and 50 % quieter
(and how many epochs changed), and how the provisional stage after each second agrees with the final one.
Real data, one person, on whom no stager of a bundle was trained. The model of breathing that ships was; nothing of it
is printed.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.run import run
from hypnostream.engine.agreement import Agreement, agreement
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.stream.clock import VirtualClock
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import Notice
from hypnostream.stream.stages import STAGES, stage_codes

UV_PER_UNIT = 100.0
# 0 W, 1 REM, 2 S1, 3 S2, 4 S3, 5 S4, 6 artefact, 7 indeterminate, 8 unscored
STAGE_OF = np.array([0, 4, 1, 2, 3, 3, -1, -1, -1])


@dataclass(slots=True)
class Provisional:
    """Keeps every provisional stage."""

    stages: dict[int, dict[int, str | None]]

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        """Keep it by second and epoch."""
        if not result.final:
            self.stages.setdefault(result.seconds, {})[result.epoch] = result.stage

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        """Not kept."""

    def notice(self, notice: Notice) -> None:
        """Nothing to keep."""

    def heartbeat(self, now_s: float) -> None:
        """Nothing to do."""


def write_night(path: Path, source: Path, gain: float = 1.0) -> NDArray[np.int64]:
    """The night as EDF+D; its reference stages come back."""
    with np.load(source, allow_pickle=False) as file:
        raw, index, stage = file["eeg_i16"], file["epoch_index"].astype(int), file["stage"]
        scale, rate = float(file["scale"]), float(file["fs"])
    microvolts = (raw.astype(np.float32) * np.float32(scale * UV_PER_UNIT * gain)).reshape(-1)
    signal = EdfSignal("EEG C3-A2", microvolts, rate, "uV")
    write_edf(path, [signal], record_s=30.0, record_onsets_s=index * 30.0)
    reference: NDArray[np.int64] = STAGE_OF[np.clip(stage, 0, 8)].astype(np.int64)
    reference[np.setdiff1d(np.arange(len(reference)), index)] = -1  # an epoch without signal cannot be judged
    return reference


def stage_night(path: Path, bundle_path: Path | None, provisional: Provisional | None = None) -> NDArray[np.int8]:
    """Stages of all epochs, by the same path as `hypnostream replay`."""
    bundle = load_bundle(bundle_path)
    # Of seconds that come together only the latest has a provisional stage: for all of them, a second at a time.
    source = EdfSource(path, chunk_s=60.0 if provisional is None else 1.0)
    montage = resolve(source.streams, bundle.channels)
    session = Session(bundle, OnnxBackend(bundle))
    bed = Bed(source.streams, montage, session, provisional=provisional is not None)
    outcome = run(source, bed, VirtualClock(), [] if provisional is None else [provisional])
    source.close()
    return stage_codes(result.stage for result in outcome.final)


def describe(found: Agreement) -> str:
    """One line."""
    f1 = " ".join(f"{name} {found.stages[name].f1 or 0:.2f}" for name in STAGES)
    figures = f"accuracy {found.accuracy:.3f}  kappa {found.kappa:.3f}  macro-F1 {found.macro_f1:.3f}"
    return f"{figures}  ({f1}; {found.n} epochs)"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, action="append", help="default: the shipped one")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    source = arguments.data / "ucddb_c3a2" / "ucddb022.npz"
    for bundle in arguments.bundle or [None]:
        print(f"## {bundle or 'shipped bundle'}")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ucddb022.edf"
            reference = write_night(path, source)
            provisional = Provisional({})
            plain = stage_night(path, bundle, provisional)[: len(reference)]
            reference = reference[: len(plain)]
            print(f"gain 1.0: {describe(agreement(reference, plain))}")
            for gain in (0.5, 1.5):
                write_night(path, source, gain)
                other = stage_night(path, bundle)[: len(reference)]
                changed = float(np.mean(other[reference >= 0] != plain[reference >= 0]))
                print(f"gain {gain}: {describe(agreement(reference, other))}; {changed:.2%} of epochs changed")
        print("provisional stage against the final one, by second of the epoch (agreement; accuracy):")
        for second, said in sorted(provisional.stages.items()):
            both = [e for e in said if e < len(reference) and plain[e] >= 0 and said[e] is not None]
            codes = stage_codes(said[e] for e in both)
            same = float(np.mean(codes == plain[both]))
            scored = reference[both] >= 0
            right = float(np.mean(codes[scored] == reference[both][scored]))
            print(f"  {second:2d} s  {same:.3f}  {right:.3f}")


if __name__ == "__main__":
    main()
