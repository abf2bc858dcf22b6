"""A bundle of a stranger, its hashes right: its graph is refused in one line, or runs, and reads no file."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import default_bundle_path, load_bundle
from hypnostream.errors import UserError
from tests.damage import damaged


def bundle_with(folder: Path, graph: bytes) -> Path:
    """The shipped bundle with another graph."""
    shutil.copytree(default_bundle_path(), folder, dirs_exist_ok=True)
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest["sha256"]["epoch.onnx"] = hashlib.sha256(graph).hexdigest()
    (folder / "bundle.json").write_text(json.dumps(manifest))
    (folder / "epoch.onnx").write_bytes(graph)
    return folder


@pytest.mark.parametrize("place", [lambda there: there.name, str, lambda there: f"../{there.parent.name}/{there.name}"])
@pytest.mark.parametrize("beside_the_graph", [False, True])
def test_a_graph_takes_no_weights_from_files(
    place: Callable[[Path], str], beside_the_graph: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx: Any = pytest.importorskip("onnx", reason="needs the train extra")
    model = onnx.load(default_bundle_path() / "epoch.onnx")
    weights = next(each for each in model.graph.initializer if len(each.raw_data) > 100)
    there = (tmp_path / "bundle" if beside_the_graph else tmp_path) / "private.bin"
    there.parent.mkdir(exist_ok=True)
    there.write_bytes(weights.raw_data)
    for key, value in (("location", place(there)), ("offset", "0"), ("length", str(len(weights.raw_data)))):
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    monkeypatch.chdir(tmp_path)
    bundle = load_bundle(bundle_with(tmp_path / "bundle", model.SerializeToString()))
    with pytest.raises(UserError, match="is no graph that runs here"):
        OnnxBackend(bundle)


def fuzz(folder: Path, examples: int) -> None:
    sound = (default_bundle_path() / "epoch.onnx").read_bytes()
    head, tail = sound[:4000], sound[4000:]  # nodes and names; weights follow, and may be any

    @settings(max_examples=examples, deadline=30_000, suppress_health_check=list(HealthCheck), database=None)
    @given(damaged(head) | st.binary(max_size=200))
    def run(start: bytes) -> None:
        with suppress(UserError):
            OnnxBackend(load_bundle(bundle_with(folder, start + tail)))

    run()


def test_a_damaged_graph_is_refused_in_silence_or_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fuzz(tmp_path, 12)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_damage_of_hundreds_does_harm(tmp_path: Path) -> None:
    fuzz(tmp_path, 300)


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_graph_that_is_a_pipe_is_refused(tmp_path: Path) -> None:
    folder = bundle_with(tmp_path, b"")
    (folder / "epoch.onnx").unlink()
    os.mkfifo(folder / "epoch.onnx")
    with pytest.raises(UserError, match="not a regular file"):
        load_bundle(folder)
