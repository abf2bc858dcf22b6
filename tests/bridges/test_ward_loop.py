"""The loop of a ward: each bed is told what it would be told alone, and its faults are its own."""

import gc
import threading
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zmq
from numpy.typing import NDArray

from hypnostream.bridges import model
from hypnostream.bridges.backend_notices import BackendNotices
from hypnostream.bridges.backends import Chosen
from hypnostream.bridges.falling_back import FallingBack
from hypnostream.bridges.messages import BACKEND_FAILED, MessageError
from hypnostream.bridges.model import Model
from hypnostream.bridges.publisher import Publisher
from hypnostream.bridges.run import Outcome, drive, finish, live_steps
from hypnostream.bridges.ward_loop import SAYING, WardLoop
from hypnostream.config import ModelSection
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.engine.slots import Arrays, Slots
from hypnostream.engine.tensorrt_backend import TensorRtBackend
from hypnostream.engine.tensorrt_cuda import CudaError
from hypnostream.stream.source import Notice, Step
from tests.bridges.looped_beds import BACKEND, BUNDLE, EPOCHS, WITHIN_S, InLoop, Sent, as_source, bed_of, turned
from tests.engine.runtimes import FailingRunner


class Broken:
    """A backend whose answers become `worse` after some runs."""

    name = "broken"

    def __init__(self, worse: float | None) -> None:
        self.worse, self.runs = worse, 0

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        self.runs += 1
        outputs = BACKEND.run(inputs)
        if self.runs > 3 and self.worse is None:
            raise RuntimeError("the card fell out")
        if self.runs > 3:
            outputs["probabilities"] = outputs["probabilities"] * np.float32(self.worse)
        return outputs


def alone(seed: int) -> Outcome:
    source, bed = Sent(seed), bed_of(BACKEND)
    outcome = drive(live_steps(as_source(source), source.clock), bed, [])
    finish(bed, [], outcome, bed.reached_s, bed.reached_s)
    return outcome


def same(ours: list[StageResult], theirs: list[StageResult]) -> None:
    assert [(r.epoch, r.stage, r.absent_reason) for r in ours] == [(r.epoch, r.stage, r.absent_reason) for r in theirs]
    for one, other in zip(ours, theirs, strict=True):
        # How a batch's sums are added up is the processor's: 1.3e-6 was seen.
        np.testing.assert_allclose(one.probabilities, other.probabilities, rtol=0, atol=3e-6)


def test_beds_together_are_told_what_each_is_told_alone() -> None:
    loop = WardLoop()
    beds = [InLoop(loop, seed) for seed in range(4)]
    turned(loop, *beds)
    assert len(loop) == 0
    for seed, bed in enumerate(beds):
        assert len(bed.driven.outcome.final) == EPOCHS
        same(bed.driven.outcome.final, alone(seed).final)


@pytest.mark.parametrize(("worse", "kind"), [(None, RuntimeError), (np.nan, MessageError)], ids=["raises", "NaN"])
def test_a_fault_ends_the_bed_that_it_befell_and_no_other(worse: float | None, kind: type[Exception]) -> None:
    loop, context = WardLoop(), zmq.Context[Any]()
    with Publisher("inproc://bed", model_hash="0" * 64, backend="none", context=context) as publisher:
        victim = InLoop(loop, 0, Broken(worse), (publisher,))
        others = [InLoop(loop, seed) for seed in (1, 2)]
        turned(loop, victim, *others)
    context.term()
    assert isinstance(victim.error, kind)
    assert len(victim.driven.outcome.final) < EPOCHS
    for seed, bed in zip((1, 2), others, strict=True):
        same(bed.driven.outcome.final, alone(seed).final)


def test_a_bed_that_failed_is_freed_though_cycles_are_searched_seldom() -> None:
    loop = WardLoop()
    victim = InLoop(loop, 0, Broken(None))
    gc.disable()
    try:
        turned(loop, victim)
        assert isinstance(victim.error, RuntimeError)
        bed, victim.error = weakref.ref(victim.bed), Exception()
        del victim
        for _ in range(2):  # until its next turn would have come
            loop.turn(0.05)
        assert bed() is None
    finally:
        gc.enable()


