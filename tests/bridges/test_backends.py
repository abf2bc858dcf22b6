"""What runs the model is what was asked for, or onnxruntime with the reason said."""

import hashlib
import json
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import msgspec
import onnx
import pytest
from msgspec.structs import replace

from hypnostream.bridges import backends, doctor_software
from hypnostream.bridges.backends import asks_tensorrt, choose_backend
from hypnostream.bridges.bench import bench_here, runtimes_of
from hypnostream.bridges.doctor import OK, WARNING
from hypnostream.bridges.engine_cache import engine_name, engine_of
from hypnostream.bridges.model import Model
from hypnostream.bridges.replay import ReplayOptions, replay
from hypnostream.bridges.tensorrt_engines import engine_family, engine_key, engine_state
from hypnostream.config import BackendName, BedConfig, ModelSection, load_config
from hypnostream.engine.bundle import Bundle, load_bundle
from hypnostream.engine.parity import Parity
from hypnostream.engine.stretch import StretchBackend
from hypnostream.engine.tensorrt_build import engine_graph, profile_for
from hypnostream.engine.tensorrt_device import Device, TensorRtError, device
from hypnostream.errors import UserError
from tests.recordings import write_night

GPU = Device("NVIDIA H100", "9.0", 80 << 30, "10.3.0")


def reason() -> str:
    """Why TensorRT cannot be used here; skips where it can."""
    try:
        device()
    except TensorRtError as error:
        return str(error)
    pytest.skip("TensorRT can be used here")


def bundle_with_other_tick(folder: Path) -> Bundle:
    """The shipped bundle under its own name, one byte of one graph changed: a name in it that says nothing."""
    shipped = load_bundle()
    path = folder / "bundle"
    shutil.copytree(shipped.path, path)
    tick = onnx.load(str(path / "tick.onnx"))
    tick.producer_name = "another training"
    onnx.save(tick, str(path / "tick.onnx"))
    hashes = {**shipped.content.sha256, "tick.onnx": hashlib.sha256((path / "tick.onnx").read_bytes()).hexdigest()}
    (path / "bundle.json").write_bytes(msgspec.json.encode(replace(shipped.content, sha256=hashes)))
    return load_bundle(path)


def passed(plan: bytes) -> tuple[Parity, str]:
    return Parity(1, 0.0, 0.0, 1.0), ""


def test_onnxruntime_is_what_it_says() -> None:
    chosen = choose_backend(load_bundle(), ModelSection(backend="onnxruntime"))
    assert chosen.backend.name.startswith("onnxruntime")
    assert chosen.fallback == ""


def test_tensorrt_that_cannot_be_used_is_replaced_and_the_reason_said(caplog: pytest.LogCaptureFixture) -> None:
    why = reason()
    chosen = choose_backend(load_bundle(), ModelSection(backend="tensorrt"))
    assert chosen.backend.name.startswith("onnxruntime")
    assert chosen.fallback == f"TensorRT is not used: {why}"
    assert why in caplog.text


def test_a_recording_that_tensorrt_cannot_stage_is_read_in_stretches() -> None:
    why = reason()
    chosen = choose_backend(load_bundle(), ModelSection(backend="tensorrt"), stretches=True)
    assert isinstance(chosen.backend, StretchBackend)
    assert chosen.fallback == f"TensorRT is not used: {why}"


def test_every_step_graph_has_a_backend_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    why = reason()
    model = Model(load_bundle(), ModelSection(backend="tensorrt"))
    assert list(model.runtimes) == ["epoch"]  # the others only when breathing is scored
    assert model.beliefs is model.beliefs
    assert set(model.runtimes) == {"epoch", "tick", "ticks"}
    assert all(name.startswith("onnxruntime") for name in model.runtimes.values())
    assert model.reasons == (f"TensorRT is not used: {why}",)
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == [
        "epoch.onnx",
        "tick.onnx",
        "ticks.onnx",
    ]


@pytest.mark.parametrize(
    ("backend", "asked"), [("tensorrt", {"epoch", "tick", "ticks"}), ("auto", {"epoch"}), ("onnxruntime", set())]
)
def test_auto_asks_tensorrt_for_the_epoch_graph_alone(
    backend: BackendName, asked: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "is_installed", lambda: True)
    bundle, section = load_bundle(), ModelSection(backend=backend)
    assert {name for name, graph in bundle.step_graphs.items() if asks_tensorrt(bundle, section, graph)} == asked


