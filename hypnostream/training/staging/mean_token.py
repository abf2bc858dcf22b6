"""The mean token of a trained stager, where a missing channel has that: of the tokens that its final weights make.

In training it follows the weights as they learn. A run returns their running mean, whose tokens are others.
"""

from collections.abc import Sequence

import torch

from hypnostream.models.fills import MeanToken
from hypnostream.models.stager import Stager
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.staging.batch import collate


@torch.no_grad()
def settle_mean_token(stager: Stager, nights: Sequence[TokenNight]) -> None:
    """Make it the mean over these nights, which are training nights; other fillings are left as they are."""
    fill = stager.filling.fill
    if not isinstance(fill, MeanToken):
        return
    device = stager.inputs.shape_mean.device
    tokens, masks = [], []
    for night in nights:
        batch = collate([night])
        mask = batch.mask.to(device)
        inputs, _ = stager.inputs(batch.shape.to(device), batch.level.to(device), mask)
        tokens.append(stager.adaptors(inputs)[0])  # (L, C, D)
        masks.append(mask[0])
    fill.set_mean(torch.cat(tokens), torch.cat(masks))
