"""What deploy/ says to other programs is so: the unit, the image and the bed's file fit the package and each other."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer

from hypnostream.bridges.engine_cache import EngineKey, cache_folder, engine_of
from hypnostream.bridges.metrics import DEFAULT_ADDRESS, Metrics
from hypnostream.cli import app
from hypnostream.config import load_config
from hypnostream.engine.parity import Parity
from hypnostream.engine.tensorrt_build import Profile
from tests.documentation import ROOT

DEPLOY = ROOT / "deploy"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
UNIT = (DEPLOY / "hypnostream@.service").read_text()
PROGRAM = "/opt/hypnostream/bin/hypnostream"


def settings(text: str) -> dict[str, list[str]]:
    """A unit's settings by name; some stand there more than once."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    """The image's instructions, continued lines joined."""
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def assert_command_is_valid(arguments: list[str]) -> None:
    """Every word after the program is a command, one of its options or an option's value."""
    commands: Any = typer.main.get_command(app)
    command = commands.commands[arguments[0]]
    context = command.make_context(arguments[0], arguments[1:], resilient_parsing=False)
    assert all(value is not None for value in context.params.values() if value in arguments)


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit of a bed whose program is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not here")
    program = tmp_path / "hypnostream"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "hypnostream@bed3.service"
    path.write_text(UNIT.replace(PROGRAM, str(program)))
    return path


