"""The stager on learned frames: one set of weights in every form, nothing ahead of time, any subset of sensors."""

import pytest
import torch
from torch import Tensor

from hypnostream.models.channel_memory import latest_step
from hypnostream.models.frame_network import FrameSettings
from hypnostream.models.frame_stager import FrameStager, FrameStagerConfig
from hypnostream.models.frame_window import framed, initial_window
from hypnostream.models.imaginator import MAX_AGE_S
from hypnostream.models.seconds_stager import SecondsConfig
from hypnostream.models.state import named

C = 3
FRAME = FrameSettings(4, (4, 4, 8), (2, 2, 2), squeeze=2, hidden=12, width=12)
SMALL = SecondsConfig(d_model=16, headdim=8, d_state=8, past_s=8, past_epochs=4)


def stager(filling: str = "imagination", context: str = "mamba2") -> FrameStager:
    torch.manual_seed(0)
    seconds = SecondsConfig(
        d_model=16, fusion_depth=1, filling=filling, memory_s=600.0, context=context, past_s=8, past_epochs=4,
        d_state=8, headdim=8,
    )  # fmt: skip
    return FrameStager(FrameStagerConfig((0, 0, 1), (10.0, 10.0, 3.0), FRAME, seconds)).eval()


def signals(batch: int, epochs: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with seconds missing, the last channel gone for two epochs; ages as a session would give them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, epochs, C, 3000, generator=generator) * 20
    valid = (torch.rand(batch, epochs, C, 30, generator=generator) > 0.05).float()
    valid[:, 1:3, 2] = 0
    age = torch.zeros(batch, epochs, C)
    age[:, 1, 2], age[:, 2, 2] = 30, 60
    return x, valid, age


@torch.no_grad()
@pytest.mark.parametrize(
    ("filling", "context"),
    [("imagination", "mamba2"), ("imagination", "mcta"), ("absence", "gru")],
)
def test_steps_equal_the_stretch_and_pieces_the_whole(filling: str, context: str) -> None:
    model = stager(filling, context)
    batch, epochs = (1, 5) if context == "mcta" else (2, 4)
    x, valid, age = signals(batch, epochs)
    whole, after = model(x, valid, age)
    state, stepped = model.initial_state(batch), []
    for t in range(epochs):
        answer, state = model.step(x[:, t], valid[:, t], age[:, t], state)
        stepped.append(answer.probabilities)
    assert torch.allclose(torch.stack(stepped, 1), torch.softmax(whole.logits, -1), atol=1e-5)
    first, middle = model(x[:, :2], valid[:, :2], age[:, :2])
    second, pieces = model(x[:, 2:], valid[:, 2:], age[:, 2:], middle)
    assert torch.allclose(torch.cat([first.logits, second.logits], 1), whole.logits, atol=1e-5)
    for other in (state, pieces):
        for (name, value), same in zip(named(after).items(), named(other).values(), strict=True):
            assert torch.allclose(value, same, rtol=1e-5, atol=1e-4), name


def test_a_night_that_has_not_begun_is_zeros_as_a_session_starts_with() -> None:
    for context in ("mamba2", "mcta"):
        assert not any(value.any() for value in named(stager(context=context).initial_state(2)).values())


@torch.no_grad()
def test_what_is_said_does_not_change_with_what_comes() -> None:
    model = stager(context="mcta")
    x, valid, age = signals(1, 5)
    before, _ = model(x, valid, age)
    x[:, 3:], valid[:, 4:] = 1e3, 0
    after, _ = model(x, valid, age)
    assert torch.equal(before.logits[:, :3], after.logits[:, :3])
    assert not torch.equal(before.logits[:, 3:], after.logits[:, 3:])


@torch.no_grad()
def test_the_end_of_an_epoch_is_in_the_frames_of_the_next() -> None:
    model = stager(filling="absence", context="none")
    x, valid, age = (each[:, 1:3].clone() for each in signals(1, 3))
    valid[:] = 1
    one, _ = model(x, valid, age)
    x[:, 0, 0, 2700:] += 200.0  # three seconds of the first epoch
    other, _ = model(x, valid, age)
    apart = (one.tokens - other.tokens).abs().amax(-1)[0, :, 0]  # (60,)
    assert (apart[27:33] > 1e-3).all()
    assert (apart[:27] == 0).all()


