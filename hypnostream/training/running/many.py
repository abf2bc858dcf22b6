"""The same work on many items, side by side: processes on this machine, or Ray on one machine or a cluster.

One item's failure is one item's: what it raises becomes `Failed`, and so does the death of its worker (killed, out of
memory); the others go on. Each worker holds one item at a time, so memory is bounded however many items there are.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar, cast

from hypnostream.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
END_S = 5.0  # what a worker has to end in when told so, before it is killed


@dataclass(frozen=True, slots=True)
class Failed:
    """What an item came to that came to nothing: one line, with the exception's kind."""

    message: str


def run_each(
    work: Callable[[T], R], items: Sequence[T], workers: int, ray: bool = False
) -> Generator[tuple[int, R | Failed], None, None]:
    """Each item's place and what `work` made of it, as they come.

    `work` and the items travel to other processes, which start afresh: `work` is a function of a module or a
    `functools.partial` of one. Closing the iterator early ends the workers. With `ray` the same over Ray: the cluster
    that RAY_ADDRESS names, or one on this machine with `workers` CPUs.

    Raises UserError when `workers` is less than 1, or Ray is asked for and not installed.
    """
    if workers < 1:
        raise UserError(f"{workers} workers can do nothing; give 1 or more")
    if ray:
        from hypnostream.training.running.many_by_ray import run_each_by_ray

        return run_each_by_ray(work, items, workers)
    return _run_each(work, items, min(workers, len(items)))


def one_line(error: BaseException) -> str:
    """An exception's kind and words."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def attempt(work: Callable[[T], R], item: T) -> R | Failed:
    """What `work` makes of the item, or how it failed."""
    try:
        return work(item)
    except (Exception, SystemExit) as error:
        return Failed(one_line(error))


def _run_each(work: Callable[[T], R], items: Sequence[T], count: int) -> Generator[tuple[int, R | Failed], None, None]:
    left = iter(enumerate(items))
    threads = max(1, (os.cpu_count() or 1) // max(count, 1))
    team: dict[Connection, _Worker[T, R]] = {}

    def give(worker: _Worker[T, R] | None) -> None:
        """The next item to this worker, or to a new one for None; a worker without one is sent home."""
        following = next(left, None)
        if following is not None:
            worker = _Worker(threads) if worker is None else worker
            team[worker.connection] = worker
            worker.take(work, *following)
        elif worker is not None:
            worker.end()

    try:
        for _ in range(count):
            give(None)
        while team:
            for ready in wait(list(team)):
                worker = team.pop(cast(Connection, ready))
                result, alive = worker.result()
                place = worker.place
                give(worker if alive else None)
                yield place, result
    finally:
        for worker in team.values():
            worker.end()


class _Worker(Generic[T, R]):
    """A process that does one item at a time. What is sent to it is made ready for the way by `pickle`, as
    `multiprocessing` does: only between our own processes, never from a file."""

    def __init__(self, threads: int) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        # daemon: a caller that never comes back for its results still lets the interpreter end.
        self._process = context.Process(target=_do_items, args=(theirs, threads), daemon=True)
        self._process.start()
        theirs.close()  # so that its death is the end of the file here
        self.place = -1

    def take(self, work: Callable[[T], R], place: int, item: T) -> None:
        self.place = place
        with suppress(BrokenPipeError, ConnectionResetError):  # it died: `result` says so
            self.connection.send((work, item))

    def result(self) -> tuple[R | Failed, bool]:
        """What became of the item, and whether the worker lives."""
        try:
            return self.connection.recv(), True
        except (EOFError, OSError):
            self._process.join(END_S)
            code = self._process.exitcode
            self.end()
            return Failed(_death(code)), False

    def end(self) -> None:
        self.connection.close()
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"WorkerLost: the worker ended with exit code {code}"
    hint = ", as the system does when memory runs out" if code == -9 else ""
    return f"WorkerLost: the worker was ended by signal {-code}{hint}"


def _do_items(connection: Connection, threads: int) -> None:
    """A worker's life. Ctrl-C is its starter's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_starter, daemon=True).start()
    if "torch" not in sys.modules:  # its threads are counted when it is first imported
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    while True:
        result: object
        try:
            work, item = connection.recv()
        except (EOFError, ConnectionResetError):  # nobody asks any more
            return
        except Exception as error:  # what it needs cannot be imported here
            result = Failed(one_line(error))
        else:
            result = attempt(work, item)
        try:
            connection.send(result)
        except (BrokenPipeError, ConnectionResetError):
            return
        except Exception as error:  # what came out cannot travel
            connection.send(Failed(one_line(error)))


def _end_with_starter() -> None:
    """A starter that was killed told nobody: what runs on would write where its successor does."""
    if (starter := parent_process()) is not None:
        wait([starter.sentinel])
        os._exit(1)
