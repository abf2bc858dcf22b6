"""A bed with breathing: events are a function of its steps, and stages are what they are without it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bed_state import BedState, Said
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.respiration.beliefs import beliefs_of
from hypnostream.engine.respiration.breathing import Breathing
from hypnostream.engine.respiration.channels import RESPIRATION_CHANNELS, respiration_beside, with_respiration
from hypnostream.engine.respiration.event import APNEAS, AROUSAL, HYPOPNEA, Event
from hypnostream.engine.respiration.revisions import latest
from hypnostream.engine.session import Session
from hypnostream.engine.written_state import read_state, write_state
from hypnostream.stream.channels import Montage
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.simulator import NightSettings, SimulatedSource, simulate_night
from hypnostream.stream.simulator_breathing import RespiratoryEvent
from hypnostream.stream.simulator_breathing_truth import BreathingSettings
from hypnostream.stream.source import SOURCE_FOUND, Arrival, ChannelInfo, Chunk, Step, StreamInfo
from tests.recordings import Recording, between

BUNDLE = load_bundle()
BACKEND = OnnxBackend(BUNDLE)
END_S = 480.0
EVENTS = (
    RespiratoryEvent("obstructive apnea", 200.0, 25.0),
    RespiratoryEvent("hypopnea", 300.0, 25.0, fall=5.0),
)
STEP_S = 4.0


def _with_floats(channel: ChannelInfo) -> ChannelInfo:
    low, high = (None if limit is None else float(limit) for limit in (channel.minimum, channel.maximum))
    return replace(channel, minimum=low, maximum=high)


@lru_cache(maxsize=1)
def night() -> Recording:
    """Eight minutes of N2 with an apnea and a hypopnea, one chunk a stream."""
    breathing = BreathingSettings(circulation_s=12.0, spontaneous_arousals_per_hour=0.0, movements_per_hour=0.0)
    sleep = NightSettings(stages=[2] * 16, events=EVENTS, breathing=breathing, rate_hz=128)
    source = SimulatedSource(simulate_night(sleep, 3), END_S)
    # Limits as floats: so they are when they were written down and read again.
    infos = tuple(replace(info, channels=tuple(map(_with_floats, info.channels))) for info in source.streams)
    return infos, tuple(source.read(0.0))


def bed(breathing: bool = True, t0_s: float = 0.0, every_s: int = 1) -> Bed:
    specs = with_respiration(BUNDLE.channels) if breathing else tuple(BUNDLE.channels)
    beliefs = beliefs_of(BUNDLE)
    scored = Breathing(BUNDLE.channels, respiration_beside(BUNDLE.channels), t0_s, None, beliefs) if breathing else None
    return Bed(
        (), Montage(specs, ()), Session(BUNDLE, BACKEND, t0_s), 2.0, False, breathing=scored, breathing_every_s=every_s
    )


def steps(times_s: Sequence[float], only: Sequence[str] = ()) -> list[Step]:
    """What comes by each of these times; `only` of streams with these channels."""
    infos, chunks = night()
    infos = tuple(info for info in infos if not only or any(each.label in only for each in info.channels))
    names = {info.stream_id for info in infos}
    made = [Step(0.0, infos)]
    for from_s, until_s in pairwise([-1.0, *times_s]):
        parts: list[Arrival] = [p for c in chunks if c.stream_id in names for p in between(c, from_s, until_s)]
        made.append(Step(until_s, tuple(parts)))
    return made


def played(one: Bed, some: Sequence[Step], end_s: float | None = END_S) -> Said:
    total = Said()
    for step in some:
        said = one.step(step)
        total.results += said.results
        total.events += said.events
    if end_s is not None:
        said = one.end(end_s)
        total.results += said.results
        total.events += said.events
    total.results = [replace(result, compute_s=0.0) for result in total.results]
    return total


def evenly(step_s: float = STEP_S) -> list[float]:
    return [*np.arange(step_s, END_S, step_s).tolist(), END_S]


@lru_cache(maxsize=1)
def whole() -> Said:
    return played(bed(), steps(evenly()))


def kinds(events: Sequence[Event]) -> list[str]:
    held = [event for event in latest(events) if event.status == "final"]
    return [event.kind for event in held if event.kind in (*APNEAS, HYPOPNEA)]


def test_a_night_with_an_apnea_and_a_hypopnea_says_both_and_says_them_in_time() -> None:
    one = bed()
    began: dict[tuple[str, str], tuple[float, Event]] = {}
    for step in steps(evenly(1.0)):
        for event in one.step(step).events:
            began.setdefault((event.event_id, event.kind), (step.now_s, event))
    said = whole()
    assert kinds(said.events) == ["obstructive_apnea", "hypopnea"]
    now_s, first = next((now_s, event) for now_s, event in began.values() if event.kind in APNEAS)
    assert first.status == "preliminary"
    assert 10.0 <= now_s - EVENTS[0].start_s <= 16.0
    indices = one.breathing.indices if one.breathing is not None else None
    assert indices is not None
    assert indices.of("AHI", "AASM 1A").numerator == 2


@settings(max_examples=3, deadline=None)
@given(st.lists(st.floats(1.0, END_S), max_size=20).map(sorted))
def test_any_chunking_says_the_same_events_and_indices(times_s: list[float]) -> None:
    one = bed()
    said = played(one, steps([*times_s, END_S]))
    other = bed()
    expected = played(other, steps(evenly()))
    assert said.events == expected.events
    assert one.breathing is not None
    assert other.breathing is not None
    assert one.breathing.indices == other.breathing.indices
    np.testing.assert_array_equal(one.breathing.saturation, other.breathing.saturation)


@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(0, 121), min_size=1, max_size=3).map(sorted))
def test_written_down_and_taken_up_anywhere_it_says_the_same_events(cuts: list[int]) -> None:
    some, one, events = steps(evenly()), bed(), list[Event]()
    for first, last in pairwise([0, *cuts, len(some)]):
        events += played(one, some[first:last], None).events
        written = write_state(one.snapshot())
        one = bed()
        one.restore(read_state(written, BedState))
        assert write_state(one.snapshot()) == written
    assert events + one.end(END_S).events == whole().events


def test_in_pieces_it_says_the_same_and_no_later_than_a_piece_is_long() -> None:
    every_s = 7
    said_s: list[dict[Event, float]] = []
    stages = []
    for one in (bed(), bed(every_s=every_s)):
        when_s: dict[Event, float] = {}
        results = []
        for step in steps(evenly(1.0)):
            said = one.step(step)
            results += [replace(result, compute_s=0.0) for result in said.results]
            when_s |= dict.fromkeys(said.events, step.now_s)
        when_s |= dict.fromkeys(one.end(END_S).events, END_S)
        said_s.append(when_s)
        stages.append(results)
    at_once, in_pieces = said_s
    assert stages[0] == stages[1]
    assert list(at_once) == list(in_pieces)
    late_s = [in_pieces[event] - now_s for event, now_s in at_once.items()]
    assert min(late_s) >= 0
    assert 1 < max(late_s) < every_s


def test_stages_are_what_they_are_without_breathing() -> None:
    eeg = [info.stream_id for info in night()[0] if any(c.label.startswith("EEG") for c in info.channels)]
    assert eeg
    assert whole().results == played(bed(breathing=False), steps(evenly())).results


def in_one_stream() -> Recording:
    """The first 70 s of the night with airflow among the EEG, at its rate, as one amplifier sends them."""
    infos, chunks = night()
    head, breath = (
        next(k for k, info in enumerate(infos) if any(label in each.label for each in info.channels))
        for label in ("EEG", "Nasal pressure")
    )
    repeated = np.repeat(chunks[breath].samples, round(infos[head].rate_hz / infos[breath].rate_hz), axis=0)
    info = replace(infos[head], channels=(*infos[head].channels, *infos[breath].channels))
    samples = np.concatenate((chunks[head].samples, repeated), axis=1)
    return (info,), (Chunk(info.stream_id, samples, chunks[head].timestamps),)


@pytest.mark.parametrize("recording", [night, in_one_stream], ids=["streams of their own", "one stream"])
def test_no_stage_is_later_for_the_sensors_of_breathing(recording: Callable[[], Recording]) -> None:
    infos, chunks = recording()
    times_s = np.arange(0.1, 70.0, 0.1).tolist()
    came = [Step(0.0, infos)]
    for from_s, until_s in pairwise([-1.0, *times_s]):
        came.append(Step(until_s, tuple(part for each in chunks for part in between(each, from_s, until_s))))
    final_s: list[list[float]] = []
    for one in (bed(breathing=False), bed()):
        final_s.append([step.now_s for step in came if any(result.final for result in one.step(step).results)])
    without, with_them = final_s
    assert with_them == without
    assert with_them[0] < 30.6


def test_breathing_is_never_ahead_of_the_stages_it_is_judged_by() -> None:
    """The EEG comes 1.5 s late, the sensors of breathing at once: each epoch of sleep has its stage."""
    infos, chunks = night()
    head = next(info.stream_id for info in infos if any(each.label.startswith("EEG") for each in info.channels))
    one, other = bed(), bed()
    for each in (one, other):
        each.step(Step(0.0, infos))
    for from_s, until_s in pairwise([-1.0, *evenly(1.0)]):
        late = [
            part
            for chunk in chunks
            for part in between(chunk, *((t - 1.5 * (chunk.stream_id == head)) for t in (from_s, until_s)))
        ]
        one.step(Step(until_s, tuple(late)))
        other.step(Step(until_s, tuple(part for each in chunks for part in between(each, from_s, until_s))))
    for each in (one, other):
        each.step(Step(END_S + 1.5, tuple(part for chunk in chunks for part in between(chunk, END_S - 1.5, END_S + 9))))
        each.end(END_S)
    assert one.breathing is not None
    assert other.breathing is not None
    assert one.breathing.indices == other.breathing.indices
    with pytest.raises(ValueError, match="before the model's"):
        one.breathing.advance(Seconds(int(END_S), (), (), np.zeros((0, 1), np.uint8)))


def test_each_revision_says_what_state_the_sensors_were_in_while_the_event_lasted() -> None:
    """The cannula is off for a while in the apnea: its revisions say so, those of the hypopnea do not."""
    infos, chunks = night()
    nose = [(info, c) for info in infos for c, each in enumerate(info.channels) if each.label == "Nasal pressure"]
    ((info, column),) = nose
    off = []
    for chunk in chunks:
        samples = chunk.samples.copy()
        if chunk.stream_id == info.stream_id:
            samples[(chunk.timestamps >= 205.0) & (chunk.timestamps < 215.0), column] = np.nan
        off.append(replace(chunk, samples=samples))
    one = bed()
    said = played(one, [Step(0.0, infos), Step(END_S, tuple(off))])
    apnea, hypopnea = (
        next(event for event in latest(said.events) if event.kind in kinds_of and event.status == "final")
        for kinds_of in (APNEAS, (HYPOPNEA,))
    )
    sensors = ("eeg_frontal", "flow", "thermistor", "thorax", "abdomen", "spo2", "ecg")
    assert tuple(each.name for each in apnea.channels) == tuple(each.name for each in hypopnea.channels) == sensors
    share = {each.name: each.ok_fraction for each in apnea.channels}
    assert 0.3 < share["flow"] < 0.7
    assert share["thorax"] == share["spo2"] == 1.0
    assert {each.ok_fraction for each in hypopnea.channels} == {1.0}
    assert one.breathing is not None
    nights = {each.name: each for each in one.breathing.sensors}
    assert list(nights) == list(sensors[1:])
    assert nights["flow"].ok_fraction.tolist() == [1.0] * 6 + [25 / 30] * 2 + [1.0] * 8
    assert one.breathing.good_fraction["flow"] == pytest.approx(nights["flow"].ok_fraction.mean())


def test_without_a_sensor_of_breathing_nothing_is_said_and_little_is_remembered() -> None:
    one = bed()
    infos, chunks = night()
    head = next(info for info in infos if any(c.label.startswith("EEG") for c in info.channels))
    kept = [i for i, c in enumerate(head.channels) if c.label != "ECG"]
    info = StreamInfo("head", head.rate_hz, tuple(head.channels[i] for i in kept))
    chunk = next(c for c in chunks if c.stream_id == head.stream_id)
    said = played(one, [Step(0.0, (info,)), Step(END_S, (Chunk("head", chunk.samples[:, kept], chunk.timestamps),))])
    assert len(said.results) == 16
    assert said.events == []
    assert one.breathing is not None
    assert not one.breathing.begun
    assert len(write_state(one.breathing.snapshot())) < 5000


def test_a_stream_with_sensors_of_breathing_alone_is_taken_where_breathing_is_on() -> None:
    infos, _ = night()
    oximeter = next(info for info in infos if any(each.label == "SpO2" for each in info.channels))
    for on, detail in ((True, "spo2"), (False, "serves nothing")):
        notices = bed(on).step(Step(0.0, (oximeter,))).notices
        assert [(n.kind, detail in n.detail) for n in notices] == [(SOURCE_FOUND, True)]


def test_an_oximeter_that_lags_delays_no_stage_beyond_the_lateness_and_is_unknown_then() -> None:
    infos, chunks = night()
    oximeter = next(info.stream_id for info in infos if any(each.label == "SpO2" for each in info.channels))
    one, closed = bed(), {}
    one.step(Step(0.0, infos))
    for from_s, until_s in pairwise([-1.0, *evenly(1.0)]):
        lag_s = 10.0 if until_s > 100.0 else 0.0
        parts = [
            part
            for chunk in chunks
            for part in between(
                chunk, *((from_s - lag_s, until_s - lag_s) if chunk.stream_id == oximeter else (from_s, until_s))
            )
        ]
        for result in one.step(Step(until_s, tuple(parts))).results:
            closed[result.epoch] = until_s
    assert max(at_s - 30.0 * (epoch + 1) for epoch, at_s in closed.items()) <= 3.0
    assert one.breathing is not None
    assert np.isnan(one.breathing.saturation[130:]).mean() > 0.9


def test_belts_alone_give_surrogates_and_no_ahi() -> None:
    specs = with_respiration(BUNDLE.channels)
    one = bed()
    infos, chunks = night()
    kept_infos, kept_chunks = [], []
    for info, chunk in zip(infos, chunks, strict=True):
        kept = [i for i, c in enumerate(info.channels) if c.label not in ("Nasal pressure", "Thermistor")]
        if kept:
            kept_infos.append(StreamInfo(info.stream_id, info.rate_hz, tuple(info.channels[i] for i in kept)))
            kept_chunks.append(Chunk(chunk.stream_id, chunk.samples[:, kept], chunk.timestamps))
    said = played(one, [Step(0.0, tuple(kept_infos)), Step(END_S, tuple(kept_chunks))])
    assert len(specs) == len(BUNDLE.channels) + len(RESPIRATION_CHANNELS)
    held = [event for event in said.events if event.kind in (*APNEAS, HYPOPNEA)]
    assert held
    assert all("surrogate" in event.rule for event in held)
    assert one.breathing is not None
    indices = one.breathing.indices
    assert indices.of("AHI", "AASM 1A").value is None  # of no hour with airflow, not 0
    assert indices.of("REI", "surrogate").value is not None
    assert indices.severity is None


def test_a_bed_with_breathing_does_not_take_up_one_without() -> None:
    with pytest.raises(ValueError, match="with breathing and one without"):
        bed().restore(bed(breathing=False).snapshot())


def test_arousals_are_said_in_stream_time_and_while_there_is_an_eeg_only_by_it() -> None:
    far = bed(t0_s=1000.0)
    moved = [
        Step(
            step.now_s + 1000.0,
            tuple(
                Chunk(a.stream_id, a.samples, a.timestamps + 1000.0) if isinstance(a, Chunk) else a
                for a in step.arrivals
            ),
        )
        for step in steps(evenly())
    ]
    said = played(far, moved, END_S + 1000.0).events
    near = whole().events
    assert [e.kind for e in said] == [e.kind for e in near]
    assert [e.start_s - 1000.0 for e in said] == pytest.approx([e.start_s for e in near], abs=0.011)
    assert all(event.signals == ("eeg_frontal",) for event in near if event.kind == AROUSAL)


def test_where_there_is_no_eeg_the_heart_stands_in_and_says_so() -> None:
    infos, chunks = night()
    heads, bodies = list[StreamInfo](), list[Chunk]()
    for info, chunk in zip(infos, chunks, strict=True):
        kept = [i for i, c in enumerate(info.channels) if not c.label.startswith("EEG")]
        if kept:
            heads.append(StreamInfo(info.stream_id, info.rate_hz, tuple(info.channels[i] for i in kept)))
            bodies.append(Chunk(chunk.stream_id, chunk.samples[:, kept], chunk.timestamps))
    one = bed()
    said = played(one, [Step(0.0, tuple(heads)), Step(END_S, tuple(bodies))])
    arousals = [event for event in said.events if event.kind == AROUSAL]
    assert all(event.rule == "ours: heart rate surrogate" and event.signals == ("ecg",) for event in arousals)
    assert one.breathing is not None
    snapshot = one.breathing.snapshot()
    assert snapshot.evidence is not None
    assert snapshot.evidence.heart is not None
    assert snapshot.evidence.heart.rate.usual_interval_s > 0.3
