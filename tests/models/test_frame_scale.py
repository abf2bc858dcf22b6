"""The causal scale: step is chunk is whole, gain falls out, nothing invalid counts."""

import torch
from torch import Tensor

from hypnostream.models.frame_scale import FrameScale


def night(seconds: int = 700, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two beds, two channels, some seconds of each invalid."""
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(2, seconds, 2, 400, generator=generator) * torch.tensor([10.0, 0.5])[:, None]
    return frames, (torch.rand(2, seconds, 2, generator=generator) > 0.2).float()


def test_steps_chunks_and_the_whole_agree() -> None:
    frames, valid = night()
    scale = FrameScale([10.0, 1.0], memory_s=100.0)
    whole, after = scale(frames, valid)
    state = scale.initial_state(2)
    for second in range(60):
        out, state = scale.step(frames[:, second], valid[:, second], state)
        assert torch.allclose(out, whole[:, second], atol=1e-5)
    parts = [out]
    for first, end in ((60, 61), (61, 320), (320, 700)):
        part, state = scale(frames[:, first:end], valid[:, first:end], state)
        parts.append(part)
    assert torch.allclose(torch.cat(parts[1:], 1), whole[:, 60:], atol=1e-5)
    assert torch.allclose(state.total, after.total, rtol=1e-5)
    assert torch.allclose(state.weight, after.weight, rtol=1e-5)
    sizes = frames.abs().mean(-1)
    assert torch.allclose(frames / scale.levels(sizes, valid)[..., None] * valid[..., None], whole, atol=1e-4)


def test_the_future_changes_nothing() -> None:
    frames, valid = night(40)
    changed = frames.clone()
    changed[:, 25:] *= 50
    scale = FrameScale([10.0, 1.0])
    assert torch.equal(scale(frames, valid)[0][:, :25], scale(changed, valid)[0][:, :25])


def test_an_amplifier_of_half_or_double_gain_falls_out_after_warming_up() -> None:
    frames, _ = night(900)
    valid = torch.ones(2, 900, 2)
    scale = FrameScale([10.0, 0.5], memory_s=120.0, prior_s=30.0)
    plain = scale(frames, valid)[0][:, 600:]
    for gain in (0.5, 2.0):  # 6 dB down and up
        assert torch.allclose(scale(frames * gain, valid)[0][:, 600:], plain, rtol=0.02, atol=1e-6)


def test_the_prior_serves_until_something_is_known() -> None:
    scale = FrameScale([8.0], prior_s=60.0)
    out, _ = scale.step(torch.full((1, 1, 400), 8.0), torch.ones(1, 1), scale.initial_state(1))
    assert torch.allclose(out, torch.ones(1, 1, 400), atol=1e-5)


def test_invalid_seconds_are_zero_and_leave_the_state_as_it_was() -> None:
    scale = FrameScale([8.0])
    state = scale.initial_state(1)
    out, after = scale.step(torch.full((1, 1, 400), 1e6), torch.zeros(1, 1), state)
    assert not out.any()
    assert torch.equal(after.total, state.total)
    assert torch.equal(after.weight, state.weight)
    long = scale(torch.full((1, 2000, 1, 400), 1e6), torch.zeros(1, 2000, 1), state)[1]
    assert torch.allclose(long.total, state.total)


def test_what_is_huge_is_cut_and_silence_is_finite() -> None:
    scale = FrameScale([8.0])
    frame = torch.zeros(1, 1, 400)
    frame[..., 0] = 1e9
    out, state = scale.step(frame, torch.ones(1, 1), scale.initial_state(1))
    assert out.max() == 20
    for _ in range(3):
        out, state = scale.step(torch.zeros(1, 1, 400), torch.ones(1, 1), state)
    assert torch.isfinite(out).all()


def test_one_artefact_hardly_moves_the_level() -> None:
    frames, _ = night(301)
    valid = torch.ones(2, 301, 2)
    scale = FrameScale([10.0, 0.5])
    artefact = frames.clone()
    artefact[:, 200] *= 100
    levels = [scale.levels(each.abs().mean(-1), valid)[:, -1] for each in (frames, artefact)]
    assert (levels[1] / levels[0] < 1.1).all()
