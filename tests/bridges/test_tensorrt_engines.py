"""All that is done around an engine, with a runner of this machine's memory in the GPU's place: it is built for as many
beds as there are, judged, kept, and refused when it does not say what onnxruntime says."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.bridges import backends, tensorrt_engines
from hypnostream.bridges.backends import choose_backend
from hypnostream.bridges.doctor_software import graphs
from hypnostream.bridges.falling_back import FallingBack
from hypnostream.bridges.tensorrt_engines import profile_of
from hypnostream.config import BedConfig, ModelSection
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import GraphSpec, load_bundle
from hypnostream.engine.resident import HostResident
from hypnostream.engine.simulated_steps import simulated_steps
from hypnostream.engine.slots import Arrays
from hypnostream.engine.tensorrt_build import Profile
from hypnostream.engine.tensorrt_device import Device, Precision

BUNDLE = load_bundle()
GRAPHS = BUNDLE.step_graphs
HERE = Device("a GPU", "9.0", 1 << 30, "10.3.0")
TENSORRT = ModelSection(backend="tensorrt")


class Machine:
    """What is built and made on it. `worse` is what its answers are multiplied by, by graph."""

    def __init__(self) -> None:
        self.built: list[tuple[str, int]] = []
        self.rows: list[tuple[str, int]] = []
        self.open = 0
        self.worse: dict[str, float] = {}

    def build(self, graph: bytes, spec: GraphSpec, precision: Precision, profile: Profile) -> bytes:
        self.built.append((spec.file, profile.most))
        return f"{spec.file} for {profile.most}".encode()

    def runner(self, plan: bytes, spec: GraphSpec, beds: int, name: str) -> HostResident:
        self.rows.append((spec.file, beds))
        self.open += 1
        machine = self

        class Runner(HostResident):
            def step(self) -> Arrays:
                answer = super().step()
                worse = np.float32(machine.worse.get(spec.file, 1.0))
                return {output: value * worse for output, value in answer.items()}

            def write(self, first: int, state: Mapping[str, NDArray[np.float32]]) -> None:
                assert first + len(next(iter(state.values()))) <= self.beds
                super().write(first, state)

            def close(self) -> None:
                machine.open -= 1

        made = Runner(OnnxBackend(BUNDLE, spec), spec, beds)
        made.name = name
        return made


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    made = Machine()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backends, "device", lambda: HERE)
    monkeypatch.setattr(tensorrt_engines, "build_engine", made.build)
    monkeypatch.setattr(tensorrt_engines, "TensorRtRunner", made.runner)
    monkeypatch.setattr(tensorrt_engines, "simulated_steps", partial(simulated_steps, epochs=6))
    return made


def test_a_bed_has_an_engine_of_one_row_and_a_ward_one_with_room(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "hypnostream.tensorrt")
    assert choose_backend(BUNDLE, TENSORRT).backend.name == "TensorRT 10.3.0 fp32 on a GPU"
    assert machine.built == [("epoch.onnx", 1)]
    assert machine.rows == 2 * [("epoch.onnx", 1)]  # judged, and at work
    assert machine.open == 1
    caplog.clear()
    choose_backend(BUNDLE, TENSORRT, beds=3)  # too small
    assert machine.built[1:] == [("epoch.onnx", 8)]
    assert "profile.most was 1, is 8" in caplog.text
    caplog.clear()
    for beds in (1, 2, 4):  # large enough
        choose_backend(BUNDLE, TENSORRT, beds=beds)
        assert machine.rows[-1] == ("epoch.onnx", 8)
    assert len(machine.built) == 2
    assert "building" not in caplog.text


@pytest.mark.parametrize("name", ["tick", "ticks"])
def test_breathing_is_run_a_bed_at_a_time(name: str) -> None:
    assert profile_of(BUNDLE, GRAPHS[name], 200) == Profile(1, 1, 1)
    assert profile_of(BUNDLE, GRAPHS["epoch"], 200) == Profile(64, 64, 64)


def test_a_ward_that_outgrew_its_engine_is_served_in_turns(machine: Machine) -> None:
    backend, spec = choose_backend(BUNDLE, TENSORRT, beds=2).backend, BUNDLE.content.epoch
    epochs = list(simulated_steps(BUNDLE, spec, 11))
    states = {s.input: np.zeros((11, *s.shape), np.float32) for s in spec.states}
    together = {name: np.concatenate([each[name] for each in epochs]) for name in epochs[0]} | states
    expected = OnnxBackend(BUNDLE).run(together)
    for name, value in backend.run(together).items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)
    assert isinstance(backend, FallingBack)
    assert backend.failure == ""


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_whose_engine_is_refused_runs_elsewhere_and_the_others_do_not(name: str, machine: Machine) -> None:
    machine.worse[GRAPHS[name].file] = 0.5
    chosen = {each: choose_backend(BUNDLE, TENSORRT, graph) for each, graph in GRAPHS.items()}
    assert {each for each, one in chosen.items() if one.fallback} == {name}
    assert chosen[name].fallback.startswith(f"TensorRT is not used for {GRAPHS[name].file}: its engine in fp32 ")
    assert machine.open == 2
    said = {check.name: check.said for check in graphs(BUNDLE, BedConfig(model=TENSORRT), HERE)}
    assert said.keys() == {f"graph {each}" for each in GRAPHS}
    for each in GRAPHS:
        refused = "onnxruntime: TensorRT's engine in fp32 is refused, as it "
        served = "TensorRT; its engine in fp32, for 1 bed a call, decides as onnxruntime in 100.00% of a night"
        assert said[f"graph {each}"].startswith(refused if each == name else served)
    choose_backend(BUNDLE, TENSORRT, GRAPHS[name])  # the verdict is kept
    assert len(machine.built) == 3


def test_the_doctor_of_a_ward_says_that_the_engine_of_a_bed_is_too_small(machine: Machine) -> None:
    choose_backend(BUNDLE, TENSORRT)
    (said, *_) = graphs(BUNDLE, BedConfig(model=TENSORRT), HERE, beds=20)
    assert said.said.endswith("is built when it is first used, which takes minutes: profile.most was 1, is 64")
