"""The doctor: it always ends, says what it found until then, and each finding is what is so."""

import json
import os
import socket
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pylsl
import pytest

from hypnostream.bridges import doctor_addresses, doctor_clock, doctor_machine, doctor_network, doctor_software
from hypnostream.bridges.doctor import (
    EXAMINATIONS,
    OK,
    PROBLEM,
    WARNING,
    Check,
    Examination,
    run_doctor,
    to_text,
    worst,
)
from hypnostream.bridges.key_files import allow, new_keys
from hypnostream.config import BedConfig, LslSection, MetricsSection, ModelSection, PublishSection
from hypnostream.engine.bundle import load_bundle
from tests.command_line import Cli, assert_one_line

CASE = (Examination("case", "tests.bridges.doctor_case", 20.0),)
STREAMS = tuple(each for each in EXAMINATIONS if each.name == "streams")
TRIALS = 4  # beside many senders of other programs LSL now and then misses one


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_what_was_found_is_said_in_one_line_each() -> None:
    checks = run_doctor(BedConfig(), CASE)
    assert checks == [Check("first", OK, "a line?and ?[2Jmore"), Check("second", PROBLEM, "broken", "mend it")]
    assert to_text(checks).splitlines() == [
        "ok              first   a line?and ?[2Jmore",
        "problem         second  broken -> mend it",
        "1 problem",
    ]


def test_an_examination_that_hangs_is_stopped_and_keeps_what_it_found() -> None:
    started = time.monotonic()
    first, end = run_doctor(BedConfig("hangs"), (Examination("case", CASE[0].module, 1.5),))
    assert time.monotonic() - started < 15
    assert first.name == "first"
    assert (end.state, "did not end within 1.5 s and was stopped" in end.said) == (PROBLEM, True)


@pytest.mark.parametrize(("name", "said"), [("aborts", "ended with"), ("raises", "ended with 1: was wrong")])
def test_an_examination_that_dies_is_a_problem_and_keeps_what_it_found(name: str, said: str) -> None:
    first, end = run_doctor(BedConfig(name), CASE)
    assert first.name == "first"
    assert (end.state, said in end.said) == (PROBLEM, True)


def test_the_worst_is_what_counts() -> None:
    states = {state: Check("a", state, "b") for state in (OK, WARNING, PROBLEM)}
    assert worst([]) == worst([states[OK]]) == OK
    assert worst([states[OK], states[WARNING]]) == WARNING
    assert worst([states[PROBLEM], states[WARNING]]) == PROBLEM


def test_streams_in_sight_are_named_with_what_is_wrong_with_them(lsl_session_id: str) -> None:
    good = pylsl.StreamOutlet(pylsl.StreamInfo("good", "EEG", 2, 256, pylsl.cf_float32, "serial-7"))
    nameless = pylsl.StreamOutlet(pylsl.StreamInfo("nameless", "EEG", 1, 0, pylsl.cf_float32, ""))
    predicates = ("name='good'", "name='absent'")
    config = BedConfig(lsl=LslSection(predicates, private_session=lsl_session_id, timeout_s=1.0, minimum=2))
    for _ in range(TRIALS):
        checks = run_doctor(config, STREAMS)
        streams = {check.said.split("'")[1]: check for check in checks if check.name == "LSL stream"}
        if len(streams) == 2:
            break
    del good, nameless
    assert {*streams} == {"good", "nameless"}, to_text(checks)
    assert streams["good"].state == OK
    assert "256 Hz; 2 channels" in streams["good"].said
    assert "clock offset" in streams["good"].said
    assert "source_id 'serial-7'" in streams["good"].said
    assert streams["nameless"].state == WARNING
    assert "irregular rate" in streams["nameless"].said
    assert "no source_id" in streams["nameless"].said
    assert [(check.state, check.said) for check in checks if check.name == "LSL predicate"] == [
        (OK, "name='good' finds 'good'"),
        (PROBLEM, "name='absent' finds nothing"),
    ]
    assert by_name(checks)["LSL streams"].said == "1 of lsl.minimum 2"


