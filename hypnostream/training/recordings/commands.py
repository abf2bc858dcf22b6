"""`hypnostream train ingest`, `simulate` and `validate`: what they say; exit code 1 when something is wrong."""

from pathlib import Path

from hypnostream.stream.simulator import NightSettings
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.recordings.ingest import SKIPPED, ingest
from hypnostream.training.recordings.simulated import simulate
from hypnostream.training.recordings.validate import validate
from hypnostream.training.running.progress import told


def ingest_command(data: Path, out: Path, workers: int, ray: bool) -> None:
    """See `ingest`; what was skipped is named."""
    with told("ingest") as progress:
        found = ingest(data, out, workers, ray, progress)
    for each in found.skipped:
        print(f"skipped {each.name}: {each.reason}")
    print(f"{len(found.written)} recordings written to {out}, {len(found.kept)} were there already")
    if found.skipped:
        print(f"{len(found.skipped)} skipped, listed in {out / SKIPPED}")
        raise SystemExit(1)


def simulate_command(out: Path, nights: int, hours: float, first_seed: int) -> None:
    """See `simulate`; plain nights of whole epochs, without physiology of breathing."""
    settings = NightSettings(float(round(hours * 3600 / EPOCH_S) * EPOCH_S))
    with told("simulate") as progress:
        written = simulate(out, settings, nights, first_seed, progress)
    print(f"{len(written)} simulated nights written to {out}; nobody is in them")


def validate_command(store: Path, workers: int) -> None:
    """See `validate`; a line for each thing that is wrong."""
    with told("validate") as progress:
        found = validate(store, workers, progress)
    for name, wrong in found.items():
        for line in wrong:
            print(f"{name}: {line}")
    bad = sum(1 for wrong in found.values() if wrong)
    print(f"{len(found) - bad} of {len(found)} recordings are as they were written")
    if bad:
        raise SystemExit(1)
