"""Each kind of context as a step graph: standard operators of opset 17, and what torch says, over many steps."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hypnostream.models.context import CAUSAL_KINDS, Mixer, make_mixer
from hypnostream.models.multi_level import MultiLevel
from hypnostream.models.state import State, named, rebuilt

D, STEPS, OPSET = 32, 200, 17
NOT_STANDARD = {"Loop", "Scan", "If", "Einsum"}


class StepGraph(nn.Module):
    """`(u, *state) -> (y, *state')`."""

    def __init__(self, mixer: Mixer | MultiLevel) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, u: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        state: State = rebuilt(self.mixer.initial_state(1), list(values))
        y, after = self.mixer.tick(u, state) if isinstance(self.mixer, MultiLevel) else self.mixer.step(u, state)
        return (y, *named(after).values())


def _agrees_over_a_night(mixer: Mixer | MultiLevel, path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = StepGraph(mixer.eval())
    state = named(mixer.initial_state(2))
    inputs, outputs = ["u", *state], ["y", *(f"next_{name}" for name in state)]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of each shape that is a constant here by design
        torch.onnx.export(
            graph,
            (torch.randn(2, D), *state.values()),
            str(path),
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in inputs + outputs},
            opset_version=OPSET,
            dynamo=False,
        )
    assert not {node.op_type for node in onnx.load(str(path)).graph.node} & NOT_STANDARD

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ours = list(named(mixer.initial_state(3)).values())  # another batch than it was traced with
    theirs = [value.numpy() for value in ours]
    taken = {value.name for value in session.get_inputs()}
    for _ in range(STEPS):
        u = torch.randn(3, D)
        with torch.no_grad():
            y, *ours = graph(u, *ours)
        fed = dict(zip(inputs, [u.numpy(), *theirs], strict=True))
        got, *theirs = session.run(outputs, {name: value for name, value in fed.items() if name in taken})
        assert np.abs(got - y.numpy()).max() < 1e-5
    for a, b in zip(theirs, ours, strict=True):
        assert np.abs(a - b.numpy()).max() < 1e-5


@pytest.mark.parametrize("kind", CAUSAL_KINDS)
def test_a_step_exports_and_onnxruntime_agrees(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    _agrees_over_a_night(make_mixer(kind, D, d_state=8, headdim=16, past=7), tmp_path / "step.onnx")


def test_a_second_of_two_levels_exports_and_onnxruntime_agrees(tmp_path: Path) -> None:
    torch.manual_seed(0)
    _agrees_over_a_night(MultiLevel(D, past_s=8, past_epochs=5, d_state=8, headdim=16), tmp_path / "tick.onnx")
