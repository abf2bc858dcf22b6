"""All that is done around an engine, with a runner of this machine's memory in the GPU's place: it is built for as many
beds as there are, judged, kept, and refused when it does not say what onnxruntime says."""

import logging
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
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
from hypnostream.engine.bundle import Bundle, GraphSpec, load_bundle
from hypnostream.engine.resident import HostResident
from hypnostream.engine.simulated_steps import simulated_steps
from hypnostream.engine.slots import Arrays
from hypnostream.engine.tensorrt_build import Profile
from hypnostream.engine.tensorrt_device import Device, Precision, TensorRtError
from tests.bridges.test_backends import bundle_with_other_tick

BUNDLE = load_bundle()
GRAPHS = BUNDLE.step_graphs
HERE = Device("a GPU", "9.0", 1 << 30, "10.3.0")
TENSORRT = ModelSection(backend="tensorrt")


class Machine:
    """What is built and made on it. `worse` is what its answers are multiplied by, by graph, of `worse_row` alone where
    that is said."""

    def __init__(self) -> None:
        self.built: list[tuple[str, int]] = []
        self.rows: list[tuple[str, int]] = []
        self.open = 0
        self.worse: dict[str, float] = {}
        self.worse_row = slice(None)

    def build(self, graph: bytes, spec: GraphSpec, precision: Precision, profile: Profile) -> bytes:
        self.built.append((spec.file, profile.most))
        return f"{spec.file} for {profile.most}".encode()

    def runner(self, plan: bytes, spec: GraphSpec, beds: int, name: str) -> HostResident:
        self.rows.append((spec.file, beds))
        self.open += 1
        machine = self

        class Runner(HostResident):
            def step(self) -> Arrays:
                answer = {output: value.copy() for output, value in super().step().items()}
                for value in answer.values():
                    value[machine.worse_row] *= np.float32(machine.worse.get(spec.file, 1.0))
                return answer

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
        assert machine.rows[-2:] == [("epoch.onnx", 1), ("epoch.onnx", 8)]  # few beds go through the smaller
    assert len(machine.built) == 2
    assert machine.open == 1 + 4 * 2
    assert "building" not in caplog.text


@pytest.mark.parametrize("name", ["tick", "ticks"])
def test_breathing_is_run_a_bed_at_a_time(name: str) -> None:
    assert profile_of(BUNDLE, GRAPHS[name], 200) == Profile(1, 1, 1)
    assert profile_of(BUNDLE, GRAPHS["epoch"], 200) == Profile(1, 64, 64)


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


@pytest.mark.parametrize("row", [0, 1, 7])
def test_an_engine_that_is_wrong_in_one_row_alone_is_refused(machine: Machine, row: int) -> None:
    machine.worse, machine.worse_row = {"epoch.onnx": 0.9}, slice(row, row + 1)
    chosen = choose_backend(BUNDLE, TENSORRT, beds=3)
    assert "its engine in fp32 outputs differ by" in chosen.fallback
    assert machine.rows == [("epoch.onnx", 1), ("epoch.onnx", 8)]
    assert machine.open == 0


def test_runners_are_given_back_when_the_last_cannot_be_made(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_backend(BUNDLE, TENSORRT, beds=3)
    before = machine.open

    def small(plan: bytes, spec: GraphSpec, beds: int, name: str) -> HostResident:
        if beds > 1:
            raise TensorRtError("no room for 8 beds on the GPU")
        return machine.runner(plan, spec, beds, name)

    monkeypatch.setattr(tensorrt_engines, "TensorRtRunner", small)
    assert choose_backend(BUNDLE, TENSORRT, beds=3).fallback.endswith("no room for 8 beds on the GPU")
    assert machine.open == before


def test_why_an_engine_is_built_is_said_by_name_of_what_differs(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a new training of the bundle is, another precision, another TensorRT, another GPU."""
    caplog.set_level(logging.INFO, "hypnostream.tensorrt")

    def built_because(bundle: Bundle, model: ModelSection = TENSORRT) -> str:
        caplog.clear()
        assert choose_backend(bundle, model, bundle.content.tick).fallback == ""
        return next(r.getMessage() for r in caplog.records if r.getMessage().startswith("building the engine"))

    assert built_because(BUNDLE).endswith("there is none yet")
    half = ModelSection(backend="tensorrt", precision="fp16")
    assert re.search(
        r"the newest of stager-tick is another: graph was .{12}, is .{12}; prec", built_because(BUNDLE, half)
    )
    trained = bundle_with_other_tick(tmp_path)
    why = built_because(trained, half)
    assert re.search(r"the newest of stager-tick is another: onnx was [0-9a-f]{12}, is [0-9a-f]{12}", why)
    assert "precision" not in why
    monkeypatch.setattr(backends, "device", lambda: msgspec.structs.replace(HERE, tensorrt="11.0"))
    assert built_because(trained, half).endswith(": tensorrt was 10.3.0, is 11.0")
    monkeypatch.setattr(backends, "device", lambda: Device("b GPU", "10.0", 1 << 30, "11.0"))
    assert built_because(trained, half).endswith(": gpu was a GPU, is b GPU; compute_capability was 9.0, is 10.0")


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
