"""The loop that drives a bed: its clock, its end, and what it tells its sinks."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from hypnostream.bridges.edf import EdfSource
from hypnostream.bridges.edf_write import EdfSignal, write_edf
from hypnostream.bridges.run import CATCH_UP_S, READ_S, Outcome, drive, live_steps, reached_s, replay_steps, run
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.event import Event
from hypnostream.engine.results import StageResult
from hypnostream.engine.session import Session
from hypnostream.stream.clock import Clock, RealTimeClock, VirtualClock
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import Arrival, Chunk, ListSource, Notice, Source, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from tests.recordings import between, night, simulated_signals, write_night

BUNDLE = load_bundle()
BACKEND = OnnxBackend(BUNDLE)
EPOCHS = 4


@dataclass
class Listener:
    """A sink that remembers."""

    said: list[tuple[StageResult, float, float | None]] = field(default_factory=list)
    beats: list[float] = field(default_factory=list)
    noticed: list[Notice] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def publish(self, result: StageResult, now_s: float, latency_s: float | None = None) -> None:
        self.said.append((result, now_s, latency_s))

    def event(self, event: Event, now_s: float, latency_s: float | None = None) -> None:
        self.events.append(event)

    def notice(self, notice: Notice) -> None:
        self.noticed.append(notice)

    def heartbeat(self, now_s: float) -> None:
        self.beats.append(now_s)


class HandClock(RealTimeClock):
    """Real time by a wall that moves when someone sleeps."""

    def __init__(self) -> None:
        self.wall_now_s = 0.0
        super().__init__(speed=10.0, wall=lambda: self.wall_now_s, sleep=self._advance)

    def _advance(self, duration_s: float) -> None:
        self.wall_now_s += duration_s


def staged(source: Source, clock: Clock | None = None, provisional: bool = False) -> tuple[Outcome, Listener]:
    bed = Bed(
        source.streams, resolve(source.streams, BUNDLE.channels), Session(BUNDLE, BACKEND), provisional=provisional
    )
    listener = Listener()
    return run(source, bed, clock or VirtualClock(), [listener]), listener


def said(outcome: Outcome) -> list[StageResult]:
    return [replace(result, compute_s=0.0) for result in outcome.final]


def with_a_slow_channel(path: Path) -> Path:
    """One sample of body position in 30 s: half a minute before the next, the EEG goes on."""
    signals = [*simulated_signals(EPOCHS), EdfSignal("Position", np.arange(float(EPOCHS)), 1 / EPOCH_S, "")]
    write_edf(path, signals, record_s=float(EPOCH_S))
    return path


@pytest.mark.parametrize("chunk_s", [0.1, 0.5, 1.0, 7.0])
def test_a_slow_channel_does_not_hurry_the_others(tmp_path: Path, chunk_s: float) -> None:
    path = with_a_slow_channel(tmp_path / "night.edf")
    at_once, _ = staged(EdfSource(path, chunk_s=60.0))
    in_parts, _ = staged(EdfSource(path, chunk_s=chunk_s))
    assert said(in_parts) == said(at_once)
    assert [state.ok_fraction for result in at_once.final for state in result.channels] == [1.0] * 3 * EPOCHS


def test_chunks_reach_to_their_last_sample_and_no_further_than_the_fastest_stream_tells() -> None:
    streams = (StreamInfo("fast", 100.0, ()), StreamInfo("slow", 0.1, ()))
    fast = Chunk("fast", np.zeros((100, 1), np.float32), np.arange(100) / 100)
    slow = Chunk("slow", np.zeros((1, 1), np.float32), np.array([0.0]))
    assert reached_s([fast, slow], streams) == pytest.approx(1.0)
    assert reached_s([slow], streams) == pytest.approx(0.01)
    assert reached_s([slow], (StreamInfo("irregular", 0.0, ()),)) == 0.0


def test_as_fast_as_it_goes_nothing_waits_and_nothing_is_late(tmp_path: Path) -> None:
    outcome, listener = staged(EdfSource(write_night(tmp_path / "night.edf", EPOCHS), chunk_s=60.0))
    assert [result.epoch for result in outcome.final] == list(range(EPOCHS))
    assert outcome.end_s == EPOCHS * EPOCH_S
    assert outcome.provisional == 0
    assert [latency_s for _, _, latency_s in listener.said] == [None] * EPOCHS
    assert listener.beats == [60.0, 120.0]
    assert outcome.timings().keys() == {"wall_s", "reading_s", "processing_s", "of_which_model_s"}


def test_in_real_time_each_second_is_said_when_it_has_come(tmp_path: Path) -> None:
    source = EdfSource(write_night(tmp_path / "night.edf", 2), chunk_s=0.5)
    outcome, listener = staged(source, HandClock(), provisional=True)
    assert outcome.provisional == 58
    assert len(listener.said) == 60
    for result, now_s, latency_s in listener.said:
        waited_s = now_s - (EPOCH_S * result.epoch + result.seconds)
        assert 0 <= waited_s <= 0.55
        assert latency_s is not None
        assert latency_s < 10
    assert len(listener.beats) in (59, 60)
    assert np.diff(listener.beats).max() < 2.0


def test_a_live_session_ends_where_its_samples_do() -> None:
    streams, chunks = night(EPOCHS)
    batches = [[part for chunk in chunks for part in between(chunk, s, s + 5.0)] for s in np.arange(0.0, 75.0, 5.0)]
    batches[-1].append(Chunk("eeg", np.zeros((1, 4), np.float32), np.array([1e12])))  # a stamp that is believed by none
    source = ListSource(streams, batches)
    bed = Bed(streams, resolve(streams, BUNDLE.channels), Session(BUNDLE, BACKEND), provisional=False)
    outcome = run(source, bed, VirtualClock(), [])
    assert outcome.end_s == pytest.approx(75.0, abs=0.01)
    assert [result.epoch for result in outcome.final] == [0, 1, 2]


def test_asked_to_stop_it_says_what_it_has() -> None:
    streams, chunks = night(EPOCHS)
    batches = [[part for chunk in chunks for part in between(chunk, s, s + 1.0)] for s in np.arange(0.0, 120.0)]
    source = ListSource(streams, batches)
    bed = Bed(streams, resolve(streams, BUNDLE.channels), Session(BUNDLE, BACKEND), provisional=False)
    outcome = run(source, bed, VirtualClock(), [], stop=lambda: len(source.batches) <= 80)
    assert [result.epoch for result in outcome.final] == [0, 1]
    assert outcome.end_s == pytest.approx(40.0, abs=0.01)


def test_nothing_at_all_is_an_empty_night() -> None:
    streams, _ = night(EPOCHS)
    bed = Bed(streams, resolve(streams, BUNDLE.channels), Session(BUNDLE, BACKEND))
    outcome = run(ListSource(streams, []), bed, VirtualClock(), [])
    assert (outcome.final, outcome.end_s) == ([], 0.0)


@dataclass
class StoodStill(ListSource):
    """A live source in whose second read the process stands still for a minute; what was sent then comes bit by bit.

    `clock` is what passes meanwhile.
    """

    clock: HandClock = field(default_factory=HandClock)
    speed: float = 10.0
    reads: int = 0
    here_s: float | None = None

    @property
    def exhausted(self) -> bool:
        return self.reads == 100

    def take(self, timeout_s: float) -> list[Arrival]:
        self.reads += 1
        self.clock.wall_now_s += 60.0 if self.reads == 2 else timeout_s
        return [Chunk("EEG", np.zeros((1, 1), np.float32), np.array([self.reads / 10]))] if self.reads % 2 else []


def test_time_in_which_the_process_stood_still_has_not_passed_before_what_was_sent_then_had_time_to_come() -> None:
    source = StoodStill((), [])
    times_s = [step.now_s for step in live_steps(source, source.clock)]
    assert times_s[0] == pytest.approx(READ_S)
    held = sum(at_s == times_s[0] for at_s in times_s)
    assert held == 1 + round(CATCH_UP_S * source.clock.speed / READ_S)
    assert times_s[held:] == sorted(times_s[held:])
    assert times_s[held] == pytest.approx(600 + READ_S + CATCH_UP_S * source.clock.speed)


def test_a_stage_is_late_from_when_its_samples_came_and_not_from_when_they_were_looked_at(tmp_path: Path) -> None:
    source = EdfSource(write_night(tmp_path / "night.edf", EPOCHS), chunk_s=60.0)
    bed = Bed(source.streams, resolve(source.streams, BUNDLE.channels), Session(BUNDLE, BACKEND))
    listener = Listener()
    steps = [replace(step, here_s=time.monotonic() - 20.0) for step in replay_steps(source, VirtualClock())]
    drive(steps, bed, [listener])
    late_s = [latency_s for _, _, latency_s in listener.said]
    assert late_s
    assert all(latency_s is not None and 20.0 < latency_s < 30.0 for latency_s in late_s)
