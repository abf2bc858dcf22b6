"""Where a training computes."""

import os

import torch

from hypnostream.errors import UserError


def device_named(name: str) -> torch.device:
    """The device of "cpu", "cuda" or "auto" (a GPU where there is one); of several processes each has its own GPU.

    Raises UserError when a GPU is asked for and there is none.
    """
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise UserError('device "cuda": there is no GPU that torch can use here; set device to "cpu" or "auto"')
    if name == "cpu" or not there:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
