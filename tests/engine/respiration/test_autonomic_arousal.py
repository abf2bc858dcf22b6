import math

import pytest

from hypnostream.engine.respiration.autonomic_arousal import RULE, AutonomicState, find
from hypnostream.engine.respiration.event import AROUSAL, Event
from hypnostream.engine.written_state import read_state, write_state
from hypnostream.stream.stages import STAGES

WAKE, N2, UNKNOWN = STAGES.index("W"), STAGES.index("N2"), -1


def run(rises: list[float], stage: int = N2, normal_share: float = 1.0) -> list[Event]:
    state, said = AutonomicState(), []
    for second, rise in enumerate(rises):
        state = read_state(write_state(state), AutonomicState)
        said += find(state, second, rise, normal_share, stage)
    return said


def test_a_sudden_rise_is_a_surrogate_and_says_so() -> None:
    first, last = run([0.0] * 10 + [0.2] * 6 + [0.0] * 10)
    assert (first.kind, first.status, first.start_s, first.end_s) == (AROUSAL, "preliminary", 10.0, None)
    assert (last.status, last.revision, last.end_s) == ("final", 1, 16.0)
    assert last.rule == RULE
    assert "surrogate" in last.rule
    assert last.confidence <= 0.3


def test_a_rise_that_stays_is_one_and_ends() -> None:
    said = run([0.0] * 10 + [0.2] * 100 + [0.0] * 5 + [0.2] * 5 + [0.0])
    assert [(e.event_id, e.start_s, e.end_s) for e in said if e.status == "final"] == [
        ("arousal-heart-0", 10.0, 40.0),
        ("arousal-heart-1", 115.0, 120.0),
    ]


def test_in_wake_there_is_none_and_without_a_stage_it_is_less_sure() -> None:
    rises = [0.0, 0.2, 0.2, 0.2, 0.0]
    assert run(rises, WAKE) == []
    assert run(rises, UNKNOWN)[0].confidence == pytest.approx(run(rises, N2)[0].confidence / 2)


def test_neither_an_arrhythmia_nor_what_is_unknown_is_a_rise() -> None:
    assert run([0.0, 0.5, 0.5, 0.0], normal_share=0.5) == []
    assert run([0.0, 0.5, 0.5, 0.0], normal_share=math.nan) == []
    assert run([math.nan] * 5) == []
    assert run([0.0, 0.2, math.nan])[-1].end_s == 2.0