def test_what_one_graph_cannot_have_is_said_of_that_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A GPU on which no engine can be built, as TensorRT is not there to build it."""
    reason()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backends, "device", lambda: GPU)
    bundle = load_bundle()
    chosen = choose_backend(bundle, ModelSection(backend="tensorrt"), bundle.content.tick)
    assert chosen.backend.name.startswith("onnxruntime")
    assert re.match(r"TensorRT is not used for tick\.onnx: \w+", chosen.fallback)
    assert "\n" not in chosen.fallback


def test_an_engine_s_place_is_its_graph_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = load_bundle()
    keys = {}
    for name, graph in bundle.step_graphs.items():
        given = engine_graph(bundle.graph_bytes(graph), graph, "fp32")
        keys[name] = engine_key(bundle, graph, given, GPU, "fp32", profile_for(1))
        assert keys[name].onnx == hashlib.sha256((bundle.path / graph.file).read_bytes()).hexdigest()
        assert "there is none yet" in engine_state(bundle, graph, GPU, "fp32")
    assert len({key.graph for key in keys.values()}) == len(keys)
    assert len({engine_name(engine_family(bundle, bundle.step_graphs[name]), key) for name, key in keys.items()}) == 3


def test_bundles_of_one_name_have_engines_of_their_own(tmp_path: Path) -> None:
    """As two trainings of one recipe have: each would have the other's engine built again, by turns and for minutes."""
    shipped = load_bundle()
    other = bundle_with_other_tick(tmp_path)
    assert other.content.name == shipped.content.name
    folder, names = tmp_path / "engines", set[str]()
    for bundle in (shipped, other):
        tick = bundle.step_graphs["tick"]
        key = engine_key(bundle, tick, bundle.graph_bytes(tick), GPU, "fp32", profile_for(1))
        for _ in range(2):
            made = engine_of(folder, engine_family(bundle, tick), key, bundle.hash.encode, passed)
            assert made.plan == bundle.hash.encode()
        names.add(engine_name(engine_family(bundle, tick), key))
    assert {path.stem for path in folder.glob("*.engine")} == names
    assert len(names) == 2


def test_without_its_package_nothing_is_said_of_it(caplog: pytest.LogCaptureFixture) -> None:
    if find_spec("tensorrt") is not None:
        pytest.skip("TensorRT is installed here")
    assert choose_backend(load_bundle(), ModelSection()).fallback == ""
    assert caplog.text == ""


def test_a_report_says_what_ran_instead(tmp_path: Path) -> None:
    why = reason()
    write_night(tmp_path / "night.edf", 2)
    (tmp_path / "bed.toml").write_text('[model]\nbackend = "tensorrt"\n')
    options = ReplayOptions(out=tmp_path / "report", config=load_config(tmp_path / "bed.toml"))
    _, folder = replay(tmp_path / "night.edf", options)
    assert f"TensorRT is not used: {why}" in json.loads((folder / "summary.json").read_text())["warnings"]


@pytest.mark.parametrize("choice", ["auto", "onnxruntime", "tensorrt"])
def test_the_doctor_says_whether_it_can_be_used_and_what_runs_each_graph(choice: str, tmp_path: Path) -> None:
    why = reason()
    (tmp_path / "bed.toml").write_text(f'[model]\nbackend = "{choice}"\n')
    checks = {check.name: check for check in doctor_software.backends(load_config(tmp_path / "bed.toml"))}
    assert checks["graphs"].said == "onnxruntime runs epoch, tick, ticks, stretch"
    found = checks["TensorRT"]
    if choice == "tensorrt" or (choice == "auto" and find_spec("tensorrt") is not None):
        assert found.state == WARNING
        assert why in found.said
        assert "model.backend" in found.todo
    else:
        assert found.state == OK


def test_the_doctor_names_what_runs_each_graph_where_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backends, "is_installed", lambda: True)
    bundle, beds = load_bundle(), {name: BedConfig(model=ModelSection(backend=name)) for name in ("auto", "tensorrt")}
    said = {
        name: {check.name: check.said for check in doctor_software.graphs(bundle, bed, GPU)}
        for name, bed in beds.items()
    }
    assert said["auto"].keys() == {"graph epoch", "graphs"}
    assert said["auto"]["graphs"] == "onnxruntime runs tick, ticks"
    assert said["tensorrt"].keys() == {"graph epoch", "graph tick", "graph ticks"}
    assert all(each.startswith("TensorRT; its engine in fp32 is built when") for each in said["tensorrt"].values())


def test_the_bench_names_what_runs_each_graph() -> None:
    bundle, section = load_bundle(), ModelSection(backend="onnxruntime")
    runtimes = runtimes_of(Model(bundle, section), Model(bundle, section, stretches=True))
    ((runtime, names),) = runtimes.items()
    assert runtime.startswith("onnxruntime")
    assert names == ["epoch", "tick", "ticks", "stretch"]


def test_another_backend_is_refused() -> None:
    with pytest.raises(UserError, match="auto, onnxruntime, tensorrt"):
        bench_here("cuda")
    assert BedConfig().model.backend == "auto"
