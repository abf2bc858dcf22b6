"""The baselines stand where the imaginator stands: same interface, same forms, each fills in what its name says."""

import math

import pytest
import torch
from torch import Tensor

from hypnostream.models.fills import FILLS, LastValue, MeanToken, RunningMeanToken
from hypnostream.models.state import named

C, D = 3, 8


def _night(length: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    mask = (torch.rand(2, length, C) > 0.5).float()
    tokens = torch.where(mask.unsqueeze(-1) > 0, torch.randn(2, length, C, D), torch.tensor(math.nan))
    return tokens, mask, torch.zeros(2, length, C)


@torch.no_grad()
@pytest.mark.parametrize("name", FILLS)
def test_step_piece_and_whole_agree_and_real_tokens_stay(name: str) -> None:
    fill = FILLS[name](C, D).eval()
    tokens, mask, age_s = _night(300)
    whole, after = fill(tokens, mask, age_s)
    first, state = fill(tokens[:, :101], mask[:, :101], age_s[:, :101])
    rest, pieced = fill(tokens[:, 101:], mask[:, 101:], age_s[:, 101:], None, state)
    carried, stepped = fill.initial_state(2), []
    for t in range(300):
        imagined, carried = fill.step(tokens[:, t], mask[:, t], age_s[:, t], None, carried)
        stepped.append(imagined.tokens)
    assert torch.isfinite(whole.tokens).all()
    assert torch.equal(whole.tokens[mask > 0], tokens[mask > 0])
    assert torch.allclose(torch.cat([first.tokens, rest.tokens], 1), whole.tokens, atol=1e-5)
    assert torch.allclose(torch.stack(stepped, 1), whole.tokens, atol=1e-5)
    for key, value in named(after).items():
        assert torch.allclose(value, named(pieced)[key], atol=1e-4)
        assert torch.allclose(value, named(carried)[key], atol=1e-4)
    assert torch.allclose(fill.weights(whole, mask), torch.full((2, 300, C), 1 / C))


@torch.no_grad()
@pytest.mark.parametrize("name", FILLS)
def test_nothing_there_is_never_nan(name: str) -> None:
    fill = FILLS[name](C, D)
    imagined, _ = fill(torch.full((1, 5, C, D), math.nan), torch.zeros(1, 5, C), torch.zeros(1, 5, C))
    assert all(torch.isfinite(part).all() for part in imagined)


@torch.no_grad()
def test_the_last_value_is_held() -> None:
    tokens = torch.randn(1, 10, C, D)
    mask = torch.ones(1, 10, C)
    mask[:, 4:, 1] = 0
    filled = LastValue(C, D)(tokens, mask, mask)[0].tokens
    assert torch.equal(filled[:, 4:, 1], tokens[:, 3:4, 1].expand(1, 6, D))


@torch.no_grad()
def test_the_running_mean_is_that_of_what_was_seen() -> None:
    tokens, mask = torch.ones(1, 200, C, D) * 5, torch.ones(1, 200, C)
    mask[:, 150:] = 0
    filled = RunningMeanToken(C, D)(tokens, mask, mask)[0].tokens
    assert torch.allclose(filled[:, 150:], torch.tensor(5.0), atol=0.1)


@torch.no_grad()
def test_the_mean_token_is_the_mean_of_the_tokens_that_were_there() -> None:
    tokens, mask, _ = _night(50)
    mask[..., 2] = 0
    fill = MeanToken(C, D)
    fill.value[2] = 7
    fill.set_mean(tokens, mask)
    for channel in range(2):
        expected = tokens[..., channel, :][mask[..., channel] > 0].mean(0)
        assert torch.allclose(fill.value[channel], expected, atol=1e-6)
    assert torch.equal(fill.value[2], torch.full((D,), 7.0))


def test_the_mask_token_learns_and_the_others_have_nothing_to_learn() -> None:
    assert [name for name, fill in FILLS.items() if list(fill(C, D).parameters())] == ["mask"]
