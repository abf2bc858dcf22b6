"""Tokens: stored features and signals of any laboratory become the stager's nights, through what runs live."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.models.token_features import WAVELET_SHAPE
from hypnostream.stream.channels import OK, ChannelSpec, Derivation, Term
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.nights.channels import STAGER_CHANNELS
from hypnostream.training.nights.conditioned import condition
from hypnostream.training.nights.token_night import read_token_night
from hypnostream.training.nights.tokens import token_night, tokenise
from hypnostream.training.recordings.blocks import blocks_of
from hypnostream.training.recordings.recording import UNKNOWN, Block, Channel, Recording, Source
from hypnostream.training.recordings.sets import sleep_edfx, ucddb
from hypnostream.training.recordings.store import write_recording

DATA = Path(__file__).parents[2].parent / "shared" / "data"
needs_data = pytest.mark.skipif(not (DATA / "ucddb_c3a2").exists(), reason="../shared/data is not here")
RATE_HZ = 128


def _of_features(name: str = "SC4001E", epochs: int = 40, missing: int = 2) -> Recording:
    rng = np.random.default_rng(0)
    stages = rng.integers(0, 5, epochs).astype(np.int8)
    stages[3] = UNKNOWN
    wavelet = rng.uniform(0.1, 1, (epochs, 34)).astype(np.float32)
    wavelet[epochs - missing :] = np.nan
    bands = np.log(rng.uniform(0.1, 1, (epochs, 3, 10))).astype(np.float32)
    bands[5, 1] = np.nan
    return Recording(
        name=name,
        subject="sleepedf:SC00",
        set_name=sleep_edfx.SET,
        licence="ODC-By 1.0",
        sources=(Source("a.npz", "0" * 64),),
        epochs=epochs,
        stages=stages,
        features={sleep_edfx.WAVELET: wavelet, sleep_edfx.BANDS: bands},
    )


def _eeg(epochs: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 20, epochs * 30 * RATE_HZ).astype(np.float32)


def _of_signals(
    channels: tuple[Channel, ...], signals: list[NDArray[np.float32]], valid: NDArray[np.bool_]
) -> Recording:
    epochs = len(valid) // 30
    return Recording(
        name="lab1",
        subject="lab:1",
        set_name="lab",
        licence="",
        sources=(Source("lab1.edf", "1" * 64),),
        epochs=epochs,
        channels=channels,
        blocks=partial(blocks_of, [(signal, valid) for signal in signals], epochs),
        stages=np.full(epochs, 2, np.int8),
    )


def test_stored_features_keep_their_epochs_and_say_what_is_missing() -> None:
    night = token_night(_of_features())
    assert night is not None
    assert (night.subject, len(night)) == ("sleepedf:SC00", 40)
    assert night.stage[3] == -1
    assert night.mask[:, 0].tolist() == [1.0] * 38 + [0.0] * 2
    assert night.mask[5, 1] == 0
    assert np.isfinite(night.shape).all()
    relative = np.exp(night.shape[0, 0, WAVELET_SHAPE:])
    assert relative.sum() == pytest.approx(1.0, abs=1e-5)


def _conditioned(
    values: NDArray[np.float32], index: NDArray[np.int64], epochs: int, rate_hz: float, spec: ChannelSpec
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One channel's epochs (M, samples) in the spec's unit, epoch `index` (M,) each; those not given are a gap.

    Returns the signal (epochs, 1, 30 * spec.rate_hz), zeros where there is none, and the valid seconds (epochs, 1, 30).
    """
    info = StreamInfo("recording", rate_hz, (ChannelInfo(spec.name, spec.unit),))
    derivation = Derivation(spec, info.stream_id, (Term(0, 1.0),), spec.name, "recorded as such")
    conditioner = StreamConditioner(info, [derivation], [0], 0.0)
    signal = np.zeros((epochs * EPOCH_S, spec.rate_hz), np.float32)
    valid = np.zeros(epochs * EPOCH_S, np.float32)
    within = np.arange(values.shape[1]) / rate_hz
    blocks = []
    for row, epoch in zip(values, index, strict=True):
        chunk = Chunk(info.stream_id, np.ascontiguousarray(row[:, None], np.float32), epoch * EPOCH_S + within)
        blocks += conditioner.push(chunk)
    blocks += conditioner.flush(epochs * EPOCH_S)
    for block in blocks:
        if block.start < 0:
            continue
        part = slice(block.start, block.start + block.count)
        signal[part], valid[part] = block.samples[0], block.quality[0] == OK
    return signal.reshape(epochs, 1, -1), valid.reshape(epochs, 1, EPOCH_S)


def test_signals_are_conditioned_as_they_are_live_with_their_gaps() -> None:
    valid = np.ones(5 * 30, np.bool_)
    valid[60:90] = False  # an epoch that is not there
    eeg = _eeg(5)
    eeg.reshape(-1, RATE_HZ)[~valid] = 0
    recording = _of_signals((Channel("C3-A2", "eeg", "uV", RATE_HZ),), [eeg], valid)
    signal, there, montage = condition(recording, STAGER_CHANNELS)
    index = np.array([0, 1, 3, 4])
    expected = _conditioned(eeg.reshape(5, -1)[index], index, 5, RATE_HZ, STAGER_CHANNELS[0])
    assert np.array_equal(signal[:, :1], expected[0])
    assert np.array_equal(there[:, :1], expected[1])
    assert 0 < there[:, 0].sum() <= 120
    assert not there[:, 1:].any()
    assert [each.label for each in montage.derivations] == ["C3-M2"]


