"""The stretch graph of a bundle: what the epoch graph says, of operators that are no loop."""

from pathlib import Path

import onnx
import pytest
import torch

from hypnostream.engine.bundle import default_bundle_path, load_bundle
from hypnostream.errors import UserError
from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble
from hypnostream.training.bundling.export import FORBIDDEN_OPERATORS, OPSET, export_bundle
from hypnostream.training.bundling.stretch_export import FILE, bundle_with_stretch, can_stretch, stretch_parity
from hypnostream.training.nights.channels import STAGER_CHANNELS


def _ensemble(filling: str = "imagination", context: str = "mamba2") -> StagerEnsemble:
    torch.manual_seed(0)
    config = StagerConfig(d_model=32, headdim=16, filling=filling, context=context)
    return StagerEnsemble([Stager(config) for _ in range(2)]).eval()


@pytest.mark.parametrize("filling", [pytest.param("imagination", marks=pytest.mark.slow), "absence"])
def test_a_stretch_says_what_epoch_by_epoch_is_said_whatever_is_lost(filling: str, tmp_path: Path) -> None:
    model = _ensemble(filling=filling)
    export_bundle(model, tmp_path, STAGER_CHANNELS, "test", "1", "card", {}, {}, 3)
    assert bundle_with_stretch(tmp_path, tmp_path, model, epochs=200) < 2e-6


@pytest.mark.slow
def test_a_stretch_of_another_model_is_seen(tmp_path: Path) -> None:
    model = _ensemble()
    export_bundle(model, tmp_path, STAGER_CHANNELS, "test", "1", "card", {}, {}, 3)
    with torch.no_grad():
        model.state_dict()["members.0.head.1.bias"].add_(torch.tensor([0.1, 0, 0, 0, 0]))
    with pytest.raises(UserError, match="differ by"):
        bundle_with_stretch(tmp_path, tmp_path, model, epochs=40)


def test_the_shipped_stretch_graph_is_the_shipped_epoch_graph_with_an_axis_of_time() -> None:
    assert stretch_parity(load_bundle(), epochs=200) < 2e-6
    graph = onnx.load(str(default_bundle_path() / FILE))
    assert not {node.op_type for node in graph.graph.node} & FORBIDDEN_OPERATORS
    assert {(opset.domain, opset.version) for opset in graph.opset_import} == {("", OPSET)}
    assert {node.domain for node in graph.graph.node} <= {""}


def test_a_model_whose_context_is_no_mamba_has_none() -> None:
    assert can_stretch(_ensemble())
    assert not can_stretch(_ensemble(context="gru"))
