"""Poly-1 as its paper says, and weights of stages that know the training nights alone."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hypnostream.training.losses.poly1 import log_rule_weights, poly1
from hypnostream.training.running.loop import Share

ALONE = Share()


@dataclass(frozen=True, slots=True)
class _Half(Share):
    """One of two processes, which is told what all of them have."""

    sum_of_all: float = 0.0

    def total(self, value: float) -> float:
        return self.sum_of_all


def test_poly1_is_cross_entropy_plus_what_is_lacking_to_certainty() -> None:
    logits, target = torch.randn(4, 7, 5), torch.randint(5, (4, 7))
    chosen = logits.softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1)
    expected = (-chosen.log() + 1 - chosen).mean()
    assert torch.allclose(poly1(logits, target, ALONE), expected)
    assert torch.allclose(
        poly1(logits, target, ALONE, epsilon=0.0), F.cross_entropy(logits.flatten(0, 1), target.flatten())
    )


def test_poly1_leaves_out_what_has_no_label_and_weighs_the_rest() -> None:
    logits, target, weight = torch.randn(40, 5), torch.randint(5, (40,)), torch.rand(5) + 0.1
    target[::3] = -1
    logits[0] = math.nan
    left = target >= 0
    assert torch.allclose(poly1(logits, target, ALONE, weight), poly1(logits[left], target[left], ALONE, weight))
    assert torch.allclose(
        poly1(logits, target, ALONE, weight, epsilon=0.0), F.cross_entropy(logits[left], target[left], weight)
    )
    assert float(poly1(logits, torch.full((40,), -1), ALONE, weight)) == 0


def test_poly1_of_two_processes_adds_up() -> None:
    logits, target, weight = torch.randn(30, 5), torch.randint(5, (30,)), torch.rand(5)
    total = float(weight[target].sum())
    parts = [poly1(logits[r::2], target[r::2], _Half(r, 2, total), weight) for r in range(2)]
    assert torch.allclose(sum(parts, torch.zeros(())), poly1(logits, target, ALONE, weight))


def test_the_weights_of_stages_follow_the_log_rule_and_count_no_unscored_epoch() -> None:
    labels = np.repeat(np.array([0, 1, 2, 3, 4, -1]), [2000, 10, 5000, 700, 1300, 5000])
    n = 9010
    expected = [
        0.3 * max(1, math.log(0.3 * n / 2000)),
        0.4 * math.log(0.4 * n / 10),
        0.3,
        0.2 * max(1, math.log(0.2 * n / 700)),
        0.3 * max(1, math.log(0.3 * n / 1300)),
    ]
    np.testing.assert_allclose(log_rule_weights(labels).numpy(), expected, rtol=1e-6)
    assert torch.isfinite(log_rule_weights(np.array([0, 2, 2]))).all()
    with pytest.raises(ValueError, match="no label"):
        log_rule_weights(np.array([-1, -1]))
    with pytest.raises(ValueError, match="label 7"):
        log_rule_weights(np.array([7]))
