"""The detector of events keeps the contract of everything recurrent, and says something with no sensor at all."""

import torch
from torch import Tensor

from hypnostream.models.event_detector import DetectorSettings, EventDetector
from hypnostream.models.state import named
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
            said, stepped = model.step(*(each[:, step] for each in inputs(batch)), stepped)
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
