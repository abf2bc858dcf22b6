"""Beds in a ward's loop, beside senders that are faster than life: no LSL, no files."""

import threading
from typing import cast

import numpy as np
import pytest

from hypnostream.bridges.run import DrivenBed, Sink, finish
from hypnostream.bridges.ward_loop import WardLoop
from hypnostream.engine.backend import Backend, OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.session import Session
from hypnostream.stream.channels import Montage
from hypnostream.stream.clock import RealTimeClock
from hypnostream.stream.source import Arrival, ChannelInfo, Chunk, LiveSource, StreamInfo
from hypnostream.stream.stages import EPOCH_S

BUNDLE = load_bundle()
BACKEND = OnnxBackend(BUNDLE)
EPOCHS, RATE_HZ, SPEED = 5, 128, 300.0
WITHIN_S = 30.0


class Sent:
    """A live source whose sender is `SPEED` times faster than life."""

    speed = SPEED
    here_s = None

    def __init__(self, seed: int) -> None:
        info = StreamInfo("eeg", float(RATE_HZ), (ChannelInfo("Fpz-Cz", "uV", -500.0, 500.0),))
        self.clock = RealTimeClock(SPEED)
        rng = np.random.default_rng(seed)
        self._left: list[tuple[float, Arrival]] = [(0.0, info)]
        for second in range(EPOCHS * EPOCH_S):
            signal = np.cumsum(rng.normal(0, 4, (RATE_HZ, 1)), axis=0).astype(np.float32)
            stamps = second + np.arange(RATE_HZ) / RATE_HZ
            self._left.append((second + 1.0, Chunk("eeg", signal - signal.mean(), stamps)))

    @property
    def exhausted(self) -> bool:
        return not self._left

    def take(self, timeout_s: float) -> list[Arrival]:
        if self._left and timeout_s > 0:
            self.clock.wait_until(min(self._left[0][0], self.clock.now() + timeout_s * SPEED))
        came: list[Arrival] = []
        while self._left and self._left[0][0] <= self.clock.now():
            came.append(self._left.pop(0)[1])
        return came


def bed_of(backend: Backend) -> Bed:
    return Bed((), Montage(tuple(BUNDLE.channels), ()), Session(BUNDLE, backend), lateness_s=SPEED)


def as_source(source: Sent) -> LiveSource:
    return cast(LiveSource, source)  # it has what the loop asks of one


class InLoop(threading.Thread):
    """A bed that is driven by the loop, as its session's thread sees it."""

    def __init__(self, loop: WardLoop, seed: int, backend: Backend = BACKEND, sinks: tuple[Sink, ...] = ()) -> None:
        super().__init__(daemon=True)
        self.loop, self.source, self.bed = loop, Sent(seed), bed_of(backend)
        self.driven, self.stop, self.error = DrivenBed(self.bed, sinks), threading.Event(), Exception()
        self.start()

    def run(self) -> None:
        try:
            self.loop.drive(as_source(self.source), self.source.clock, self.driven, self.stop.is_set)
            finish(self.bed, [], self.driven.outcome, self.bed.reached_s, self.bed.reached_s)
        except Exception as error:
            self.error = error


def turned(loop: WardLoop, *beds: InLoop) -> None:
    for _ in range(round(WITHIN_S / 0.05)):
        loop.turn(0.05)
        if not any(bed.is_alive() for bed in beds):
            return
    pytest.fail("the beds did not end")
