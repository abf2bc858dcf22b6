"""A sum that forgets: a stretch is what its steps are."""

import torch

from hypnostream.models.leaky_sum import keep_of, leaky_steps, leaky_sum

MEMORY = 240.0


def stepped(x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    sums = []
    for t in range(x.shape[1]):
        before = before * keep_of(MEMORY) + x[:, t]
        sums.append(before)
    return torch.stack(sums, dim=1)


def test_a_night_as_products_of_matrices_is_its_steps_but_for_rounding() -> None:
    torch.manual_seed(0)
    x, before = torch.rand(2, 960, 3, 4), torch.rand(2, 3, 4)
    assert torch.allclose(leaky_sum(x, before, MEMORY), stepped(x, before), rtol=3e-6, atol=0)


def test_a_short_stretch_step_by_step_is_its_steps_to_the_last_bit() -> None:
    torch.manual_seed(0)
    for length in (1, 5, 8):
        x, before = torch.rand(2, length, 3, 4), torch.rand(2, 3, 4)
        assert torch.equal(leaky_steps(x, before, MEMORY, most=8), stepped(x, before))
