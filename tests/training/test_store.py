"""The store: a recording comes back as it was, is whole or not there, and what was changed is found and named."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hypnostream.errors import UserError
from hypnostream.training.recordings.recording import (
    Block,
    Channel,
    Event,
    Points,
    Recording,
    Source,
    Track,
    epoch_samples,
)
from hypnostream.training.recordings.store import PARTIAL, read_channel, read_recording, recordings_in, write_recording
from hypnostream.training.recordings.store_signals import ROW_GROUP_EPOCHS

EPOCHS = ROW_GROUP_EPOCHS + 3
CHANNELS = (
    Channel("EEG C4.M1", "eeg", "uV", 32.0),
    Channel("EEG C4.M1", "eeg", "uV", 32.0),  # a label twice, with a dot in it
    Channel("SpO2", "spo2", "%", 1.0),
    Channel("каналь", "other", "", 1.05),
)


def blocks(epochs: int, seed: int = 0) -> Iterator[Block]:
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        samples = tuple(rng.normal(size=epoch_samples(c.rate_hz)).astype(np.float32) for c in CHANNELS)
        yield Block(samples, tuple(rng.random(30) > 0.1 for _ in CHANNELS))


def whole(name: str = "night-1") -> Recording:
    rng = np.random.default_rng(1)
    return Recording(
        name=name,
        subject="lab:Anna",
        set_name="Our laboratory",
        licence="CC0",
        sources=(Source("a/b.edf", "0" * 64),),
        epochs=EPOCHS,
        start_utc="2020-01-01T22:00:00+00:00",
        scoring="AASM",
        channels=CHANNELS,
        blocks=partial(blocks, EPOCHS),
        stages=rng.integers(-1, 5, EPOCHS).astype(np.int8),
        events=(
            Event(1.25, 12.5, "hypopnea", "Hypopnea|Hypopnea", "NEW AIR"),
            Event(20.0, 30.0, "desaturation", "SpO2 desaturation", value=4.0),
        ),
        tracks={
            "apnea": Track(rng.integers(-1, 2, EPOCHS * 30).astype(np.int8)),
            "any": Track(rng.integers(-1, 2, EPOCHS * 30).astype(np.int8), 60),
        },
        points=(Points("beat", np.array([0.5, 1.25, 2.0]), np.array([0.75, 0.75, np.nan])),),
        features={"powers": rng.normal(size=(EPOCHS, 3, 5)).astype(np.float32), "one": np.zeros(EPOCHS, np.float32)},
        notes=("the hypnogram ends early",),
    )


def same(one: Recording, other: Recording) -> None:
    for field in fields(Recording):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if field.name == "blocks":
            for first, second in zip(a(), b(), strict=True):
                for x, y in zip(first.samples + first.valid, second.samples + second.valid, strict=True):
                    assert x.dtype == y.dtype
                    np.testing.assert_array_equal(x, y)
        elif field.name == "stages":
            np.testing.assert_array_equal(a, b)
        elif field.name == "tracks":
            assert {k: (v.values.tolist(), v.resolution_s) for k, v in a.items()} == {
                k: (v.values.tolist(), v.resolution_s) for k, v in b.items()
            }
        elif field.name == "points":
            for p, q in zip(a, b, strict=True):
                assert p.kind == q.kind
                np.testing.assert_array_equal(p.time_s, q.time_s)
                np.testing.assert_array_equal(p.value, q.value)
        elif field.name == "features":
            assert a.keys() == b.keys()
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])
        else:
            assert a == b, field.name


def test_a_recording_comes_back_as_it_was_with_every_channel_at_its_own_rate(tmp_path: Path) -> None:
    folder = write_recording(tmp_path, whole(), "test 1")
    assert folder == tmp_path / "night-1"
    same(whole(), read_recording(folder))
    assert recordings_in(tmp_path) == [folder]


def test_a_recording_of_labels_alone_comes_back_too(tmp_path: Path) -> None:
    only = Recording("h1", "boas:1", "BOAS", "CC0", (), 3, stages=np.array([0, -1, 4], np.int8))
    same(only, read_recording(write_recording(tmp_path, only)))
    assert not list(tmp_path.glob("h1/signals*"))


@pytest.mark.parametrize(("first", "count"), [(0, 5), (ROW_GROUP_EPOCHS - 2, 4), (ROW_GROUP_EPOCHS, 99), (EPOCHS, 1)])
def test_one_channel_is_read_by_itself_from_any_epoch(tmp_path: Path, first: int, count: int) -> None:
    folder = write_recording(tmp_path, whole())
    samples, valid = read_channel(folder, "SpO2", first, count)
    wanted = [(b.samples[2], b.valid[2]) for b in blocks(EPOCHS)][first : first + count]
    assert samples.shape == (len(wanted), 30)
    for row, (s, v) in enumerate(wanted):
        np.testing.assert_array_equal(samples[row], s)
        np.testing.assert_array_equal(valid[row], v)


def test_an_unknown_channel_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_recording(tmp_path, whole())
    with pytest.raises(UserError, match="no channel 'EEG O2'"):
        read_channel(folder, "EEG O2")


def test_what_fails_midway_leaves_nothing_and_keeps_the_older_one(tmp_path: Path) -> None:
    folder = write_recording(tmp_path, whole())

    def breaks() -> Iterator[Block]:
        yield from blocks(5)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write_recording(tmp_path, replace(whole(), blocks=breaks))
    same(whole(), read_recording(folder))
    assert [path.name for path in tmp_path.iterdir()] == ["night-1"]


@pytest.mark.parametrize(
    "change",
    [
        {"stages": np.zeros(EPOCHS - 1, np.int8)},
        {"tracks": {"apnea": Track(np.zeros(EPOCHS, np.int8))}},
        {"features": {"x": np.zeros((2, 3), np.float32)}},
        {"blocks": partial(blocks, EPOCHS - 1)},
        {"channels": CHANNELS[:2]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_lengths_that_do_not_fit_never_pass_silently(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="epoch"):
        write_recording(tmp_path, replace(whole(), **change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../outside", "", ".hidden", "a/b", "x" * 200])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="is no name for a folder"):
        write_recording(tmp_path, whole(name))


@pytest.mark.parametrize("table", ["stages", "events", "seconds", "points", "features"])
def test_a_table_that_was_changed_is_found_by_its_hash(tmp_path: Path, table: str) -> None:
    folder = write_recording(tmp_path, whole())
    path = folder / f"{table}.parquet"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1
    path.write_bytes(raw)
    with pytest.raises(UserError, match=rf"{table}\.parquet"):
        read_recording(folder)


def test_damage_to_the_signals_is_found_where_it_is_read(tmp_path: Path) -> None:
    folder = write_recording(tmp_path, whole())
    path = folder / "signals.parquet"
    raw = bytearray(path.read_bytes())
    raw[2000] ^= 1
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"signals\.parquet is damaged"):
        list(read_recording(folder).blocks())
    path.write_bytes(raw[:3000])
    with pytest.raises(UserError, match=r"signals\.parquet"):
        read_recording(folder)


@pytest.mark.parametrize(
    ("key", "value"), [("format", "other-2"), ("epochs", -1), ("epochs", 10**9), ("surprise", 1), ("tables", {})]
)
def test_a_recording_json_that_is_not_ours_is_one_line(tmp_path: Path, key: str, value: object) -> None:
    folder = write_recording(tmp_path, whole())
    path = folder / "recording.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(UserError, match="night-1") as error:
        read_recording(folder)
    assert "\n" not in str(error.value)


def test_a_writer_that_is_killed_leaves_nothing_half(tmp_path: Path) -> None:
    code = f"""
        import sys, time
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        from dataclasses import replace
        from pathlib import Path
        from tests.training.test_store import blocks, whole
        from hypnostream.training.recordings.store import write_recording

        def slowly():
            yield from blocks(21)
            print("midway", flush=True)
            time.sleep(60)

        write_recording(Path({str(tmp_path)!r}), replace(whole(), blocks=slowly))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == b"midway"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert recordings_in(tmp_path) == []
    assert all(path.name.startswith(PARTIAL) for path in tmp_path.iterdir())
    same(whole(), read_recording(write_recording(tmp_path, whole())))
