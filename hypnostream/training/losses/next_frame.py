"""Prediction of what comes."""

from torch import Tensor

from hypnostream.training.running.loop import Share


def next_frame_mse(predicted: Tensor, target: Tensor, ahead: int, share: Share) -> Tensor:
    """Mean squared error of the guess at t against the target at t + `ahead`; both (B, L, d), over all processes' rows.

    The guesses of the last `ahead` frames are of what is not there, and do not count.
    """
    if target.requires_grad:
        raise ValueError("the target of a next-frame prediction has a gradient; detach it")
    if not 0 < ahead < predicted.shape[1]:
        raise ValueError(f"ahead {ahead} of a window of {predicted.shape[1]} frames leaves nothing to predict")
    wrong = (predicted[:, :-ahead] - target[:, ahead:]).square().mean(-1)  # (B, L - ahead)
    return wrong.sum() / (share.total(float(len(wrong))) * wrong.shape[1])
