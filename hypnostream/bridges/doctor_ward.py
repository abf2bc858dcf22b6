"""A ward's file for the doctor: the machine once, and what each bed of it would find."""

from pathlib import Path

from msgspec.structs import replace

from hypnostream.bridges import doctor_addresses
from hypnostream.bridges.doctor import EXAMINATIONS, OK, PROBLEM, Check, run_doctor
from hypnostream.bridges.ward_files import WardFiles


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
    for bed in files.first.beds.values():
        checks += [replace(check, name=f"{bed.name}: {check.name}") for check in doctor_addresses.examine(bed)]
    return checks
