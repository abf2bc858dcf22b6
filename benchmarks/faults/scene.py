"""What every row needs: a bed at work, and how to read what it says."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.faults.matrix import Seen
from benchmarks.faults.parts import Stage
from hypnostream.bridges.journal import journaled_steps
from hypnostream.bridges.messages import EpochMessage
from hypnostream.stream.source import SAMPLES_LOST, Chunk
from hypnostream.stream.stages import EPOCH_S

SAY_S = 3.0  # within so long of the last sample a stall is said
NEVER = Seen(False, "no stage ever came", {})


@contextmanager
def scene(folder: Path, session: str, **settings: Any) -> Iterator[Stage | None]:
    """A bed at work; None where it never got there."""
    stage = Stage(folder, session, **settings)
    try:
        yield stage if stage.flowing() else None
    finally:
        stage.close()


def reported_lost(stage: Stage, since: float) -> int:
    """How many samples were said to be lost."""
    return sum(message.samples or 0 for _, message in stage.listener.statuses(SAMPLES_LOST, since=since))


def taken(stage: Stage) -> NDArray[np.float32]:
    """The numbers (n,) of the samples that the engine took, by what it wrote down (`record`), whatever their stamps."""
    steps_taken = journaled_steps(stage.engine.out / "journal", past_holes=True)
    chunks = [each for step in steps_taken for each in step.arrivals if isinstance(each, Chunk)]
    return np.concatenate([chunk.samples[:, 0] for chunk in chunks])


def notice_s(stage: Stage, since: float, within_s: float, *states: str) -> float | None:
    """How long after `since` one of these notices came."""
    found = stage.listener.wait_for(lambda: stage.listener.statuses(*states, since=since), within_s)
    return found[0][0] - since if found else None


def final_since(stage: Stage, since: float, within_s: float) -> bool:
    """Waits for an epoch to close that comes after `since`."""
    return bool(stage.listener.wait_for(lambda: stage.listener.stages(since, final=True), within_s))


def said(seconds: float | None) -> str:
    """A moment in words."""
    return "never" if seconds is None else f"{seconds:.2f} s"


def passed_s(message: EpochMessage) -> int:
    """Seconds since the grid began."""
    return message.epoch * EPOCH_S + message.seconds


def bad_s(message: EpochMessage, place: int = 0) -> int:
    """How many of the last 30 s were not good in one channel, the EEG unless told; fewer at a session's start."""
    return round((1 - message.channels[place].ok_fraction) * min(EPOCH_S, passed_s(message)))


def steps(stage: Stage, since: float, place: int = 0) -> list[tuple[float, bool]]:
    """Of each second that closed since, but the first: when its stage came, and whether the second was good.

    A bad second that leaves the last 30 s as a bad one enters them is taken for good; no row waits so long.
    """
    listener = stage.listener
    stages = sorted((*listener.stages(since), *listener.stages(since, final=True)), key=lambda heard: heard[0])
    return [
        (at, bad_s(after, place) <= bad_s(before, place))
        for (_, before), (at, after) in pairwise(stages)
        if passed_s(after) == passed_s(before) + 1
    ]


def good_again_s(stage: Stage, since: float, within_s: float, place: int = 0) -> float | None:
    """How long after `since` the first of two good seconds in a row was said."""

    def find() -> list[float]:
        seen = steps(stage, since, place)
        return [at for (at, one), (_, two) in pairwise(seen) if one and two]

    found = stage.listener.wait_for(find, within_s)
    return found[0] - since if found else None


def slept_until(utc_s: float) -> None:
    """Waits for a moment on the wall."""
    time.sleep(max(0.0, utc_s - time.time()))
