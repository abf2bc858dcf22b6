"""A ward's file for the doctor: the machine once, and what each bed of it would find."""

from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from hypnostream.bridges import doctor_addresses
from hypnostream.bridges.bed_check import check_channels, check_folder, check_lsl
from hypnostream.bridges.doctor import EXAMINATIONS, OK, PROBLEM, Check, run_doctor
from hypnostream.bridges.ward_files import WardFiles
from hypnostream.config import BedConfig
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.errors import UserError


def examine_ward(path: Path) -> list[Check]:
    """Streams, network and machine as the beds share them, then files and addresses bed by bed. Raises UserError when
    the ward's file is wrong."""
    files = WardFiles(path)
    shared = [each for each in EXAMINATIONS if each.name != "addresses"]
    checks = run_doctor(files.ward.defaults, shared, files.beds_expected)
    checks.append(Check("ward", OK, f"{len(files.first.beds)} beds in {path}"))
    checks += [
        Check("ward", PROBLEM, why, "mend the file; this bed does not begin") for why in files.first.wrong.values()
    ]
    if files.ward.ward.metrics.address is not None:
        insecure = files.ward.defaults.publish.insecure
        checks.append(doctor_addresses.metrics(files.ward.ward.metrics.address, insecure))
    bundles: dict[str | None, Bundle] = {}
    for bed in files.first.beds.values():
        checks += _settings(bed, bundles)
        checks += [replace(check, name=f"{bed.name}: {check.name}") for check in doctor_addresses.examine(bed)]
    return checks


def _settings(bed: BedConfig, bundles: dict[str | None, Bundle]) -> Iterator[Check]:
    """What keeps the bed from beginning beside its addresses; a bundle that is in `bundles` is not read again."""
    path = bed.model.bundle
    try:
        check_lsl(bed)
        check_folder(Path(bed.keep.folder))
        bundles[path] = bundles.get(path) or load_bundle(None if path is None else Path(path))
        check_channels(bed, bundles[path])
    except UserError as error:
        yield Check(f"{bed.name}: settings", PROBLEM, str(error), "mend them; this bed does not begin")
