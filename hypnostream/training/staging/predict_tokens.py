"""Predictions of a torch model on token nights: for sets that hold features and no signal."""

from collections.abc import Sequence

import numpy as np

from hypnostream.models.stager import StagerEnsemble
from hypnostream.training.evaluation.predictions import NightPrediction
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.staging.evaluate import predict


def from_token_nights(
    model: StagerEnsemble, nights: Sequence[TokenNight], sensors: tuple[int, ...] = (1, 1, 1)
) -> list[NightPrediction]:
    """One prediction a night, in order, with only `sensors` (channels,) in 0/1 there.

    Nothing is said of an epoch in which no sensor is. Token nights know only whole epochs, so there is nothing
    provisional.
    """
    found = []
    for night, probabilities in zip(nights, predict(model, nights, sensors), strict=True):
        there = (night.mask * np.asarray(sensors, np.float32)).sum(1) > 0
        found.append(
            NightPrediction(
                name=night.name,
                subject=night.subject,
                set_name=night.set_name,
                reference=night.stage.astype(np.int8),
                probabilities=np.where(there[:, None], probabilities, np.nan).astype(np.float32),
            )
        )
    return found