class Heard:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        pass

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        pass

    def notice(self, notice: Notice) -> None:
        self.notices.append(notice)

    def heartbeat(self, now_s: float) -> None:
        pass


@pytest.mark.parametrize("rows", [1, 2, 8])
def test_a_gpu_that_fails_costs_no_bed_a_result_and_each_says_so_once(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = FailingRunner(BACKEND, BUNDLE.content.epoch, rows, 4, "read", CudaError("cudaMemcpyAsync: device lost"))
    shared = FallingBack(TensorRtBackend([runner], BUNDLE.content.epoch), BACKEND)
    monkeypatch.setattr(model, "choose_backend", lambda *_, **__: Chosen(shared))
    common, context, loop = Model(BUNDLE, ModelSection()), zmq.Context[Any](), WardLoop()
    with ExitStack() as stack:
        said, beds, publishers = [], [], []
        for seed in range(3):
            publisher = Publisher(f"inproc://{seed}", model_hash="0" * 64, backend=common.backend.name, context=context)
            publishers.append(stack.enter_context(publisher))
            heard = Heard()
            said.append(heard.notices)
            sinks = (BackendNotices(common, publisher, [publisher, heard]), publisher, heard)
            beds.append(InLoop(loop, seed, common.backend, sinks))
        turned(loop, *beds)
    context.term()
    for seed, bed in enumerate(beds):
        same(bed.driven.outcome.final, alone(seed).final)
    failures = [[each.detail for each in notices if each.kind == BACKEND_FAILED] for notices in said]
    assert failures == 3 * [[shared.failure]]
    assert "device lost" in shared.failure
    assert {publisher.origin.backend for publisher in publishers} == {BACKEND.name}


class HangingDisk(Heard):
    """A sink whose first final stage is not kept until it is `well`."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.well = threading.Event(), threading.Event()

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        if result.final:
            self.asked.set()
            assert self.well.wait(WITHIN_S)


def test_a_disk_that_hangs_holds_up_the_bed_that_is_kept_on_it_and_no_other() -> None:
    loop, disks = WardLoop(), [HangingDisk() for _ in range(SAYING + 1)]
    held_up = [InLoop(loop, seed, sinks=(disk,)) for seed, disk in enumerate(disks)]
    others = [InLoop(loop, seed) for seed in (7, 8)]
    turned(loop, *others)
    assert disks[0].asked.is_set()
    for seed, bed in zip((7, 8), others, strict=True):
        same(bed.driven.outcome.final, alone(seed).final)
    assert {len(bed.driven.outcome.final) for bed in held_up} <= {0, 1}
    for disk in disks:
        disk.well.set()
    turned(loop, *held_up)
    for seed, bed in enumerate(held_up):
        same(bed.driven.outcome.final, alone(seed).final)


def test_a_bed_that_is_stopped_leaves_the_others_alone() -> None:
    loop = WardLoop()
    stopped, other = InLoop(loop, 0), InLoop(loop, 1)
    while not stopped.driven.outcome.final:
        loop.turn(0.05)
    stopped.stop.set()
    turned(loop, stopped, other)
    assert 0 < len(stopped.driven.outcome.final) < EPOCHS
    same(stopped.driven.outcome.final[:-1], alone(0).final[: len(stopped.driven.outcome.final) - 1])
    same(other.driven.outcome.final, alone(1).final)


def test_a_session_that_moves_between_slots_says_the_same() -> None:
    bed, still = bed_of(BACKEND), bed_of(BACKEND)
    crowd = Slots(BUNDLE.content.epoch)
    neighbour = Session(BUNDLE, BACKEND, slots=crowd)
    source = Sent(3)
    info, *chunks = [arrival for _, arrival in source._left]
    for step in [Step(0.0, (info,)), *(Step(n + 1.0, (chunk,)) for n, chunk in enumerate(chunks))]:
        said, expected = bed.step(step), still.step(step)
        assert [replace(r, compute_s=0.0) for r in said.results] == [
            replace(r, compute_s=0.0) for r in expected.results
        ]
        if round(step.now_s) % 20 == 7:
            bed.session.move(crowd)
        if round(step.now_s) % 20 == 17:
            bed.session.move(Slots(BUNDLE.content.epoch))
    neighbour.leave()
    assert len(crowd) == ((round(step.now_s) - 7) % 20 < 10)
