"""Binary cross-entropy for events that are rare: classes weighed by their rarity, easy answers less than hard ones.

Focal loss after Lin et al. (ICCV 2017), arXiv:1708.02002; weights by the count of a class after Cui et al. (CVPR 2019),
arXiv:1901.05555, in the plain form of a power of its rarity.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hypnostream.training.running.loop import Share


def balance(target: NDArray[np.int8], power: float) -> Tensor:
    """The weights (K, 2) of no and of yes for each task, of labels `target` (N, K) in 1, 0, -1; their mean over the
    labels is 1. Give it the labels that are learned from alone. A task with one answer only has ones."""
    counts = np.stack([(target == 0).sum(0), (target == 1).sum(0)], axis=1).astype(np.float64)  # (K, 2)
    both = (counts > 0).all(axis=1, keepdims=True)
    weight = np.where(both, (counts.sum(1, keepdims=True) / np.maximum(counts, 1)) ** power, 1.0)
    mean = (weight * counts).sum(1, keepdims=True) / np.maximum(counts.sum(1, keepdims=True), 1)
    return torch.from_numpy((weight / np.where(mean > 0, mean, 1)).astype(np.float32))


def balanced_bce(logits: Tensor, target: Tensor, weight: Tensor, share: Share, focus: float = 0.0) -> Tensor:
    """The mean over all labels of weight (1 - p)^focus (-ln p), p being what the true answer was given: a scalar.

    `logits` and `target` (..., K), `weight` (K, 2); -1 in the target takes no part. The value is this process's part;
    without any label it is 0.
    """
    labelled = target >= 0
    yes = target == 1
    log_p = F.logsigmoid(torch.where(yes, logits, -logits))  # (..., K)
    each = -log_p * (1 - log_p.exp()) ** focus if focus else -log_p
    each = each * torch.where(yes, weight[:, 1], weight[:, 0])
    total = share.total(float(labelled.sum()))
    return torch.where(labelled, each, torch.zeros_like(each)).sum() / (total if total > 0 else 1.0)
