"""The detector of events keeps the contract of everything recurrent, and says something with no sensor at all."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hypnostream.models.event_detector import DetectorSettings, EventDetector
from hypnostream.models.state import named, rebuilt
from hypnostream.models.synthsleepnet import SynthSleepNetSettings

ENCODER = SynthSleepNetSettings(16, 2, 1, 1, 8, 1, 2, (16, 8))
SETTINGS = DetectorSettings(layers=2, headdim=8, encoder=ENCODER)


def detector() -> EventDetector:
    torch.manual_seed(0)
    return EventDetector(3, 4, SETTINGS).eval()


def inputs(batch: int = 2, length: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = torch.randn(batch, length, 3, 19, generator=generator)
    level = torch.randn(batch, length, 3, 7, generator=generator)
    mask = (torch.rand(batch, length, 3, generator=generator) < 0.7).float()
    return shape * mask.unsqueeze(-1), level * mask.unsqueeze(-1), mask


@torch.no_grad()
def test_steps_pieces_and_the_whole_agree_in_answers_and_state() -> None:
    model = detector()
    for batch in (1, 2):
        whole, after = model(*inputs(batch))
        state = model.initial_state(batch)
        pieces = []
        for start, end in ((0, 1), (1, 14), (14, 30)):
            said, state = model(*(each[:, start:end] for each in inputs(batch)), state)
            pieces.append(said)
        torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)
        stepped = model.initial_state(batch)
        for step in range(30):
            shape, level, mask = (each[:, step] for each in inputs(batch))
            said, stepped = model.step(shape, level, mask, stepped)
            torch.testing.assert_close(said, whole[:, step], atol=1e-5, rtol=1e-5)
        for name, value in named(after).items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(named(state)[name], value, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(named(stepped)[name], value, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_comes_later_changes_nothing_before() -> None:
    model, (shape, level, mask) = detector(), inputs()
    before, _ = model(shape, level, mask)
    shape, level, mask = shape.clone(), level.clone(), mask.clone()
    shape[:, 17:], level[:, 17:], mask[:, 17:] = 5.0, -5.0, 1.0
    after, _ = model(shape, level, mask)
    assert torch.equal(before[:, :17], after[:, :17])
    assert not torch.allclose(before[:, 17:], after[:, 17:])


@torch.no_grad()
def test_one_bed_says_nothing_of_another() -> None:
    model, (shape, level, mask) = detector(), inputs()
    both, _ = model(shape, level, mask)
    shape[1], level[1] = 3.0, 3.0
    changed, _ = model(shape, level, mask)
    torch.testing.assert_close(both[0], changed[0], atol=1e-6, rtol=1e-6)


@torch.no_grad()
def test_without_any_sensor_it_answers_and_an_absent_one_is_not_read() -> None:
    model, (shape, level, mask) = detector(), inputs()
    nothing, _ = model(shape, level, torch.zeros_like(mask))
    assert torch.isfinite(nothing).all()
    mask[..., 2] = 0
    before, _ = model(shape, level, mask)
    shape[..., 2, :], level[..., 2, :] = 1e6, -1e6
    after, _ = model(shape, level, mask)
    assert torch.equal(before, after)


class StepGraph(nn.Module):
    """`(shape, level, mask, *state) -> (logits, *state')`."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = detector()

    def forward(self, shape: Tensor, level: Tensor, mask: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        logits, after = self.detector.step(shape, level, mask, rebuilt(self.detector.initial_state(1), list(values)))
        return (logits, *named(after).values())


def test_a_step_exports_with_standard_operators_and_onnxruntime_agrees(tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    graph, path = StepGraph().eval(), str(tmp_path / "step.onnx")
    ours = list(named(graph.detector.initial_state(1)).values())
    first = tuple(each[:1, 0] for each in inputs())
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of each shape that is a constant here by design
        torch.onnx.export(graph, (*first, *ours), path, opset_version=17, dynamo=False)
    assert not {node.op_type for node in onnx.load(path).graph.node} & {"Loop", "Scan", "If", "Einsum"}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names, theirs = [each.name for each in session.get_inputs()], [each.numpy() for each in ours]
    with torch.no_grad():
        for step in range(30):
            now = tuple(each[:1, step] for each in inputs())
            logits, *ours = graph(*now, *ours)
            said, *theirs = session.run(None, dict(zip(names, [*(e.numpy() for e in now), *theirs], strict=True)))
            torch.testing.assert_close(torch.from_numpy(said), logits, atol=1e-5, rtol=1e-5)