def test_systemd_takes_the_unit_without_a_word(unit: Path) -> None:
    command = [str(shutil.which("systemd-analyze")), "verify", "--man=no", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (said.returncode, said.stderr.replace(str(unit), "")) == (0, "")


def test_the_unit_is_confined(unit: Path) -> None:
    command = [str(shutil.which("systemd-analyze")), "security", "--offline=true", "--threshold=20", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "offline" in said.stderr:
        pytest.skip("this systemd cannot judge a unit that is not installed")
    assert said.returncode == 0, said.stdout[-200:]


def test_the_unit_runs_a_command_that_there_is() -> None:
    (command,) = settings(UNIT)["ExecStart"]
    program, *arguments = shlex.split(command)
    assert program == PROGRAM
    assert Path(program).name in PROJECT["scripts"]
    assert_command_is_valid(arguments)


def test_the_unit_claims_a_watchdog_that_the_loop_feeds_often_enough() -> None:
    from hypnostream.bridges.run import HEARTBEAT_S

    found = settings(UNIT)
    assert found["Type"] == ["notify"]
    assert float(found["WatchdogSec"][0]) >= 30 * HEARTBEAT_S


def test_the_unit_waits_longer_for_streams_than_the_bed_does() -> None:
    (limit,) = settings(UNIT)["TimeoutStartSec"]
    assert load_config(DEPLOY / "bed.toml").lsl.timeout_s < int(limit.removesuffix("min")) * 60


def test_the_unit_has_room_for_the_threads_of_a_large_ward() -> None:
    (most,) = settings(UNIT)["TasksMax"]
    assert int(most) > 400 * 7  # a bed with keys has a context of ZeroMQ and a gate of its own


def test_the_unit_may_write_where_the_bed_keeps_its_nights() -> None:
    found = settings(UNIT)
    assert found["WorkingDirectory"] == [f"/var/lib/{found['StateDirectory'][0]}"]
    assert load_config(DEPLOY / "bed.toml").keep.folder == "."


def test_the_unit_keeps_engines_where_it_may_write_and_no_one_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = settings(UNIT)
    variables = dict(each.split("=", 1) for line in found["Environment"] for each in line.split())
    cache = f"/var/cache/{found['CacheDirectory'][0]}"
    assert variables["XDG_CACHE_HOME"] == variables["MPLCONFIGDIR"] == cache
    assert found["ProtectSystem"] == ["strict"]  # so nowhere else but there
    # As systemd makes it and the program finds it.
    made = tmp_path / cache[1:].replace("%i", "bed3")
    made.mkdir(int(found["CacheDirectoryMode"][0], 8), parents=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(made))
    before = os.umask(int(found["UMask"][0], 8))
    try:
        assert_an_engine_is_kept(made)
    finally:
        os.umask(before)


def test_the_image_keeps_engines_in_a_volume_of_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = instructions()
    variables = dict(each.split("=", 1) for name, value in found if name == "ENV" for each in value.split())
    cache = variables["XDG_CACHE_HOME"]
    assert cache in json.loads(dict(found)["VOLUME"])
    (made,) = (value for name, value in found if name == "RUN" and "useradd" in value)
    owned = re.search(r"install -d -o (\w+) -g \w+ -m (\d+) (.+)$", made)
    assert owned is not None
    owner, mode, folders = owned.groups()
    assert cache in folders.split()
    assert f"--uid {dict(found)['USER']} " in made
    assert owner in made.partition("&&")[0]
    assert f":{cache} " in (DEPLOY / "README.md").read_text()
    (tmp_path / "cache").mkdir(int(mode, 8))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert_an_engine_is_kept(tmp_path / "cache")


def assert_an_engine_is_kept(below: Path) -> None:
    """It is built once, in a folder that the program accepts, below this one."""
    built = []

    def build() -> bytes:
        built.append(b"an engine")
        return built[-1]

    key = EngineKey("c" * 64, "a" * 64, "10.3.0", "NVIDIA H100", "9.0", "fp32", Profile(1, 1, 1))
    for _ in range(2):
        engine_of(cache_folder(), "stager-epoch", key, build, lambda _: (Parity(1, 0.0, 0.0, 1.0), ""))
    assert len(built) == 1
    assert cache_folder().is_relative_to(below)


def test_the_bed_s_file_serves_a_night_alone() -> None:
    config = load_config(DEPLOY / "bed.toml")
    assert config.keep.record
    assert config.metrics.address == DEFAULT_ADDRESS
    assert config.lsl.predicates
    assert not config.publish.insecure


def test_the_bed_s_file_with_its_suggestions_taken_loads_too(tmp_path: Path) -> None:
    text = re.sub(r"^# (?=[a-z_]+ = )", "", (DEPLOY / "bed.toml").read_text(), flags=re.MULTILINE)
    (tmp_path / "bed.toml").write_text(text)
    config = load_config(tmp_path / "bed.toml")
    assert config.lsl.known_peers
    assert config.publish.keys


def test_what_the_image_copies_is_there_and_let_through() -> None:
    let_through = {line[1:] for line in (DEPLOY / "Containerfile.dockerignore").read_text().split() if line[0] == "!"}
    for name, value in instructions():
        if name == "COPY" and "--from" not in value:
            *sources, _ = value.split()
            assert all((ROOT / source).exists() for source in sources)
            assert set(sources) <= let_through


def test_the_image_installs_what_there_is_on_a_python_that_serves() -> None:
    found = instructions()
    least = PROJECT["requires-python"].removeprefix(">=")
    images = [value.split()[0] for name, value in found if name == "FROM"]
    assert len(set(images)) == 1  # what one stage builds, the other must be able to run
    version = re.fullmatch(r"docker\.io/library/python:(\d+\.\d+)-slim", images[0])
    assert version is not None
    assert [int(n) for n in version[1].split(".")] >= [int(n) for n in least.split(".")]
    install = next(value for name, value in found if name == "RUN" and "pip install" in value)
    extras = re.search(r'"\.\[([\w,]+)\]"', install)
    assert extras is not None
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_image_runs_as_nobody_special_and_starts_a_command_that_there_is() -> None:
    found = dict(instructions())
    assert int(found["USER"]) > 0
    assert found["WORKDIR"] in json.loads(found["VOLUME"])
    (program,) = json.loads(found["ENTRYPOINT"])
    assert program == PROGRAM
    arguments = json.loads(found["CMD"])
    assert_command_is_valid(arguments)
    assert arguments[arguments.index("--metrics") + 1] == DEFAULT_ADDRESS
    copied = next(value.split() for name, value in instructions() if name == "COPY" and "bed.toml" in value)
    assert copied == ["deploy/bed.toml", arguments[arguments.index("--config") + 1]]


@pytest.mark.parametrize(("waited_s", "code"), [(0.0, 0), (1000.0, 1)])
def test_the_health_check_tells_a_session_that_is_well_from_one_that_hangs(waited_s: float, code: int) -> None:
    now = [0.0]
    check = next(value for name, value in instructions() if name == "HEALTHCHECK").partition("CMD ")[2]
    interpreter, *arguments = json.loads(check)
    assert interpreter == "/opt/hypnostream/bin/python"
    assert DEFAULT_ADDRESS in arguments[-1]
    with Metrics("127.0.0.1:0", wall=lambda: now[0]) as metrics:
        now[0] = waited_s
        arguments[-1] = arguments[-1].replace(DEFAULT_ADDRESS, metrics.address)
        said = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60)
    assert said.returncode == code


def test_the_pages_of_deploy_lead_to_files_that_are_there() -> None:
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    assert [link for link in re.findall(r"\]\(([^)#]+)\)", page) if not (DEPLOY / link).exists()] == []
    for command in re.findall(r"(?:^|/)hypnostream (doctor .*)$", page, re.MULTILINE):
        assert_command_is_valid(command.split())
