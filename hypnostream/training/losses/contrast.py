"""Agreement between two views of the same thing, against everything else in the batch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from hypnostream.training.running.loop import Share


def nt_xent(a: Tensor, b: Tensor, temperature: float, share: Share) -> Tensor:
    """NT-Xent (Chen et al., "A simple framework for contrastive learning", 2020, arXiv:2002.05709): a scalar.

    `a` and `b` (N, D) are this process's rows of the two views. Each of the 2N rows of all processes must find its
    other view by cosine similarity among the 2N - 1 others; the mean over 2N. The value is this process's part of it;
    the gradient to its rows is that of the whole, since they are also what the other processes' rows are told from.
    """
    every_a, every_b = share.gathered(a), share.gathered(b)
    count = len(every_a)
    rows = F.normalize(torch.cat([every_a, every_b]), dim=-1)  # (2N, D)
    itself = torch.eye(2 * count, dtype=torch.bool, device=rows.device)
    similarity = (rows @ rows.mT / temperature).masked_fill(itself, -torch.inf)  # (2N, 2N)
    other_view = torch.arange(2 * count, device=rows.device).roll(count)
    each = F.cross_entropy(similarity, other_view, reduction="none") / (2 * count)  # (2N,)
    own = torch.tensor(share.rows(count), device=rows.device)
    part = each[own].sum() + each[own + count].sum()
    return part.detach() + (each.sum() - each.sum().detach())
