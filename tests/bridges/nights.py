"""Made-up nights for the tests of tables, pictures and reports."""

import numpy as np

from hypnostream.engine.results import ChannelState, StageResult
from hypnostream.stream.channels import QUALITY_NAMES
from hypnostream.stream.stages import EPOCH_S, STAGES

CHANNELS = ("eeg_frontal", "eog", "spo2")


def night(stages: str, channels: tuple[str, ...] = CHANNELS, seed: int = 0) -> list[StageResult]:
    """One result a letter: w, 1, 2, 3, r, or "." for an epoch without an answer; sensors in changing states."""
    names = {"w": "W", "1": "N1", "2": "N2", "3": "N3", "r": "R", ".": None}
    random = np.random.default_rng(seed)
    results = []
    for epoch, letter in enumerate(stages):
        stage = names[letter]
        weights = random.uniform(0.01, 0.2, len(STAGES))
        if stage is not None:
            weights[STAGES.index(stage)] = 1.0
        p_w, p_n1, p_n2, p_n3, p_r = (weights / weights.sum()).tolist()
        states = []
        for row, name in enumerate(channels):
            quality = "missing" if stage is None else QUALITY_NAMES[(epoch // 20 + row) % len(QUALITY_NAMES)]
            states.append(ChannelState(name, quality, 1.0 if quality == "ok" else 0.25, quality != "ok"))
        results.append(
            StageResult(
                epoch=epoch,
                t_start_s=float(EPOCH_S * epoch),
                final=True,
                seconds=EPOCH_S,
                stage=stage,
                absent_reason="no_data" if stage is None else None,
                probabilities=(p_w, p_n1, p_n2, p_n3, p_r),
                channels=tuple(states),
                compute_s=0.001,
            )
        )
    return results
