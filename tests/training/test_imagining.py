"""The imaginator learns what a lost channel would have said, better than holding or averaging, and knows how well."""

import pytest
import torch
from torch import Tensor

from hypnostream.models.fills import LastValue, RunningMeanToken
from hypnostream.models.imaginator import Imaginator
from hypnostream.models.state import detached
from hypnostream.training.damage.augment import ages_s
from hypnostream.training.damage.missing import bursts
from hypnostream.training.losses.imagination import imagination_loss
from hypnostream.training.running.loop import Share, chance

CHANNELS, D, LENGTH = 3, 8, 96
GENERATOR = chance(0)
MIXING = torch.randn(CHANNELS, 4, D, generator=GENERATOR)


def _nights(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Channels that see the same slow thing, each in its own way: tokens, what is there, what a model may see."""
    generator = chance(seed)
    hidden, steps = torch.randn(16, 4, generator=generator), []
    for _ in range(LENGTH):
        hidden = 0.9 * hidden + 0.19**0.5 * torch.randn(16, 4, generator=generator)
        steps.append(hidden)
    tokens = torch.stack([torch.stack(steps, 1) @ mixing for mixing in MIXING], 2)  # (16, L, C, D)
    tokens = tokens + 0.3 * torch.randn(tokens.shape, generator=generator)
    there = torch.ones(16, LENGTH, CHANNELS)
    return tokens, there, bursts(there, 0.4, 600.0, 30.0, generator)


@pytest.mark.slow
def test_it_beats_the_last_value_and_the_mean_and_its_variance_is_honest() -> None:
    torch.manual_seed(0)
    model = Imaginator(CHANNELS, D, d_latent=16, d_hidden=32)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for seed in range(60):
        tokens, there, seen = _nights(seed)
        state = None
        for first in range(0, LENGTH, 48):
            part = slice(first, first + 48)
            imagined, state = model(tokens[:, part], seen[:, part], ages_s(seen, 1e6)[:, part], None, state)
            state = detached(state)
            losses = imagination_loss(imagined, tokens[:, part], (there - seen)[:, part], Share())
            optimiser.zero_grad()
            torch.autograd.backward(losses["loss"])
            optimiser.step()
    model.eval()
    tokens, there, seen = _nights(1000)
    dropped = (there - seen) > 0
    with torch.no_grad():
        errors = {}
        fills = {"ours": model, "last": LastValue(CHANNELS, D), "mean": RunningMeanToken(CHANNELS, D)}
        for name, fill in fills.items():
            imagined, _ = fill(tokens, seen, ages_s(seen, 1e6))
            errors[name] = float((imagined.mean - tokens)[dropped].square().mean())
        imagined, _ = model(tokens, seen, ages_s(seen, 1e6))
        z = (imagined.mean - tokens).square().mean(-1) / imagined.log_variance.exp()
    assert errors["ours"] < 0.4 * min(errors["last"], errors["mean"])
    assert 0.7 < float(z[dropped].mean()) < 1.4