def test_the_lsl_configuration_in_force_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LSLAPICFG", str(tmp_path / "named.cfg"))
    (tmp_path / "lsl_api.cfg").write_text("[lab]\nKnownPeers = {192.0.2.7}\n")
    absent, here = doctor_network.configuration(BedConfig())
    assert (absent.state, str(tmp_path / "named.cfg") in absent.said) == (PROBLEM, True)
    assert here == Check("LSL configuration", OK, "lsl_api.cfg is read: KnownPeers = {192.0.2.7}")
    (tmp_path / "named.cfg").write_text("[lab]\nSessionID = ward 7\n[ports]\nBasePort = 17000\n")
    named, session = doctor_network.configuration(BedConfig())
    assert named.said.endswith("named.cfg is read: SessionID = ward 7; BasePort = 17000")
    assert (session.state, "'ward 7'" in session.said) == (WARNING, True)
    (tmp_path / "named.cfg").write_text("no INI at all\n")
    assert [check.state for check in doctor_network.configuration(BedConfig())] == [PROBLEM]
    monkeypatch.delenv("LSLAPICFG")
    (tmp_path / "lsl_api.cfg").unlink()
    own = BedConfig(lsl=LslSection(private_session="one", known_peers=("192.0.2.7",)))
    assert "private session 'one'; known peers 192.0.2.7" in next(iter(doctor_network.configuration(own))).said


def test_multicast_comes_back_where_there_is_any_and_is_missed_where_not() -> None:
    assert doctor_network.comes_back("127.0.0.1", doctor_network.GROUPS[0]) in ("", "nothing within 0.5 s")
    assert doctor_network.comes_back("192.0.2.99", doctor_network.GROUPS[0])  # no interface of this machine
    assert doctor_network.comes_back("127.0.0.1", "192.0.2.1")  # no group


def test_every_interface_that_is_up_is_named() -> None:
    checks = list(doctor_network.interfaces())
    assert any("127.0.0.1" in check.said for check in checks)
    assert {check.state for check in checks} <= {OK, WARNING}
    assert all(check.todo for check in checks if check.state == WARNING)


def test_ports_that_others_hold_are_counted() -> None:
    def free() -> int:
        return int(next(iter(doctor_network.ports())).said.split()[0])

    before = free()
    with socket.socket() as other:
        port = next(p for p in range(16604, 16571, -1) if doctor_network._free(p))
        other.bind(("", port))
        assert free() < before


def test_addresses_that_are_free_held_or_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        held = f"127.0.0.1:{other.getsockname()[1]}"
        config = BedConfig(
            publish=PublishSection(f"tcp://{held}", f"ipc://{tmp_path}/replay"), metrics=MetricsSection(held)
        )
        checks = by_name(list(doctor_addresses.examine(config)))
    assert {name: check.state for name, check in checks.items()} == {
        "publish.address": WARNING,
        "publish.replay": OK,
        "metrics.address": WARNING,
    }
    open_to_all = BedConfig(publish=PublishSection("tcp://0.0.0.0:*"), metrics=MetricsSection("0.0.0.0:0"))
    assert {check.state for check in doctor_addresses.examine(open_to_all)} == {PROBLEM}
    insecure = BedConfig(publish=PublishSection("tcp://0.0.0.0:*", insecure=True))
    assert [check.state for check in doctor_addresses.examine(insecure)] == [WARNING, OK, OK]


def test_keys_are_looked_at(tmp_path: Path) -> None:
    def state(folder: Path) -> tuple[str, str]:
        config = BedConfig(publish=PublishSection("tcp://0.0.0.0:*", keys=str(folder)))
        check = by_name(list(doctor_addresses.examine(config)))["publish.keys"]
        return check.state, check.said

    assert state(tmp_path / "absent")[0] == PROBLEM
    new_keys(tmp_path / "keys", "server")
    assert state(tmp_path / "keys")[0] == WARNING
    _, public = new_keys(tmp_path / "theirs", "dashboard")
    allow(tmp_path / "keys", public)
    assert state(tmp_path / "keys") == (OK, f"{tmp_path / 'keys'} allows 1 to listen")


