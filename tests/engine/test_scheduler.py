"""Many beds in one run of the graph: each says what it would have said alone, whoever comes, goes, stalls or fails."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hypnostream.engine.asking import Asking
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bed_state import Said
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS
from hypnostream.engine.results import StageResult
from hypnostream.engine.scheduler import BatchSettings, Scheduler
from hypnostream.engine.session import Session
from hypnostream.engine.slots import Arrays, Slots
from hypnostream.stream.channels import MISSING, OK, Montage
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import ChannelInfo, Chunk, Step, StreamInfo
from hypnostream.stream.stages import EPOCH_S

BUNDLE = load_bundle()
BACKEND = OnnxBackend(BUNDLE)
GRAPH = BUNDLE.content.epoch
SAME = 1e-6  # of probabilities


class Told:
    """A backend that remembers how many rows each run had, and refuses a batch that holds a row it cannot bear."""

    name = "told"

    def __init__(self, bears: float = np.inf) -> None:
        self.sizes: list[int] = []
        self.bears = bears

    def run(self, inputs: Mapping[str, NDArray[np.float32]]) -> Arrays:
        self.sizes.append(len(inputs["signal"]))
        if np.abs(inputs["signal"]).max() > self.bears:
            raise RuntimeError("a row that no one can bear")
        return BACKEND.run(inputs)


def seconds(bed: int, start: int, count: int) -> Seconds:
    """What comes to a bed depends on the bed and the second alone; some sensors are off now and then."""
    samples, quality = [], np.full((len(BUNDLE.channels), count), OK, np.uint8)
    for channel, spec in enumerate(BUNDLE.channels):
        blocks = []
        for second in range(start, start + count):
            rng = np.random.default_rng((bed, channel, second))
            off = np.random.default_rng((bed, channel, second // 20)).random() < 0.3
            quality[channel, second - start] = MISSING if off else OK
            walk = np.cumsum(rng.normal(0, 4, spec.rate_hz))
            blocks.append(np.zeros(spec.rate_hz) if off else walk - walk.mean())
        samples.append(np.array(blocks, np.float32))
    return Seconds(start, tuple(range(len(samples))), tuple(samples), quality)


def same(theirs: list[StageResult], ours: list[StageResult]) -> None:
    """The same decisions; probabilities and shares but for rounding."""
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(a.probabilities, b.probabilities, rtol=0, atol=SAME)
        np.testing.assert_allclose(_weights(a), _weights(b), rtol=0, atol=SAME)
        assert _without_numbers(a) == _without_numbers(b)


def _weights(result: StageResult) -> list[float]:
    return [channel.weight for channel in result.channels if channel.weight is not None]


def _without_numbers(result: StageResult) -> StageResult:
    nought = (0.0, 0.0, 0.0, 0.0, 0.0)
    return replace(
        result,
        probabilities=nought,
        compute_s=0.0,
        channels=tuple(replace(channel, weight=None) for channel in result.channels),
    )


class Room:
    """A bed of the ward, its twin that is alone, and what both said."""

    def __init__(self, name: int, slots: Slots) -> None:
        self.name, self.second = name, 0
        self.session, self.twin = Session(BUNDLE, BACKEND, slots=slots), Session(BUNDLE, BACKEND)
        self.said: list[StageResult] = []
        self.twin_said: list[StageResult] = []

    def next(self, count: int, provisional: bool) -> Asking[list[StageResult]]:
        block = seconds(self.name, self.second, count)
        self.second += count
        self.twin_said += self.twin.advance(block, provisional)
        return self.session.asking(block, provisional)


@st.composite
def days(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    """What happens: (what, to which bed, how many seconds)."""
    what = st.sampled_from(["hear", "hear", "hear", "hear", "join", "leave", "raise", "nan", "snapshot", "wait"])
    return draw(st.lists(st.tuples(what, st.integers(0, 4), st.sampled_from([1, 1, 7, 30, 45])), max_size=40))


@settings(max_examples=25, deadline=None)
@given(days(), st.integers(1, 4))
def test_a_bed_of_many_says_what_it_says_alone(day: list[tuple[str, int, int]], most: int) -> None:
    scheduler = Scheduler[int, list[StageResult]](BatchSettings(most=most, wait_s=0.5))
    slots = Slots(GRAPH)
    rooms: dict[int, Room] = {}
    errors: list[int] = []
    names = iter(range(1000))
    now_s = 0.0

    def collect() -> None:
        for each in scheduler.finished():
            if each.error is not None:
                errors.append(each.bed)
            else:
                assert each.found is not None
                rooms[each.bed].said += each.found

    for what, which, count in [("join", 0, 0), ("join", 0, 0), *day]:
        now_s += 0.2
        while scheduler.run(now_s):
            pass
        collect()
        free = [room for name, room in sorted(rooms.items()) if not scheduler.is_busy(name)]
        if what == "join":
            name = next(names)
            rooms[name] = Room(name, slots)
        elif what == "leave" and rooms:  # also in the midst of its work
            name = sorted(rooms)[which % len(rooms)]
            scheduler.leave(name)
            room = rooms.pop(name)
            room.session.leave()
        elif not free:
            continue
        else:
            room = free[which % len(free)]
            if what == "hear":
                scheduler.begin(room.name, room.next(count, provisional=count < EPOCH_S), now_s)
            elif what == "raise":  # a second that is not due
                scheduler.begin(room.name, room.session.asking(seconds(room.name, room.second + 5, 1)), now_s)
                assert scheduler.finished()[-1].error is not None
            elif what == "nan":  # it goes on with what it made of it, and is no one's measure any more
                block = seconds(room.name, room.second, 30)
                block.samples[0][:] = np.nan
                block.quality[:] = OK
                scheduler.begin(room.name, room.session.asking(block), now_s)
                scheduler.settle(now_s)
                collect()
                scheduler.leave(room.name)
                rooms.pop(room.name).session.leave()
            elif what == "snapshot":
                room.session.restore(room.session.snapshot())
    scheduler.settle(now_s)
    collect()
    assert scheduler.waiting == 0
    assert errors == []
    assert len(slots) == len(rooms)
    for room in rooms.values():
        same(room.said, room.twin_said)
        for state, array in room.twin.state.model.items():
            ours = room.session.state.model[state]
            np.testing.assert_allclose(ours, array, rtol=0, atol=1e-5 * (1 + np.abs(array).max()))


def _ward(
    count: int, backend: Told, most: int = 8, wait_s: float = 0.5
) -> tuple[Scheduler[int, object], list[Session]]:
    slots = Slots(GRAPH)
    scheduler = Scheduler[int, object](BatchSettings(most, wait_s))
    return scheduler, [Session(BUNDLE, backend, slots=slots) for _ in range(count)]


def test_what_is_due_is_one_run_and_waits_no_longer_than_allowed() -> None:
    backend = Told()
    scheduler, beds = _ward(3, backend)
    for number, session in enumerate(beds):
        scheduler.begin(number, session.asking(seconds(number, 0, 1)), now_s=10.0 + 0.1 * number)
    assert scheduler.due_s == 10.5
    assert not scheduler.run(10.49)
    assert scheduler.run(10.5)
    assert backend.sizes == [3]
    assert [each.bed for each in scheduler.finished()] == [0, 1, 2]
    assert scheduler.due_s == np.inf


@pytest.mark.parametrize("order", [(3, 0, 2, 1), (0, 2, 3), (1, 2, 3), (3, 1)])
def test_rows_may_come_in_any_order(order: tuple[int, ...]) -> None:
    backend = Told()
    scheduler, beds = _ward(4, backend)
    twins = [Session(BUNDLE, BACKEND) for _ in beds]
    for at in (0, 30):
        due = range(4) if at == 0 else order
        for number in due:
            scheduler.begin(number, beds[number].asking(seconds(number, at, 30), provisional=False), now_s=0.0)
        alone = {number: twins[number].advance(seconds(number, at, 30), provisional=False) for number in due}
        scheduler.settle(0.0)
        for each in scheduler.finished():
            assert isinstance(each.found, list)
            same(each.found, alone[each.bed])
    assert backend.sizes == [4, len(order)]
    for session, twin in zip(beds, twins, strict=True):
        for name, array in twin.state.model.items():
            np.testing.assert_allclose(session.state.model[name], array, rtol=1e-5, atol=1e-5)


def test_a_full_batch_does_not_wait() -> None:
    backend = Told()
    scheduler, beds = _ward(5, backend, most=2)
    for number, session in enumerate(beds):
        scheduler.begin(number, session.asking(seconds(number, 0, 1)), now_s=0.0)
    assert scheduler.run(0.0)
    assert scheduler.run(0.0)
    assert not scheduler.run(0.0)  # the fifth waits for company
    assert scheduler.run(0.5)
    assert backend.sizes == [2, 2, 1]


def test_a_row_that_fails_its_batch_fails_alone() -> None:
    backend = Told(bears=1e6)
    scheduler, beds = _ward(3, backend)
    blocks = [seconds(number, 0, 30) for number in range(3)]
    blocks[1].samples[0][:], blocks[1].quality[:] = 1e9, OK
    twins = [Session(BUNDLE, BACKEND).advance(blocks[number], provisional=False) for number in (0, 2)]
    for number, session in enumerate(beds):
        scheduler.begin(number, session.asking(blocks[number], provisional=False), now_s=0.0)
    scheduler.settle(0.0)
    ended = {each.bed: each for each in scheduler.finished()}
    assert isinstance(ended[1].error, RuntimeError)
    for number, twin in zip((0, 2), twins, strict=True):
        found = ended[number].found
        assert isinstance(found, list)
        same(found, twin)
    assert not any(array.any() for array in beds[1].state.model.values())  # and keeps nothing of it


def test_a_bed_that_left_has_said_its_last_and_its_row_begins_anew() -> None:
    backend = Told()
    scheduler, (bed, other) = _ward(2, backend)
    scheduler.begin(0, bed.asking(seconds(0, 0, 30), provisional=False), now_s=0.0)
    scheduler.settle(0.0)
    scheduler.begin(0, bed.asking(seconds(0, 30, 30), provisional=False), now_s=0.0)
    last = bed.snapshot()
    scheduler.leave(0)
    bed.leave()
    scheduler.settle(0.0)
    assert scheduler.finished() == []
    assert backend.sizes == [1]
    slots = other._slot.slots
    heir = Session(BUNDLE, backend, slots=slots)
    assert not any(array.any() for array in heir.state.model.values())
    for name, array in last.model.items():
        np.testing.assert_array_equal(bed.state.model[name], array)


def test_one_piece_of_work_at_a_time() -> None:
    scheduler, (bed,) = _ward(1, Told())
    scheduler.begin(0, bed.asking(seconds(0, 0, 1)), now_s=0.0)
    with pytest.raises(ValueError, match="at work already"):
        scheduler.begin(0, bed.asking(seconds(0, 1, 1)), now_s=0.0)


def test_beds_that_share_no_slots_are_served_too() -> None:
    backend = Told()
    scheduler = Scheduler[int, list[StageResult]]()
    sessions = [Session(BUNDLE, backend) for _ in range(2)]
    for number, session in enumerate(sessions):
        scheduler.begin(number, session.asking(seconds(number, 0, 1)), now_s=0.0)
    scheduler.settle(0.0)
    assert backend.sizes == [1, 1]
    assert len(scheduler.finished()) == 2


def test_work_that_asks_nothing_is_finished_at_once() -> None:
    def silent() -> Asking[str]:
        yield from ()
        return "nothing"

    scheduler = Scheduler[int, str]()
    scheduler.begin(0, silent(), now_s=0.0)
    assert [each.found for each in scheduler.finished()] == ["nothing"]


LABELS = ("Fpz-Cz", "Pz-Oz", "EOG horizontal", "Airflow", "ECG")
AMPLIFIER = StreamInfo("amplifier", 128.0, tuple(ChannelInfo(label, "uV", -500.0, 500.0) for label in LABELS))


def whole_bed(slots: Slots | None) -> Bed:
    specs = (*BUNDLE.channels, *RESPIRATION_CHANNELS)
    session, breathing = Session(BUNDLE, BACKEND, slots=slots), Breathing(BUNDLE.channels, RESPIRATION_CHANNELS)
    return Bed((), Montage(specs, ()), session, reorder_s=0.3, breathing=breathing)


def steps(bed: int, until_s: int) -> list[Step]:
    """Raw samples by the second: a stretch in which nothing comes, one with an electrode off, and an apnea."""
    k = np.arange(until_s * 128)
    noise = np.random.default_rng(bed).normal(0, 20, (len(k), len(LABELS))).astype(np.float32)
    noise[:, 3] = 50 * np.sin(2 * np.pi * k / 128 / 4) * ((k < 25 * 128) | (k > 40 * 128))
    noise[30 * 128 : (30 + 3 * bed) * 128, 1] = 0
    stamps = k / 128 + 0.003 * bed
    chunks = [Chunk("amplifier", noise[s : s + 128], stamps[s : s + 128]) for s in range(0, len(k), 128)]
    first = Step(0.0, (AMPLIFIER,))
    return [first, *(Step(s + 1.0, () if 20 <= s < 20 + bed else (c,)) for s, c in enumerate(chunks))]


def test_whole_beds_from_raw_samples_say_what_they_say_alone() -> None:
    scheduler, slots = Scheduler[int, Said](BatchSettings(most=3, wait_s=0.1)), Slots(GRAPH)
    beds, twins = [whole_bed(slots) for _ in range(4)], [whole_bed(None) for _ in range(4)]
    said, alone = [Said() for _ in beds], [Said() for _ in beds]
    for now_s, at_once in enumerate(zip(*(steps(bed, 65) for bed in range(4)), strict=True)):
        for number, step in enumerate(at_once):
            _add(alone[number], twins[number].step(step))
            scheduler.begin(number, beds[number].asking(step), float(now_s))
        scheduler.settle(float(now_s))
        for each in scheduler.finished():
            assert each.found is not None
            _add(said[each.bed], each.found)
    for number in range(4):
        assert sum(result.final for result in said[number].results) == 2
        same(said[number].results, alone[number].results)
        assert said[number].events == alone[number].events
        assert said[number].notices == alone[number].notices


def _add(total: Said, said: Said) -> None:
    total.results += said.results
    total.events += said.events
    total.notices += said.notices
