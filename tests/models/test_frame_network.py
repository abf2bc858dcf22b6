"""The frame network: the papers' size and the product's, and each frame alone."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from hypnostream.models.frame_network import REFERENCE_FRAME, FrameEncoder, FrameSettings

SMALL = FrameSettings(stem=4, planes=(4, 8, 8), squeeze=2, hidden=16, width=12)


def parameters(settings: FrameSettings) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in FrameEncoder(settings).parameters())


def test_the_reference_is_as_large_as_the_paper_s() -> None:
    assert parameters(REFERENCE_FRAME) == pytest.approx(35.9e6, rel=0.01)
    with torch.device("meta"):
        model = FrameEncoder(REFERENCE_FRAME)
        with FlopCounterMode(display=False) as counted:
            model(torch.zeros(27, 400))
    assert counted.get_total_flops() == pytest.approx(7.15e9, rel=0.01)  # an epoch of 27 frames


def test_the_product_is_small_enough_for_eight_channels_a_second() -> None:
    assert parameters(FrameSettings()) <= 0.25e6
    model = FrameEncoder()
    with FlopCounterMode(display=False) as counted:
        model(torch.zeros(1, 8, 400))
    assert counted.get_total_flops() <= 30e6


def test_a_frame_s_token_depends_on_nothing_but_that_frame() -> None:
    torch.manual_seed(0)
    for mode in (True, False):  # in training too: no statistic of a batch is anywhere
        model = FrameEncoder(SMALL).train(mode)
        frames = torch.randn(2, 5, 400)
        whole = model(frames)
        assert whole.shape == (2, 5, 12)
        assert torch.allclose(whole[1, 3], model(frames[1, 3]), atol=1e-5)


def test_a_frame_s_level_is_not_normalised_away() -> None:
    torch.manual_seed(0)
    model, frame = FrameEncoder(SMALL), torch.randn(400)
    assert (model(frame) - model(3 * frame)).abs().max() > 0.01


def test_silence_is_a_finite_token_with_a_finite_gradient() -> None:
    model = FrameEncoder(SMALL)
    model(torch.zeros(3, 400)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_there_is_no_statistic_of_a_batch_and_no_state() -> None:
    model = FrameEncoder(SMALL)
    assert not list(model.buffers())
    assert not any("BatchNorm" in type(module).__name__ for module in model.modules())
