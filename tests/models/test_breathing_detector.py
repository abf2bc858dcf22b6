"""The learned model of breathing keeps the contract of everything recurrent, and never makes a number of nothing."""

import torch
from torch import Tensor

from hypnostream.engine.respiration import tick_inputs
from hypnostream.models import breathing_detector
from hypnostream.models.breathing_detector import BreathingDetector, BreathingDetectorSettings
from hypnostream.models.state import named

SETTINGS = BreathingDetectorSettings(taps=6, filters=4, width=16, headdim=8)
SENSORS, NUMBERS = SETTINGS.sensors, SETTINGS.numbers


def detector() -> BreathingDetector:
    torch.manual_seed(0)
    return BreathingDetector(SETTINGS).eval()


def inputs(batch: int = 2, length: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mask = (torch.rand(batch, length, SENSORS, generator=generator) < 0.7).float()
    return torch.randn(batch, length, SENSORS, NUMBERS, generator=generator) * mask.unsqueeze(-1), mask


@torch.no_grad()
def test_steps_pieces_and_the_whole_agree_in_answers_and_state() -> None:
    model = detector()
    for batch in (1, 3):
        whole, after = model(*inputs(batch))
        state, pieces = model.initial_state(batch), []
        for start, end in ((0, 1), (1, 6), (6, 29), (29, 60)):
            said, state = model(*(each[:, start:end] for each in inputs(batch)), state)
            pieces.append(said)
        torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-5)
        stepped = model.initial_state(batch)
        for second in range(60):
            numbers, mask = (each[:, second] for each in inputs(batch))
            said, stepped = model.step(numbers, mask, stepped)
            torch.testing.assert_close(said, whole[:, second], atol=1e-5, rtol=1e-5)
        for name, value in named(after).items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(named(state)[name], value, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(named(stepped)[name], value, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_what_comes_later_changes_nothing_before() -> None:
    model, (numbers, mask) = detector(), inputs()
    before, _ = model(numbers, mask)
    numbers, mask = numbers.clone(), mask.clone()
    numbers[:, 37:], mask[:, 37:] = 3.0, 1.0
    after, _ = model(numbers, mask)
    torch.testing.assert_close(before[:, :37], after[:, :37], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(before[:, 37:], after[:, 37:], atol=1e-3)


@torch.no_grad()
def test_a_bed_says_the_same_whoever_lies_beside_it_and_nothing_there_is_still_a_number() -> None:
    model, (numbers, mask) = detector(), inputs(3)
    together, _ = model(numbers, mask)
    alone, _ = model(numbers[1:2], mask[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)
    nothing, state = model(torch.zeros_like(numbers), torch.zeros_like(mask))
    assert torch.isfinite(nothing).all()
    assert all(torch.isfinite(each).all() for each in named(state).values())


def test_engine_and_model_ask_the_same_of_the_same_sensors() -> None:
    assert breathing_detector.QUESTIONS == tick_inputs.ANSWERS
    assert breathing_detector.LATE_S == tick_inputs.LATE_S
    whole = BreathingDetectorSettings()
    assert (whole.sensors, whole.numbers) == (len(tick_inputs.TICK_SENSORS), tick_inputs.NUMBERS)
