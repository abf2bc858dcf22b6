"""One damaged recording stops a training in one line: which it is, and how to go on."""

from pathlib import Path

import pytest

from hypnostream.stream.simulator import NightSettings
from hypnostream.training.recordings.simulated import simulate
from hypnostream.training.recordings.store_signals import SIGNALS
from tests.command_line import Cli
from tests.training.nsrr_files import write_psg, write_xml

REMEDY = "names all that are damaged: ingest them again, or remove their folders to go on without them"
COMMANDS = {"stager": ("stager", "--data"), "downstream": ("downstream",), "breathing": ("breathing",)}


@pytest.mark.parametrize("file", [SIGNALS, "recording.json"])
@pytest.mark.parametrize("command", list(COMMANDS))
def test_which_it_is_and_how_to_go_on(cli: Cli, tmp_path: Path, command: str, file: str) -> None:
    store = tmp_path / "store"
    simulate(store, NightSettings(60.0), 2, 0, lambda *_: None)
    damaged = store / "simulated-1" / file
    damaged.write_bytes(damaged.read_bytes()[:-20])
    said = cli("train", *COMMANDS[command], store, "--out", tmp_path / "run")
    assert said.code == 2
    line = said.lines[-1]
    assert "simulated-1" in line.partition(str(damaged))[0]
    assert f"`hypnostream train validate {store}` {REMEDY}" in line
    assert "simulated-1: " in cli("train", "validate", store).out


def test_a_file_that_cannot_be_ingested_can_be_left_out(cli: Cli, tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    write_psg(data / "shhs1-200001.edf", 90, 1)
    write_xml(data / "shhs1-200001-nsrr.xml", [0, 2, 5])
    (data / "shhs1-200002.edf").write_bytes(b"not an EDF")
    said = cli("train", "stager", "--data", data, "--out", out)
    assert said.code == 2
    assert "1 recordings could not be ingested, the first shhs1-200002: " in said.lines[-1]
    store = out / "recordings"
    assert f"{store / 'skipped.json'} names them all: mend or remove" in said.lines[-1]
    assert said.lines[-1].endswith(f"go on without them by --data {store}")
    again = cli("train", "stager", "--data", store, "--out", out, "--hold-out", "nobody")
    assert "--hold-out 'nobody' is nobody with a staged night" in again.lines[-1]  # it has the nights
