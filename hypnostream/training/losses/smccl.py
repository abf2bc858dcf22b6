"""Stage and modality weighted contrast: recovered tokens stand where real ones of their stage and channel stand.

SMCCL of CIMSleepNet (Shen et al., NeurIPS 2024), on projections of tokens, real and recovered. Two rows of one person
are neither a pair nor told from each other: neighbours of one night are alike for reasons other than their stage.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hypnostream.ranges import above, at_least, inside
from hypnostream.training.running.loop import Share

NOT_COMPARED = -1e4  # below any similarity, and its exponential is 0


def smccl(
    rows: Tensor,
    stage: Tensor,
    modality: Tensor,
    person: Tensor,
    consistency: Tensor | float,
    share: Share,
    temperature: float = 0.07,
) -> Tensor:
    """-1/M sum_i 1/|P_i| sum_j w_ij log(exp(z_i z_j / t) / sum_k exp(z_i z_k / t)): a scalar.

    `rows` (M, P) are this process's projections, real and recovered, z after L2 normalisation; `stage` (M,) with -1
    unscored, which takes no part; `modality` and `person` (M,) indices. j and k run over the rows of other persons in
    all processes, P_i over the j with w_ij > 0. w is 1 for the same stage and modality, 1 - lambda for the same stage
    alone, lambda for the same modality alone. `consistency` is lambda in [0, 1]: one number, or a number for each pair
    of modalities (K, K). Without any pair the loss is 0. It holds several (M, M) matrices: give it some hundred rows.

    The value is this process's part; the gradient to its rows is that of the whole, that to lambda its part.
    """
    about = share.gathered(torch.stack([stage, modality, person], 1).float())  # (M, 3)
    stage, modality, person = about[:, 0], about[:, 1].long(), about[:, 2]
    z = F.normalize(share.gathered(rows), dim=-1)  # (M, P)

    scored = stage >= 0
    compared = (person.unsqueeze(1) != person) & scored.unsqueeze(1) & scored  # (M, M)
    weight = pair_weights(stage, modality, consistency) * compared  # (M, M)
    similarity = (z @ z.mT / temperature).masked_fill(~compared, NOT_COMPARED)
    log_share = similarity - similarity.logsumexp(1, keepdim=True)  # (M, M)
    scale = ((weight > 0).sum(1, keepdim=True).clamp(min=1) * scored.sum().clamp(min=1)).float()  # (M, 1)

    own = torch.tensor(share.rows(len(z)), dtype=torch.long, device=z.device)
    to_rows = -(weight.detach() * log_share / scale).sum()
    to_lambda = -(weight * log_share.detach() / scale)[own].sum()
    return to_lambda + (to_rows - to_rows.detach())


def pair_weights(stage: Tensor, modality: Tensor, consistency: Tensor | float) -> Tensor:
    """w of `smccl` for each pair (M, M): `stage` and `modality` (M,)."""
    if isinstance(consistency, Tensor) and consistency.ndim == 2:
        consistency = consistency[modality][:, modality]  # (M, M)
    same_stage = (stage.unsqueeze(1) == stage).float()
    same_modality = (modality.unsqueeze(1) == modality).float()
    return (
        same_stage * same_modality
        + same_stage * (1 - same_modality) * (1 - consistency)
        + (1 - same_stage) * same_modality * consistency
    )


@dataclass(frozen=True, slots=True)
class ContrastSettings:
    """`width` is that of the projection, `temperature` that of `smccl`, `consistency` its lambda, with which a
    `learned` one begins.

    Alone, a learned lambda would shrink whichever weight costs more to nothing. Its entropy, times `entropy`, is paid
    back for that: lambda then leans to the easier pairs, and no further the larger `entropy` is.
    """

    width: int = 64
    temperature: float = 0.07
    consistency: float = 0.5
    learned: bool = False
    entropy: float = 1.0

    def __post_init__(self) -> None:
        at_least(1, self, "width")
        above(0, self, "temperature")
        inside(0, 1, self, "consistency")
        at_least(0, self, "entropy")


class StageModalityContrast(nn.Module):
    """`smccl` with its projector, and with lambda given or learned for each pair of modalities."""

    def __init__(self, d_model: int, modalities: int, settings: ContrastSettings | None = None) -> None:
        super().__init__()
        s = settings or ContrastSettings()
        self.temperature, self.entropy = s.temperature, s.entropy
        self.projector = nn.Sequential(nn.Linear(d_model, d_model), nn.GELU(), nn.Linear(d_model, s.width))
        logit = torch.full((modalities, modalities), s.consistency).logit() / 2
        self.logit = nn.Parameter(logit, requires_grad=s.learned)

    def consistencies(self) -> Tensor:
        """Lambda of each pair of modalities (K, K), symmetric."""
        return torch.sigmoid(self.logit + self.logit.T)

    def forward(self, tokens: Tensor, stage: Tensor, modality: Tensor, person: Tensor, share: Share) -> Tensor:
        """`tokens` (M, D), the rest (M,) as in `smccl` -> this process's part of the loss."""
        consistency = self.consistencies()
        loss = smccl(self.projector(tokens), stage, modality, person, consistency, share, self.temperature)
        if self.logit.requires_grad:
            entropy = torch.special.entr(consistency) + torch.special.entr(1 - consistency)  # (K, K)
            loss = loss - self.entropy * entropy.sum(1).mean() / share.world
        return loss
