"""`run_each` over Ray (https://www.ray.io): the same promises, on one machine or a cluster.

RAY_ADDRESS names the cluster, which must have this package installed; otherwise Ray is started here and ended after.
"""

import os
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from hypnostream.errors import UserError
from hypnostream.training.running.many import Failed, attempt, one_line

T = TypeVar("T")
R = TypeVar("R")


def run_each_by_ray(
    work: Callable[[T], R], items: Sequence[T], workers: int
) -> Generator[tuple[int, R | Failed], None, None]:
    """See `run_each`; `workers` is how many items are at work at once. Raises UserError when Ray is not installed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a bedside's data leaves it
    try:
        import ray
    except ImportError as error:
        raise UserError('--ray needs Ray, which is not installed: `pip install ".[ray]"`') from error
    return _run_each(ray, work, items, workers)


def _run_each(
    ray: Any, work: Callable[[T], R], items: Sequence[T], workers: int
) -> Generator[tuple[int, R | Failed], None, None]:
    ours = not ray.is_initialized()
    if ours:
        _start(ray, workers)
    # No retries: what killed a worker once would kill it again.
    do = ray.remote(attempt).options(num_cpus=1, max_retries=0)
    left = iter(enumerate(items))
    running: dict[Any, int] = {}
    try:
        while True:
            while len(running) < workers and (following := next(left, None)) is not None:
                running[do.remote(work, following[1])] = following[0]
            if not running:
                return
            for ready in ray.wait(list(running), num_returns=1)[0]:
                yield running.pop(ready), _result(ray, ready)
    finally:
        for each in running:
            ray.cancel(each, force=True)
        if ours:
            ray.shutdown()


def _start(ray: Any, workers: int) -> None:
    quiet = {"include_dashboard": False, "log_to_driver": False}
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            ray.init(address=address, log_to_driver=False)
        else:
            ray.init(address="local", num_cpus=workers, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        place = f"RAY_ADDRESS {address}" if address else "this machine"
        raise UserError(f"Ray does not start on {place}: {one_line(error)}") from error


def _result(ray: Any, ready: Any) -> Any:
    try:
        return ray.get(ready)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        return Failed(f"WorkerLost: {one_line(error)}")
    except ray.exceptions.RayError as error:
        return Failed(one_line(error))