def test_frames_are_the_last_four_seconds_and_only_whole_ones_are_there() -> None:
    seconds = torch.arange(60.0).repeat_interleave(100).reshape(1, 2, 1, 3000)
    valid = torch.ones(1, 2, 1, 30)
    valid[0, 0, 0, 20] = 0
    found, state = framed(seconds, valid, torch.zeros(1, 2, 1), initial_window(1, 1, seconds))
    whole = [second for second in range(60) if second >= 3 and not 20 <= second <= 23]
    assert found.there[0, :, 0].nonzero()[:, 0].tolist() == whole
    for second in (3, 30, 31, 59):
        assert found.frames[0, second, 0].reshape(4, 100)[:, 0].tolist() == [second - 3, second - 2, second - 1, second]
    assert state.tail[0, 0, :, 0].tolist() == [57, 58, 59]


def test_the_age_of_a_channel_grows_by_the_second_over_epochs_and_returns_to_nothing() -> None:
    valid = torch.ones(1, 4, 1, 30)
    valid[0, 0, 0, 25:], valid[0, 1], valid[0, 2, 0, :10] = 0, 0, 0
    age_s = torch.tensor([5.0, 35.0, 0.0, 0.0]).reshape(1, 4, 1)
    signal = torch.zeros(1, 4, 1, 3000)
    found, state = framed(signal, valid, age_s, initial_window(1, 1, signal))
    age = found.age_s[0, :, 0]
    assert age[:3].tolist() == [MAX_AGE_S + 1, MAX_AGE_S + 2, MAX_AGE_S + 3]  # never there
    assert age[3:25].eq(0).all()
    assert age[25:73].tolist() == list(range(1, 49))  # the first whole frame again ends with second 73
    assert age[73:].eq(0).all()
    assert state.left_s.item() == MAX_AGE_S
    pieces, window = [], initial_window(1, 1, signal)
    for t in range(4):
        part, window = framed(signal[:, t : t + 1], valid[:, t : t + 1], age_s[:, t : t + 1], window)
        pieces.append(part.age_s)
    assert torch.equal(torch.cat(pieces, 1), found.age_s)


@torch.no_grad()
def test_what_lies_in_missing_seconds_does_not_matter() -> None:
    model = stager()
    x, valid, age = signals(2, 4)
    one, _ = model(x, valid, age)
    gone = valid.repeat_interleave(100, -1) == 0
    other, state = model(torch.where(gone, torch.full_like(x, torch.nan), x), valid, age)
    assert torch.equal(one.logits, other.logits)
    assert all(value.isfinite().all() for value in named(state).values())


@torch.no_grad()
@pytest.mark.parametrize("present", [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])
def test_any_subset_of_sensors_and_none_gives_probabilities(present: tuple[int, ...]) -> None:
    model = stager(context="mcta")
    x, valid, age = signals(1, 3)
    valid = valid * torch.tensor(present, dtype=torch.float32).reshape(1, 1, C, 1)
    state = model.initial_state(1)
    for t in range(3):
        answer, state = model.step(x[:, t], valid[:, t], age[:, t], state)
        assert torch.isfinite(answer.probabilities).all()
        assert answer.probabilities.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert all(value.isfinite().all() for value in named(state).values())


@torch.no_grad()
def test_a_gain_is_forgotten_with_the_prior() -> None:
    model = stager()
    x, valid, age = signals(1, 20)
    one, _ = model(x, valid, age)
    other, _ = model(x * 3, valid, age)
    apart = (torch.softmax(one.logits, -1) - torch.softmax(other.logits, -1)).abs().amax(-1)[0]
    assert apart[-1] < 0.3 * apart[0]


def test_every_parameter_learns() -> None:
    model = stager(context="mcta").train()
    x, valid, age = signals(2, 3)
    staged, _ = model(x, valid, age)
    assert staged.imagined is not None
    (staged.logits.square().sum() + staged.imagined.mean.square().sum() + staged.imagined.log_variance.sum()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert {name.split(".")[-1] for name in without} <= {"weight"}
    assert all("imaginator.context" in name for name in without)  # what is known besides tokens: nothing is, here


def test_the_last_step_of_each_channel_is_what_a_running_maximum_says() -> None:
    mask = (torch.rand(2, 100, 3, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    ordinal = torch.arange(1, 101).reshape(1, -1, 1)
    running = (mask * ordinal).long().cummax(1).values
    assert torch.equal(latest_step(mask), running)
