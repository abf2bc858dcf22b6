"""Truncated back-propagation: a night's state is carried from segment to segment, and set back where it begins anew."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypnostream.models.state import State, named
from hypnostream.training.downstream.event_task import EventTask
from hypnostream.training.running.loop import Share, Task
from hypnostream.training.staging.frame_stager_task import FrameStagerTask
from hypnostream.training.staging.night_tokens import NightTokens
from hypnostream.training.staging.stager_task import StagerTask
from tests.training import small_frame_stager, test_downstream, test_training
from tests.training.event_nights_simulated import event_nights

SEGMENTS = 5
Trained = tuple[Task, nn.Module, Callable[[int], State]]  # a task, what reads its nights, how that begins


@dataclass
class Read:
    """What went into a module and what it left, segment by segment: tensors of (rows, ...) by name."""

    entered: list[dict[str, Tensor]] = field(default_factory=list)
    left: list[dict[str, Tensor]] = field(default_factory=list)

    def look(self, _: nn.Module, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        """A forward hook: the state is the last of what goes in, and of what comes out."""
        self.entered.append(named(inputs[-1]))
        self.left.append(named(output[-1]))


def stager_of_epochs(restart: float) -> Trained:
    nights = [test_training.simulated_night(f"n{i}", f"p{i}", 8 * SEGMENTS, i) for i in range(4)]
    augment = replace(test_training.SMALL.augment, late_start=0.0)
    task = StagerTask(nights, replace(test_training.SMALL, batch=4, segment=8, restart=restart, augment=augment))
    return task, task.module.stager, task.module.stager.initial_state


def stager_of_seconds(restart: float) -> Trained:
    small = small_frame_stager.SMALL
    module = small_frame_stager.trained(small)
    nights = [NightTokens(small_frame_stager.night(seed, 2 * SEGMENTS), module.model.front) for seed in range(4)]
    augment = replace(small.augment, late_start=0.0)
    task = FrameStagerTask(nights, module, replace(small, batch=4, segment=2, restart=restart, augment=augment))
    return task, module.model.stager, module.model.stager.initial_state


def detector_of_events(restart: float) -> Trained:
    nights = event_nights(4, 8 * SEGMENTS)
    task = EventTask(nights, replace(test_downstream.SMALL, batch=4, segment=8, restart=restart))
    return task, task.module, task.module.initial_state


EVERY = pytest.mark.parametrize("made", [stager_of_epochs, stager_of_seconds, detector_of_events])


def read(task: Task, reader: nn.Module) -> Read:
    """A batch of nights, read from beginning to end."""
    seen = Read()
    with reader.register_forward_hook(seen.look):
        list(task.losses(0, 0, Share()))
    assert len(seen.entered) == SEGMENTS
    return seen


def same_rows(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[bool]:
    """Which rows of a state are the same in all its tensors."""
    each = [(a == b).flatten(1).all(1) for a, b in zip(one.values(), other.values(), strict=True)]
    return torch.stack(each).all(0).tolist()


@EVERY
def test_a_segment_begins_with_what_the_one_before_left_and_no_gradient_goes_back(
    made: Callable[[float], Trained],
) -> None:
    task, reader, initial_state = made(0.0)
    seen = read(task, reader)
    rows = len(next(iter(seen.entered[0].values())))
    initial = named(initial_state(rows))
    assert all(same_rows(seen.entered[0], initial))
    assert any(value.requires_grad for value in seen.left[0].values())
    for entered, left in zip(seen.entered[1:], seen.left, strict=False):
        assert all(same_rows(entered, left))
        assert not any(same_rows(entered, initial))
        assert not any(value.requires_grad for value in entered.values())


@EVERY
def test_a_night_that_begins_anew_forgets_and_those_beside_it_do_not(made: Callable[[float], Trained]) -> None:
    task, reader, initial_state = made(0.5)
    seen = read(task, reader)
    rows = len(next(iter(seen.entered[0].values())))
    initial = named(initial_state(rows))
    anew = [same_rows(entered, initial) for entered in seen.entered[1:]]
    carried = [same_rows(entered, left) for entered, left in zip(seen.entered[1:], seen.left, strict=False)]
    # Each row has one of the two, and some segments have both side by side.
    assert all(a != c for segment in zip(anew, carried, strict=True) for a, c in zip(*segment, strict=True))
    assert any(len(set(segment)) == 2 for segment in anew)
    if reader is not task.module:  # a stager reads each night twice, and both begin anew together
        assert all(segment[: rows // 2] == segment[rows // 2 :] for segment in anew)
