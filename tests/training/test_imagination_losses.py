"""SMCCL as its formula says, imagination against the truth of the same step."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor
from torch.autograd import backward
from torch.nn import functional as F

from hypnostream.models.imaginator import Imagined
from hypnostream.training.losses.imagination import imagination_loss, posterior_consistency
from hypnostream.training.losses.smccl import ContrastSettings, StageModalityContrast, smccl
from hypnostream.training.running.loop import Share

ALONE = Share()


@dataclass(frozen=True, slots=True)
class _Half(Share):
    """One of two processes, which is handed what a collective would have given it."""

    wholes: list[Tensor] = field(default_factory=list)
    sum_of_all: float = 0.0

    def gathered(self, rows: Tensor) -> Tensor:
        whole = self.wholes.pop(0).detach().clone()
        whole[self.rank :: 2] = rows
        return whole

    def total(self, value: float) -> float:
        return self.sum_of_all


def _rows(count: int = 24) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)

    def index(below: int) -> Tensor:
        return torch.randint(below, (count,), generator=generator)

    return torch.randn(count, 6, generator=generator), index(6) - 1, index(3), index(4)


def _naive_smccl(rows: Tensor, stage: Tensor, modality: Tensor, person: Tensor, consistency: Tensor) -> float:
    z = (rows / rows.norm(dim=1, keepdim=True)).double().tolist()
    count = len(z)
    scored = [i for i in range(count) if stage[i] >= 0]

    def similarity(i: int, j: int) -> float:
        return math.fsum(a * b for a, b in zip(z[i], z[j], strict=True)) / 0.07

    total = 0.0
    for i in scored:
        others = [j for j in scored if person[j] != person[i]]
        pairs, inner = 0, 0.0
        for j in others:
            lean = float(consistency[modality[i], modality[j]])
            if stage[i] == stage[j] and modality[i] == modality[j]:
                weight = 1.0
            elif stage[i] == stage[j]:
                weight = 1 - lean
            elif modality[i] == modality[j]:
                weight = lean
            else:
                weight = 0.0
            if weight > 0:
                pairs += 1
                below = sum(math.exp(similarity(i, k)) for k in others)
                inner += weight * math.log(math.exp(similarity(i, j)) / below)
        total -= inner / pairs / len(scored) if pairs else 0.0
    return total


@pytest.mark.parametrize("consistency", [0.0, 0.3, 1.0])
def test_smccl_is_what_two_plain_loops_say(consistency: float) -> None:
    rows = _rows()
    expected = _naive_smccl(*rows, torch.full((3, 3), consistency))
    assert float(smccl(*rows, consistency, ALONE)) == pytest.approx(expected, rel=1e-5)
    assert expected > 0.1


def test_smccl_takes_a_consistency_for_each_pair_of_modalities() -> None:
    # CIMSleepNet's own code fails here: it is called with a vector where a number is needed.
    each = torch.tensor([[0.2, 0.5, 0.9], [0.5, 0.1, 0.4], [0.9, 0.4, 0.7]])
    rows = _rows()
    assert float(smccl(*rows, each, ALONE)) == pytest.approx(_naive_smccl(*rows, each), rel=1e-5)
    assert float(smccl(*rows, 0.5, ALONE)) != pytest.approx(_naive_smccl(*rows, each), rel=1e-3)


def test_smccl_of_one_person_or_of_a_stage_that_occurs_once_is_finite() -> None:
    rows, stage, modality, person = _rows()
    one = smccl(rows.requires_grad_(), stage, modality, torch.zeros_like(person), 0.5, ALONE)
    assert float(one.detach()) == 0
    stage = torch.zeros_like(stage)
    stage[5] = 4
    once = smccl(rows, stage, torch.arange(24) // 23, person, 0.0, ALONE)
    backward(once)
    assert torch.isfinite(once)
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
    assert float(smccl(rows, torch.full_like(stage, -1), modality, person, 0.5, ALONE).detach()) == 0


def test_a_neighbour_of_the_same_night_is_neither_pair_nor_negative() -> None:
    rows, stage, modality, person = _rows()
    before = smccl(rows, stage, modality, person, 0.5, ALONE)
    twin = torch.cat([rows[:1], rows[:1] * 3 + 0.1])
    expected = _naive_smccl(
        torch.cat([twin, rows[1:]]),
        torch.cat([stage[:1], stage]),
        torch.cat([modality[:1], modality]),
        torch.cat([person[:1], person]),
        torch.full((3, 3), 0.5),
    )
    twins = (twin, stage[:1].repeat(2), modality[:1].repeat(2), person[:1].repeat(2))
    assert float(smccl(*twins, 0.5, ALONE)) == 0
    assert float(before) != pytest.approx(expected, rel=1e-4)  # for the others it is one row more


def test_smccl_of_two_processes_adds_up_to_the_whole_and_so_do_its_gradients() -> None:
    rows, stage, modality, person = _rows()
    torch.manual_seed(0)
    contrast = StageModalityContrast(6, 3, ContrastSettings(width=5, learned=True))
    whole = contrast(rows, stage, modality, person, ALONE)
    backward(whole)
    expected = {name: p.grad.clone() for name, p in contrast.named_parameters() if p.grad is not None}
    contrast.zero_grad()
    about = torch.stack([stage, modality, person], 1).float()
    projected = contrast.projector(rows).detach()
    value = 0.0
    for rank in range(2):
        own = slice(rank, None, 2)
        part = contrast(rows[own], stage[own], modality[own], person[own], _Half(rank, 2, [about, projected]))
        backward(part)
        value += float(part.detach())
    assert value == pytest.approx(float(whole.detach()), rel=1e-5)
    assert len(expected) == 5
    for name, parameter in contrast.named_parameters():
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, expected[name], atol=1e-5), name


def test_smccl_brings_the_recovered_token_of_a_stage_to_the_real_ones() -> None:
    torch.manual_seed(0)
    rows, _, modality, person = _rows(60)
    stage = torch.arange(60) % 3
    free = torch.nn.Parameter(rows)
    optimiser = torch.optim.Adam([free], lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        loss = smccl(free, stage, modality, person, 0.1, ALONE)
        backward(loss)
        optimiser.step()
    z = F.normalize(free.detach(), dim=-1)
    alike = stage.unsqueeze(1) == stage
    assert (z @ z.T)[alike].mean() > (z @ z.T)[~alike].mean() + 0.5


def test_a_learned_consistency_stays_symmetric_and_away_from_nothing_and_all() -> None:
    rows, stage, modality, person = _rows(60)
    contrast = StageModalityContrast(6, 3, ContrastSettings(learned=True, entropy=2.0))
    optimiser = torch.optim.Adam([contrast.logit], lr=0.1)
    for _ in range(100):
        optimiser.zero_grad()
        backward(contrast(rows, stage, modality, person, ALONE))
        optimiser.step()
    learned = contrast.consistencies().detach()
    assert torch.allclose(learned, learned.T)
    assert learned.std() > 0.01
    assert learned.min() > 0.05
    assert learned.max() < 0.95


def _imagined() -> tuple[Imagined, Tensor, Tensor]:
    torch.manual_seed(1)
    truth = torch.randn(2, 10, 3, 4)
    mean = (truth + torch.randn_like(truth) * 0.5).requires_grad_()
    dropped = (torch.rand(2, 10, 3) > 0.5).float()
    return Imagined(truth, mean, torch.zeros(2, 10, 3, requires_grad=True)), truth, dropped


def test_only_what_was_dropped_on_purpose_teaches() -> None:
    imagined, truth, dropped = _imagined()
    truth = torch.where(dropped.unsqueeze(-1) > 0, truth, torch.tensor(math.nan))
    backward(imagination_loss(imagined, truth, dropped, ALONE, kl=0.1)["loss"])
    for part in (imagined.mean, imagined.log_variance):
        assert part.grad is not None
        assert torch.isfinite(part.grad).all()
        assert (part.grad[dropped == 0] == 0).all()
        assert (part.grad[dropped > 0] != 0).all()


def test_the_truth_is_that_of_the_same_step_and_no_other() -> None:
    # CIMSleepNet's target of a missing epoch is a random other epoch.
    imagined, truth, dropped = _imagined()
    exact = Imagined(truth, truth.clone(), imagined.log_variance)
    assert float(imagination_loss(exact, truth, dropped, ALONE)["huber"]) == 0
    assert float(imagination_loss(exact, truth.roll(1, 1), dropped, ALONE)["huber"]) > 0.1
    with pytest.raises(ValueError, match="shapes differ"):
        imagination_loss(exact, truth[:, :1], dropped, ALONE)


def test_the_truth_gets_no_gradient_and_the_mean_none_from_the_likelihood() -> None:
    imagined, truth, dropped = _imagined()
    truth.requires_grad_()
    said = imagination_loss(imagined, truth, dropped, ALONE)
    backward(said["nll"], retain_graph=True)
    assert imagined.mean.grad is None or not imagined.mean.grad.any()
    assert imagined.log_variance.grad is not None
    backward(said["loss"])
    assert truth.grad is None


def test_the_losses_do_not_grow_with_the_batch() -> None:
    # CIMSleepNet sums its divergence over the batch.
    imagined, truth, dropped = _imagined()
    one = imagination_loss(imagined, truth, dropped, ALONE, kl=1.0)
    twice = Imagined(*(torch.cat([part, part]) for part in imagined))
    two = imagination_loss(twice, torch.cat([truth, truth]), torch.cat([dropped, dropped]), ALONE, kl=1.0)
    for name, value in one.items():
        assert torch.allclose(value, two[name]), name
    assert set(one) == {"loss", "huber", "nll", "kl"}


def test_the_best_variance_is_the_mean_square_error() -> None:
    imagined, truth, dropped = _imagined()
    log_variance = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.SGD([log_variance], lr=1.0)
    for _ in range(100):
        optimiser.zero_grad()
        guess = imagined._replace(log_variance=log_variance.expand(2, 10, 3))
        backward(imagination_loss(guess, truth, dropped, ALONE)["nll"])
        optimiser.step()
    error = (truth - imagined.mean)[dropped > 0].square().mean()
    assert math.exp(float(log_variance.detach())) == pytest.approx(float(error.detach()), rel=1e-3)


def test_the_parts_of_imagination_add_up() -> None:
    imagined, truth, dropped = _imagined()
    whole = imagination_loss(imagined, truth, dropped, ALONE, kl=0.5)
    total = float(dropped.sum())
    parts = [
        imagination_loss(
            Imagined(*(p[r : r + 1] for p in imagined)),
            truth[r : r + 1],
            dropped[r : r + 1],
            _Half(r, 2, [], total),
            kl=0.5,
        )
        for r in range(2)
    ]
    for name, value in whole.items():
        assert torch.allclose(parts[0][name] + parts[1][name], value), name


def test_nothing_dropped_is_no_loss() -> None:
    imagined, truth, dropped = _imagined()
    assert all(float(v.detach()) == 0 for v in imagination_loss(imagined, truth, dropped * 0, ALONE).values())


def test_consistency_is_zero_for_one_posterior_and_teaches_only_the_one_with_fewer_sensors() -> None:
    full, masked = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5, requires_grad=True)
    which = torch.tensor([1.0, 1, 1, 0, 0, 1])
    assert float(posterior_consistency(full, full + 3, which, ALONE).detach()) == pytest.approx(0, abs=1e-6)
    loss = posterior_consistency(full, masked, which, ALONE)
    expected = F.kl_div(masked.log_softmax(-1), full.softmax(-1), reduction="none").sum(-1)[which > 0].mean()
    assert torch.allclose(loss, expected)
    backward(loss)
    assert full.grad is None
    assert masked.grad is not None
    assert (masked.grad[3:5] == 0).all()