def test_the_shipped_bundle_stages_an_epoch_and_another_folder_does_not(tmp_path: Path) -> None:
    check = doctor_software.one_epoch(load_bundle())
    assert check.name == "one epoch"
    assert " ms at best" in check.said
    broken = BedConfig(model=ModelSection(bundle=str(tmp_path)))
    assert by_name(list(doctor_software.examine(broken)))["bundle"].state == PROBLEM


def test_a_disk_is_written_to_and_its_nights_are_counted(tmp_path: Path) -> None:
    results, speed = doctor_machine.disk(tmp_path / "nights", record=False)
    recorded, _ = doctor_machine.disk(tmp_path, record=True)
    assert "(for " in results.said
    assert "nights of 8 h recorded" in recorded.said
    assert "safe on disk after" in speed.said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that even root cannot write to")
def test_a_disk_that_cannot_be_written_is_a_problem() -> None:
    (check,) = doctor_machine.disk(Path("/proc/nights"), record=False)
    assert (check.state, "cannot be written" in check.said) == (PROBLEM, True)


def test_memory_and_processor_are_numbers() -> None:
    assert " GB free" in doctor_machine.memory().said
    assert f"{os.cpu_count()} core" in doctor_machine.processor().said


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system cannot change its time zone for one process")
def test_a_night_with_a_change_of_local_time_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        before = doctor_clock.local_time(datetime(2026, 10, 24, 20, tzinfo=UTC))
        quiet = doctor_clock.local_time(datetime(2026, 7, 1, 20, tzinfo=UTC))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert (before.state, before.said) == (WARNING, "CEST, UTC+0200; it changes to UTC+0100 within 5 h")
    assert (quiet.state, quiet.said) == (OK, "CEST, UTC+0200; the same for the next 24 h")


def test_the_clock_is_steady_and_its_server_known_or_said_not_to_be() -> None:
    assert doctor_clock.steady(0.05).state in (OK, WARNING)
    check = doctor_clock.synchronised()
    assert (check.state == "not known here") == (sys.platform != "linux")


@pytest.mark.slow
def test_the_command_says_json_and_its_exit_code_tells(cli: Cli, tmp_path: Path, lsl_session_id: str) -> None:
    bed = tmp_path / "bed.toml"
    bed.write_text(f'[lsl]\nprivate_session = "{lsl_session_id}-empty"\n[publish]\naddress = "ipc://{tmp_path}/out"\n')
    well = cli("doctor", "--config", bed, "--json")
    report = json.loads(well.out)
    assert (well.code, report["worst"] == PROBLEM) == (0, False)
    states = {check["name"]: check["state"] for check in report["checks"]}
    assert states["LSL streams"] == WARNING  # none in sight
    assert set(states) >= {
        "LSL ports",
        "one epoch",
        "clock",
        "disk",
        "publish.address",
    }
    bed.write_text(bed.read_text() + f'[model]\nbundle = "{tmp_path}"\n')
    ill = cli("doctor", "--config", bed)
    assert ill.code == 1
    assert any(line.startswith("problem ") and "bundle.json" in line for line in ill.out.splitlines())


def test_the_command_prints_a_configuration_for_lsl(cli: Cli) -> None:
    said = cli("doctor", "--lsl-config", "192.0.2.7", "amplifier.local")
    assert (said.code, said.err) == (0, "")
    assert "KnownPeers = {192.0.2.7, amplifier.local}" in said.out.splitlines()
    assert_one_line(cli("doctor", "--lsl-config"), "machines that send")
    assert_one_line(cli("doctor", "192.0.2.7"), "only with --lsl-config")
    assert_one_line(cli("doctor", "--lsl-config", "a\nSessionID = x"), "LSL peer")
