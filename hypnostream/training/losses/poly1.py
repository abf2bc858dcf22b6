"""Poly-1 cross-entropy, and CIMSleepNet's weights of the stages.

Leng et al., "PolyLoss" (ICLR 2022), arXiv:2204.12511: cross-entropy with its first polynomial coefficient raised.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hypnostream.training.running.loop import Share

IGNORED = -1
EMPHASIS = (0.3, 0.4, 0.3, 0.2, 0.3)  # of W, N1, N2, N3, R


def log_rule_weights(training_labels: NDArray[np.integer], emphasis: Sequence[float] = EMPHASIS) -> Tensor:
    """The weight of each class (K,): mu max(1, log(mu N / n)), of n of N labels; -1 is no label.

    Give it the labels of the training nights alone: weights that know how often a stage occurs among those who are
    tested know too much. A class that never occurs is weighed as if it had occurred once.
    """
    labels = training_labels[training_labels != IGNORED]
    if labels.size == 0:
        raise ValueError("there is no label to make weights from; give the stages of the training nights")
    count = np.maximum(np.bincount(labels, minlength=len(emphasis)), 1)
    if len(count) != len(emphasis):
        raise ValueError(f"label {labels.max()} has no emphasis; give {labels.max() + 1} of them")
    mu = np.asarray(emphasis)
    return torch.from_numpy((mu * np.maximum(np.log(mu * labels.size / count), 1.0)).astype(np.float32))


def poly1(logits: Tensor, target: Tensor, share: Share, weight: Tensor | None = None, epsilon: float = 1.0) -> Tensor:
    """The weighted mean of CE + epsilon (1 - p_t) over `target` (...,), where -1 takes no part: a scalar.

    `logits` (..., K), `weight` (K,) of the classes. The value is this process's part; without any label it is 0.
    """
    labelled = target != IGNORED
    chosen = target.clamp(min=0)
    log_p = F.log_softmax(logits, dim=-1).gather(-1, chosen.unsqueeze(-1)).squeeze(-1)  # (...,)
    each = -log_p + epsilon * (1 - log_p.exp())
    counts = labelled.float() if weight is None else labelled * weight[chosen]
    total = share.total(float(counts.sum()))
    return torch.where(labelled, each * counts, torch.zeros_like(each)).sum() / (total if total > 0 else 1.0)
