"""Predictions of a bundle are what the bedside would have said, second by second; those of torch are the model's."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.bridges.run import finish, run
from hypnostream.config import BedConfig
from hypnostream.engine.backend import OnnxBackend
from hypnostream.engine.bed import Bed
from hypnostream.engine.bundle import load_bundle
from hypnostream.engine.session import Session
from hypnostream.errors import UserError
from hypnostream.models.stager import Stager, StagerConfig, StagerEnsemble
from hypnostream.models.token_features import LEVEL, SHAPE
from hypnostream.stream.clock import VirtualClock
from hypnostream.stream.montage import resolve
from hypnostream.stream.source import Chunk, ListSource
from hypnostream.training.evaluation.command import evaluate_command
from hypnostream.training.evaluation.predict_bundle import from_bundle
from hypnostream.training.evaluation.recording_steps import steps_of, streams_of
from hypnostream.training.nights.token_night import TokenNight
from hypnostream.training.recordings.recording import Block, Channel, Recording
from hypnostream.training.recordings.store import write_recording
from hypnostream.training.staging.predict_tokens import from_token_nights

DATA = Path(__file__).parents[2].parent / "shared" / "data"
RATE_HZ = 128
EPOCHS = 8


def a_recording(
    valid: NDArray[np.bool_] | None = None, name: str = "night", rates: tuple[int, ...] = (RATE_HZ,)
) -> Recording:
    """A night of coloured noise; `valid` (EPOCHS, 30) is of its EEG."""
    there = np.ones((EPOCHS, 30), np.bool_) if valid is None else valid

    def blocks() -> Iterator[Block]:
        rng = np.random.default_rng(sum(name.encode()))
        for epoch in range(EPOCHS):
            samples = []
            for rate in rates:
                walk = np.cumsum(rng.standard_normal(30 * rate))
                walk = 20 * rng.standard_normal(30 * rate) + walk - walk.mean()
                samples.append((walk * np.repeat(there[epoch], rate)).astype(np.float32))
            yield Block(tuple(samples), tuple(there[epoch] for _ in rates))

    labels = (("Fpz-Cz", "eeg"), ("EOG horizontal", "eog"))
    channels = tuple(
        Channel(label, kind, "uV", float(rate)) for (label, kind), rate in zip(labels, rates, strict=False)
    )
    stages = np.arange(EPOCHS, dtype=np.int8) % 5
    return Recording(
        name, f"simulated:{name}", "simulated", "none", (), EPOCHS, channels=channels, blocks=blocks, stages=stages
    )


def test_the_final_stages_are_those_of_a_replay_at_full_speed() -> None:
    valid = np.ones((EPOCHS, 30), np.bool_)
    valid[2, 10:] = valid[3, :25] = False
    recording, bundle = a_recording(valid), load_bundle()
    said = from_bundle(recording, bundle)

    streams, backend = streams_of(recording), OnnxBackend(bundle)
    chunks: dict[str, list[Chunk]] = {info.stream_id: [] for info in streams}
    for step in steps_of(recording):
        for chunk in step.arrivals:
            assert isinstance(chunk, Chunk)
            chunks[chunk.stream_id].append(chunk)
    batch = [
        Chunk(name, np.concatenate([c.samples for c in each]), np.concatenate([c.timestamps for c in each]))
        for name, each in chunks.items()
    ]
    bed = Bed(streams, resolve(streams, bundle.channels, {}), Session(bundle, backend), BedConfig().grid.lateness_s)
    outcome = run(ListSource(streams, [batch], duration_s=EPOCHS * 30.0), bed, VirtualClock(), [])
    finish(bed, [], outcome, EPOCHS * 30.0, EPOCHS * 30.0)
    whole = np.array([r.probabilities if r.stage else [np.nan] * 5 for r in outcome.final], np.float32)
    np.testing.assert_allclose(said.probabilities, whole, atol=1e-6)


def test_each_second_is_said_and_the_last_is_final() -> None:
    said = from_bundle(a_recording(), load_bundle())
    assert said.provisional is not None
    heard = ~np.isnan(said.provisional[..., 0])
    assert not heard[0, :9].any()  # too little to say anything of
    assert heard[0, 10:].all()
    assert heard[1:].all()
    np.testing.assert_array_equal(said.provisional[:, -1], said.probabilities)
    assert (said.reference == np.arange(EPOCHS) % 5).all()


def test_nothing_is_said_of_an_epoch_without_signal() -> None:
    valid = np.ones((EPOCHS, 30), np.bool_)
    valid[4] = False
    said = from_bundle(a_recording(valid), load_bundle())
    assert np.isnan(said.probabilities[4]).all()
    assert not np.isnan(said.probabilities[[3, 5]]).any()
    assert said.provisional is not None
    # While a late sample could still come nothing is said; then the last half minute has enough in it for a while.
    assert not np.isnan(said.provisional[4, 3:15]).any()


def test_the_future_changes_nothing_that_was_said() -> None:
    valid = np.ones((EPOCHS, 30), np.bool_)
    whole = from_bundle(a_recording(valid), load_bundle())
    valid[5, 12:] = False
    cut = from_bundle(a_recording(valid), load_bundle())
    assert whole.provisional is not None
    assert cut.provisional is not None
    np.testing.assert_array_equal(whole.provisional[:5], cut.provisional[:5])
    np.testing.assert_array_equal(whole.provisional[5, :11], cut.provisional[5, :11])
    assert (whole.provisional[5, 15:] != cut.provisional[5, 15:]).any()


def test_each_rate_is_a_stream_and_each_second_a_step() -> None:
    recording = a_recording(rates=(RATE_HZ, 50))
    assert [info.rate_hz for info in streams_of(recording)] == [128, 50]
    steps = list(steps_of(recording))[: EPOCHS * 30]
    assert [step.now_s for step in steps] == list(range(1, EPOCHS * 30 + 1))
    for step in steps:
        lengths = [len(c.samples) for c in step.arrivals if isinstance(c, Chunk)]
        assert lengths == [128, 50]
        assert all(step.now_s - 1 <= c.timestamps[0] < step.now_s for c in step.arrivals if isinstance(c, Chunk))


def test_a_recording_that_cannot_serve_is_named() -> None:
    bare = replace(a_recording(), channels=())
    with pytest.raises(UserError, match="no signal"):
        from_bundle(bare, load_bundle())
    flow = replace(a_recording(), channels=(Channel("Flow", "flow", "L/s", float(RATE_HZ)),))
    with pytest.raises(UserError, match="night: no channel serves"):
        from_bundle(flow, load_bundle())


def test_a_folder_of_recordings_becomes_a_report_and_a_failure_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    for name in ("one", "two"):
        write_recording(store, a_recording(name=name))
    write_recording(
        store, replace(a_recording(name="flow"), channels=(Channel("Flow", "flow", "L/s", float(RATE_HZ)),))
    )
    write_recording(store, replace(a_recording(name="unstaged"), stages=None))
    with pytest.raises(SystemExit) as ended:
        evaluate_command(None, tmp_path / "out", None, store, None, 1, False)
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "skipped flow" in said
    assert "unstaged" not in said
    assert "| simulated | simulated | 2 | 2 | 16 |" in (tmp_path / "out" / "report.md").read_text()
    assert (tmp_path / "out" / "predictions.parquet").exists()


def test_torch_says_nothing_of_an_epoch_that_has_no_sensor() -> None:
    rng = np.random.default_rng(0)
    mask = np.ones((20, 3), np.float32)
    mask[3] = 0
    mask[4, 0] = 0
    night = TokenNight(
        "n", "s", "simulated", "none", "0" * 64,
        rng.normal(size=(20, 3, SHAPE)).astype(np.float32), rng.normal(size=(20, 3, LEVEL)).astype(np.float32),
        mask, np.zeros(20, np.int8),
    )  # fmt: skip
    model = StagerEnsemble([Stager(StagerConfig(d_model=32, headdim=16))])
    whole, frontal = (from_token_nights(model, [night], sensors)[0] for sensors in ((1, 1, 1), (1, 0, 0)))
    assert np.flatnonzero(np.isnan(whole.probabilities).any(1)).tolist() == [3]
    assert np.flatnonzero(np.isnan(frontal.probabilities).any(1)).tolist() == [3, 4]
    assert whole.subject == "s"


@pytest.mark.slow
def test_a_real_night_of_another_laboratory_is_staged() -> None:
    path = DATA / "ucddb_c3a2" / "ucddb022.npz"
    if not path.exists():
        pytest.skip("UCDDB is not in ../shared/data")
    from hypnostream.training.recordings.sets.ucddb import read

    recording = read(path)
    part = replace(
        recording, epochs=100, blocks=lambda: (b for b, _ in zip(recording.blocks(), range(100), strict=False))
    )
    said = from_bundle(part, load_bundle())
    kept = (said.reference >= 0) & ~np.isnan(said.probabilities).any(1)
    assert kept.sum() > 60
    assert (said.probabilities[kept].argmax(1) == said.reference[kept]).mean() > 0.75
