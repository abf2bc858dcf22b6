"""Several processes that train one model, as torchrun starts them: NCCL between GPUs, Gloo between CPUs.

A round's rows are dealt out, gradients are added up, so the losses and the weights are those of one process, but for
the order in which numbers are added. Data parallel, as Li et al., "PyTorch Distributed", VLDB 2020.
"""

import atexit
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache

import torch
import torch.distributed as dist
from torch import Tensor

from hypnostream.errors import UserError
from hypnostream.training.running.device import device_named
from hypnostream.training.running.loop import Share

PATIENCE = timedelta(minutes=30)  # for a process that prepares what all then read
_LETTING_GO_S = 0.2


def first() -> bool:
    """Whether this process is the one that writes files and says things: rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def share(device_name: str = "cpu") -> Share:
    """This process's share of the work; several are joined when torchrun started them, once."""
    return _joined(device_named(device_name)) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else Share()


def alone() -> None:
    """Raises UserError when torchrun started several of us: for what trains several models, which each would do."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("torchrun started several processes; this trains several models side by side: say --workers N")


@contextmanager
def first_alone(device_name: str = "cpu") -> Iterator[None]:
    """What is within, the first process does before the others: then they find on disk what it prepared."""
    mine = share(device_name)
    if mine.rank > 0:
        mine.broadcast(b"")
    yield
    if mine.rank == 0:
        mine.broadcast(b"")


@cache
def _joined(device: torch.device) -> "ShareOfSeveral":
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        gpus = torch.cuda.is_available() and dist.is_nccl_available()
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", timeout=PATIENCE)
        atexit.register(_leave)
    return ShareOfSeveral(dist.get_rank(), dist.get_world_size(), device)


def _leave() -> None:
    """Before the interpreter ends. A thread of Gloo's needs its lock once more, to let go of the last tensors; one that
    asks for it while the interpreter ends aborts the process (pytorch/pytorch pull request 179291)."""
    time.sleep(_LETTING_GO_S)
    dist.destroy_process_group()


@dataclass(frozen=True, slots=True)
class ShareOfSeveral(Share):
    """See `Share`."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def total(self, value: float) -> float:
        """The sum of `value` over all processes."""
        summed = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        return float(summed)

    def gathered(self, rows: Tensor) -> Tensor:
        """The rows of all processes: in the order of the whole when they are as many as `rows` deals to each, else
        (where some were chosen) one process's after another's."""
        counts = torch.zeros(self.world, dtype=torch.int64, device=rows.device)
        counts[self.rank] = len(rows)
        dist.all_reduce(counts)
        each: list[int] = counts.tolist()
        total, before = sum(each), sum(each[: self.rank])
        dealt = each == [len(range(rank, total, self.world)) for rank in range(self.world)]
        own = torch.tensor(self.rows(total) if dealt else range(before, before + len(rows)), device=rows.device)
        whole = rows.new_zeros(total, *rows.shape[1:])
        whole[own.long()] = rows.detach()
        dist.all_reduce(whole)  # each row is of one process and zero from the others
        return whole.index_copy(0, own.long(), rows)

    def summed(self, losses: dict[str, float], learned: Sequence[Tensor]) -> dict[str, float]:
        """The losses added up over all processes, and in place the gradients of `learned`."""
        # A weight that no process has a gradient for must stay without: the optimiser leaves such alone.
        has = [float(weight.grad is not None) for weight in learned]
        numbers = torch.tensor([*losses.values(), *has], dtype=torch.float64, device=self.device)
        dist.all_reduce(numbers)
        told, somewhere = numbers[: len(losses)].tolist(), numbers[len(losses) :].tolist()
        moved = [weight for weight, count in zip(learned, somewhere, strict=True) if count]
        if moved:
            parts = [(torch.zeros_like(w) if w.grad is None else w.grad).flatten() for w in moved]
            flat = torch.cat(parts)
            dist.all_reduce(flat)
            for weight, part in zip(moved, torch.split(flat, [p.numel() for p in parts]), strict=True):
                weight.grad = part.view_as(weight).clone()
        return dict(zip(losses, told, strict=True))

    def broadcast(self, content: bytes) -> bytes:
        """The first process's `content`; all wait for it."""
        length = torch.tensor(len(content), device=self.device)
        dist.broadcast(length, 0)
        if not int(length):
            return b""
        buffer = bytearray(content if self.rank == 0 else int(length))
        data = torch.frombuffer(buffer, dtype=torch.uint8).to(self.device)
        dist.broadcast(data, 0)
        return data.cpu().numpy().tobytes()
