"""Export: a bundle loads, says what torch says over a night, and holds no operator that cripples a runtime."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bundle import default_bundle_path, load_bundle
from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble
from hypnostream.models.state import named
from hypnostream.training.bundling.export import FORBIDDEN_OPERATORS, OPSET, export_bundle, parity
from hypnostream.training.nights.channels import STAGER_CHANNELS


def _ensemble(members: int = 2) -> StagerEnsemble:
    torch.manual_seed(0)
    return StagerEnsemble([Stager(StagerConfig(d_model=32, headdim=16)) for _ in range(members)]).eval()


@pytest.mark.slow
def test_onnxruntime_says_what_torch_says_over_a_whole_night(tmp_path: Path) -> None:
    model = _ensemble()
    report = export_bundle(model, tmp_path, STAGER_CHANNELS, "test", "1", "card", {}, {})
    assert report.epochs == 960
    assert report.probabilities < 1e-5
    assert report.states < 1e-5
    assert report.argmax_agreement == 1.0


def test_parity_sees_a_model_that_differs(tmp_path: Path) -> None:
    model = _ensemble(1)
    export_bundle(model, tmp_path, STAGER_CHANNELS, "test", "1", "card", {}, {}, 3)
    with torch.no_grad():
        model.state_dict()["members.0.head.1.bias"].add_(torch.tensor([0.1, 0, 0, 0, 0]))
    assert parity(model, tmp_path, epochs=5).probabilities > 1e-3


def test_a_batch_of_beds_is_as_each_alone(tmp_path: Path) -> None:
    model = _ensemble()
    export_bundle(model, tmp_path, STAGER_CHANNELS, "test", "1", "card", {}, {}, 3)
    backend = OnnxBackend(load_bundle(tmp_path))
    rng = np.random.default_rng(0)
    state = {name: value.numpy() for name, value in named(model.initial_state(3)).items()}
    inputs = {
        "signal": rng.normal(0, 20, (3, 3, 3000)).astype(np.float32),
        "valid": np.ones((3, 3, 30), np.float32),
        "age_s": np.zeros((3, 3), np.float32),
        **state,
    }
    together = backend.run(inputs)
    for bed in range(3):
        alone = backend.run({name: value[bed : bed + 1] for name, value in inputs.items()})
        for name, value in alone.items():
            assert (np.abs(value[0] - together[name][bed]) / (1 + np.abs(value[0]))).max() < 1e-5


@pytest.mark.parametrize("shipped", [True, False])
def test_the_graph_is_one_that_every_runtime_reads(shipped: bool, tmp_path: Path) -> None:
    directory = default_bundle_path()
    if not shipped:
        directory = tmp_path
        export_bundle(_ensemble(1), tmp_path, STAGER_CHANNELS, "test", "1", "card", {}, {}, 3)
    graph = onnx.load(str(directory / "epoch.onnx"))
    assert not {node.op_type for node in graph.graph.node} & FORBIDDEN_OPERATORS
    assert {opset.version for opset in graph.opset_import} == {OPSET}
    assert {opset.domain for opset in graph.opset_import} <= {"", "ai.onnx"}


def test_the_shipped_bundle_is_small_and_has_a_card() -> None:
    bundle = load_bundle()
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) < 10 << 20
    weights = sum(int(np.prod(t.dims)) for t in onnx.load(str(bundle.path / "epoch.onnx")).graph.initializer)
    assert weights < 2_000_000
    card = (bundle.path / "card.md").read_text()
    for word in ("Not a medical device", "Sleep-EDF", "ODC-By", "Limits"):
        assert word in card
    assert "ucddb022" in bundle.content.training["held_out"]


def test_a_bundle_for_other_rates_is_refused(tmp_path: Path) -> None:
    from hypnostream.errors import UserError

    channels = (replace(STAGER_CHANNELS[0], rate_hz=128), *STAGER_CHANNELS[1:])
    with pytest.raises((UserError, RuntimeError)):
        export_bundle(_ensemble(1), tmp_path, channels, "test", "1", "card", {}, {}, 3)
