"""The journal, the checkpoint and the recording: what a killed session is taken up from."""

import os
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypnostream.bridges.journal import Journal, journaled_steps, last_segment, segment_path
from hypnostream.bridges.recording import read_recording, write_recording
from hypnostream.bridges.step_bytes import read_step, read_steps, write_step
from hypnostream.errors import UserError
from hypnostream.stream.source import Annotation, Arrival, ChannelInfo, Chunk, Notice, Step, StreamInfo

EEG = StreamInfo("EEG / 1", 64.0, (ChannelInfo("Fz", "uV", -5.0, 5.0), ChannelInfo("Fz", "uV")), "amplifier")
OTHER = StreamInfo("EEG / 1", 32.0, (ChannelInfo("stamp_s", "uV"),))


def story(count: int = 60) -> list[Step]:
    """Steps with everything in them that a step can have."""
    generator = np.random.default_rng(3)
    steps: list[Step] = []
    for k in range(count):
        info = EEG if k < 40 else OTHER
        arrivals: list[Arrival] = [info] if k in (0, 40) else []
        for _ in range(k % 4):
            n = int(generator.integers(0, 9))
            samples = generator.normal(size=(n, len(info.channels))).astype(np.float32)
            samples[:1] = np.nan
            arrivals.append(Chunk(info.stream_id, samples, k + np.sort(generator.random(n))))
        if k % 7 == 3:
            arrivals.insert(1, Annotation(k + 0.5, 0.0, "lights off", "markers"))
        if k % 5 == 2:
            arrivals.append(Notice("source_stalled", "EEG / 1", float(k), "nothing came", seconds=2.5))
        steps.append(Step(k + 0.1, tuple(arrivals)))
    return steps


def plain(steps: Sequence[Step]) -> list[object]:
    """Steps as values that compare; a chunk without samples says nothing."""
    return [
        (
            step.now_s,
            [
                (each.stream_id, each.samples.tobytes(), each.timestamps.tobytes()) if isinstance(each, Chunk) else each
                for each in step.arrivals
                if not isinstance(each, Chunk) or len(each.timestamps)
            ],
        )
        for step in steps
    ]


def test_a_step_comes_back_bit_for_bit() -> None:
    steps = story()
    assert plain(list(read_steps(b"".join(map(write_step, steps))))) == plain(steps)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_a_torn_journal_gives_what_is_whole(cut: int) -> None:
    steps = story(20)
    frames = [write_step(step) for step in steps]
    data = b"".join(frames)
    cut %= len(data)
    whole = sum(end <= cut for end in np.cumsum([len(frame) for frame in frames]))
    assert plain(list(read_steps(data[:cut]))) == plain(steps[:whole])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_step_are_refused(data: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(read_step(data), Step)
    assert isinstance(list(read_steps(data)), list)


def test_segments_follow_one_another_and_those_before_a_checkpoint_are_forgotten(tmp_path: Path) -> None:
    steps = story()
    journal = Journal(tmp_path, 0)
    for begin, end in pairwise([0, 10, 11, 40, 60]):
        for step in steps[begin:end]:
            journal.append(step)
        journal.begin(journal.segment + 1)
    journal.close()
    assert plain(list(journaled_steps(tmp_path))) == plain(steps)
    assert plain(list(journaled_steps(tmp_path, 2))) == plain(steps[11:])
    journal.forget(before=3)
    assert plain(list(journaled_steps(tmp_path, 3))) == plain(steps[40:])
    assert list(journaled_steps(tmp_path, 0)) == []  # a hole is an end, not a leap,
    assert plain(list(journaled_steps(tmp_path, 0, past_holes=True))) == plain(steps[40:])  # unless that is asked for
    assert last_segment(tmp_path) == 4


def test_a_disk_that_is_full_costs_steps_and_no_more(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this machine has no /dev/full")
    journal = Journal(tmp_path, 0)
    steps = story()
    journal.append(steps[0])
    os.symlink("/dev/full", segment_path(tmp_path, 1))
    journal.begin(1)
    journal.append(steps[1])
    assert journal.failure == "No space left on device"
    journal.begin(2)
    assert journal.failure is None
    journal.append(steps[2])
    journal.close()


def test_a_recording_gives_the_same_steps_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal", 0)
    steps = story()
    for step in steps:
        journal.append(step)
    journal.close()
    for _ in range(2):  # also over one that is there
        write_recording(tmp_path / "journal", tmp_path / "signals")
    assert plain(list(read_recording(tmp_path / "signals"))) == plain(steps)
    assert {file.name for file in (tmp_path / "signals").iterdir()} == {
        "EEG---1.parquet",
        "EEG---1-2.parquet",
        "steps.parquet",
    }


def test_recorded_signals_are_read_by_other_tools(tmp_path: Path) -> None:
    import pyarrow.parquet as parquet

    journal = Journal(tmp_path / "journal", 0)
    for step in story():
        journal.append(step)
    journal.close()
    write_recording(tmp_path / "journal", tmp_path / "signals")
    table = parquet.read_table(tmp_path / "signals" / "EEG---1.parquet")
    assert table.column_names == ["stamp_s", "step", "chunk", "Fz", "Fz 2"]


@pytest.mark.parametrize("damage", ["cut", "absent", "swapped"])
def test_a_damaged_recording_is_one_line(tmp_path: Path, damage: str) -> None:
    journal = Journal(tmp_path / "journal", 0)
    for step in story():
        journal.append(step)
    journal.close()
    write_recording(tmp_path / "journal", tmp_path / "signals")
    stream, steps = tmp_path / "signals" / "EEG---1.parquet", tmp_path / "signals" / "steps.parquet"
    if damage == "cut":
        stream.write_bytes(stream.read_bytes()[:-100])
    elif damage == "absent":
        stream.unlink()
    else:
        stream.write_bytes(steps.read_bytes())
    with pytest.raises(UserError, match="cannot be read as recorded signals") as error:
        list(read_recording(tmp_path / "signals"))
    assert "\n" not in str(error.value)
