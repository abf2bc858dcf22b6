"""Whether a stage is found too often or too seldom: minutes a night, predicted less reference (Bland & Altman 1986)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.stages import EPOCH_S, STAGES
from hypnostream.training.evaluation.subjects import Estimate, Resampling, defined


@dataclass(frozen=True, slots=True)
class StageBias:
    """One stage over all nights: the mean difference in minutes a night, and the limits of agreement.

    The limits are mean ± 1.96 standard deviations of the nights' differences, None for one night. `reference_min`
    is the mean night's. `nights_min` are the differences themselves, in the order of the nights.
    """

    stage: str
    reference_min: float | None
    mean_min: Estimate
    lower_limit_min: float | None
    upper_limit_min: float | None
    nights_min: list[float]


def stage_bias(counts: NDArray[np.number], resampling: Resampling) -> list[StageBias]:
    """From each night's confusion (nights, 5, 5), so over the epochs that have a reference and an answer."""
    minutes = counts * EPOCH_S / 60
    reference = minutes.sum(2)  # (nights, 5)
    difference = minutes.sum(1) - reference
    sums = np.concatenate((difference, np.ones((len(counts), 1))), 1)
    means = resampling.estimate(sums, lambda each: each[..., :-1] / np.maximum(each[..., -1:], 1))
    found = []
    for index, stage in enumerate(STAGES):
        each = difference[:, index]
        spread = 1.96 * each.std(ddof=1) if len(each) > 1 else np.nan
        low, high = each.mean() - spread, each.mean() + spread
        found.append(
            StageBias(
                stage=stage,
                reference_min=defined(reference[:, index].mean()),
                mean_min=means[index],
                lower_limit_min=defined(low),
                upper_limit_min=defined(high),
                nights_min=each.tolist(),
            )
        )
    return found