def test_any_laboratorys_montage_is_resolved_and_units_are_turned() -> None:
    epochs = 4
    names = ("F4-M1", "O2-M1", "E1-M2", "SpO2")
    channels = tuple(
        Channel(name, kind, unit, RATE_HZ)
        for name, kind, unit in zip(names, ("eeg", "eeg", "eog", "spo2"), ("mV", "uV", "uV", "%"), strict=True)
    )
    signals = [_eeg(epochs, seed) for seed in range(4)]
    in_mv = [(signals[0] / 1000).astype(np.float32), *signals[1:]]
    night = token_night(_of_signals(channels, in_mv, np.ones(epochs * 30, np.bool_)))
    in_uv = tuple(replace(c, unit="uV") if c.unit == "mV" else c for c in channels)
    same = token_night(_of_signals(in_uv, signals, np.ones(epochs * 30, np.bool_)))
    assert night is not None
    assert same is not None
    assert night.mask.all()
    assert np.allclose(night.level, same.level, atol=1e-3)
    assert night.stage.tolist() == [2] * epochs


def test_a_channel_that_is_lost_for_a_while_is_masked_and_the_others_stay() -> None:
    epochs = 4
    channels = (Channel("F4-M1", "eeg", "uV", RATE_HZ), Channel("E1-M2", "eog", "uV", RATE_HZ))
    whole, lost = np.ones(epochs * 30, np.bool_), np.ones(epochs * 30, np.bool_)
    lost[30:90] = False
    recording = _of_signals(channels, [_eeg(epochs), _eeg(epochs, 1)], whole)
    signals = [(_eeg(epochs), whole), (_eeg(epochs, 1), lost)]
    night = token_night(replace(recording, blocks=partial(blocks_of, signals, epochs)))
    assert night is not None
    assert night.mask[:, 0].tolist() == [1, 1, 1, 1]
    assert night.mask[:, 2].tolist() == [1, 0, 0, 1]
    assert not night.mask[:, 1].any()


def test_a_recording_without_anything_for_the_stager_is_none() -> None:
    valid = np.ones(60, np.bool_)
    recording = _of_signals((Channel("SpO2", "spo2", "%", 1.0),), [np.full(60, 97, np.float32)], valid)
    assert token_night(recording) is None


def test_a_rate_that_does_not_fit_an_epoch_keeps_its_time() -> None:
    rate_hz, epochs = 99.99, 40
    places = [
        np.arange(np.ceil(e * 30 * rate_hz - 1e-6), np.ceil((e + 1) * 30 * rate_hz - 1e-6)) for e in range(epochs)
    ]

    def blocks() -> Iterator[Block]:
        for each in places:
            samples = np.zeros(3000, np.float32)  # 2999.7, rounded up
            samples[: len(each)] = 20 * np.sin(2 * np.pi * 10 * each / rate_hz)
            yield Block((samples,), (np.ones(30, np.bool_),))

    recording = _of_signals((Channel("C3-A2", "eeg", "uV", rate_hz),), [_eeg(epochs)], np.ones(epochs * 30, np.bool_))
    signal, valid, _ = condition(replace(recording, blocks=blocks), STAGER_CHANNELS[:1])
    assert valid[1:-1].all()
    wave = np.exp(-2j * np.pi * 10 * np.arange(3000) / 100)
    phases = np.angle([signal[epoch, 0] @ wave for epoch in (2, epochs - 2)])
    assert phases[0] == pytest.approx(phases[1], abs=0.05)


def test_a_store_becomes_nights_once_and_again_when_its_sources_change(tmp_path: Path) -> None:
    store, out = tmp_path / "store", tmp_path / "nights"
    recording = _of_features()
    write_recording(store, recording)
    no_signal = _of_signals((Channel("SpO2", "spo2", "%", 1.0),), [np.full(60, 97, np.float32)], np.ones(60, np.bool_))
    write_recording(store, no_signal)
    made = tokenise(store, out)
    assert ([path.name for path in made.nights], made.nothing, made.failed) == (["SC4001E.parquet"], ("lab1",), ())
    direct = token_night(recording)
    assert direct is not None
    for name in ("shape", "level", "mask", "stage"):
        assert np.array_equal(getattr(read_token_night(made.nights[0]), name), getattr(direct, name))
    written = made.nights[0].stat().st_mtime_ns
    assert tokenise(store, out).nights[0].stat().st_mtime_ns == written
    write_recording(store, replace(recording, sources=(Source("a.npz", "2" * 64),)))
    assert tokenise(store, out).nights[0].stat().st_mtime_ns != written


def test_a_damaged_recording_is_said_and_an_empty_store_is_one_line(tmp_path: Path) -> None:
    write_recording(tmp_path / "store", _of_features())
    (tmp_path / "store" / "SC4001E" / "recording.json").write_text("{}")
    assert tokenise(tmp_path / "store", tmp_path / "out").failed[0].startswith("SC4001E")
    with pytest.raises(UserError, match="train ingest"):
        tokenise(tmp_path / "nothing", tmp_path / "out")


@needs_data
def test_a_raw_night_of_another_laboratory_becomes_tokens() -> None:
    night = token_night(ucddb.read(DATA / "ucddb_c3a2" / "ucddb022.npz"))
    assert night is not None
    assert len(night) == 787
    assert int(night.mask[:, 0].sum()) == 722
    assert not night.mask[:, 1:].any()
    assert (night.stage[night.mask[:, 0] == 0] == -1).all()
    counts = np.bincount(night.stage[night.stage >= 0], minlength=5)
    assert counts.tolist() == [266, 68, 213, 131, 44]
    delta = night.shape[:, 0, WAVELET_SHAPE]
    assert delta[night.stage == 3].mean() > delta[night.stage == 0].mean() + 0.3
