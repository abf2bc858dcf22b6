"""Stored recordings to the stager's token nights, one Parquet file each.

A recording comes with stored features (Sleep-EDF's) or with signals; those go through the conditioning and the
front-end that run live, so that any laboratory's nights train the same stager.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hypnostream.errors import UserError
from hypnostream.models.token_features import (
    BAND_LEVEL,
    LEVEL,
    SHAPE,
    WAVELET_LEVEL,
    WAVELET_SHAPE,
    SpectralTokens,
    band_shape,
    wavelet_level,
    wavelet_shape,
)
from hypnostream.training.nights.channels import BANDS, MIN_VALID_S, STAGER_CHANNELS, WAVELET
from hypnostream.training.nights.conditioned import condition
from hypnostream.training.nights.token_night import TokenNight, write_token_night
from hypnostream.training.recordings.recording import UNKNOWN, Recording, one_hash
from hypnostream.training.recordings.recording_file import RecordingFile, read_recording_file
from hypnostream.training.recordings.sets import sleep_edfx
from hypnostream.training.recordings.store import read_recording, recordings_in

Tokens = tuple[Tensor, Tensor, Tensor]  # shape (N, 3, 19), level (N, 3, 7), mask (N, 3) in 0/1


def token_night(recording: Recording) -> TokenNight | None:
    """A recording as the stager sees it; None when it has neither features nor a signal that the stager could use.

    An epoch is scored when somebody did and one of its channels is there.
    """
    if sleep_edfx.BANDS in recording.features:
        tokens = tokens_of_features(
            torch.from_numpy(np.array(recording.features[sleep_edfx.WAVELET])),  # a copy: what is read is not writable
            torch.from_numpy(np.array(recording.features[sleep_edfx.BANDS])),
        )
    else:
        found = tokens_of_signals(recording)
        if found is None:
            return None
        tokens = found
    shape, level, mask = tokens
    keep = mask.unsqueeze(-1)
    stages = np.full(recording.epochs, UNKNOWN, np.int8) if recording.stages is None else recording.stages
    return TokenNight(
        name=recording.name,
        subject=recording.subject,
        set_name=recording.set_name,
        licence=recording.licence,
        source_sha256=recording.source_sha256,
        shape=(shape * keep).numpy().astype(np.float32),
        level=(level * keep).numpy().astype(np.float32),
        mask=mask.numpy().astype(np.float32),
        stage=np.where(mask.numpy().any(axis=1), stages, UNKNOWN).astype(np.int8),
        scoring=recording.scoring,
    )


def tokens_of_features(wavelet: Tensor, bandpower: Tensor) -> Tokens:
    """From the 34 of Fpz-Cz (N, 34), NaN where there are none, and the band powers of three channels (N, 3, 10).

    The stored absolute band powers are of a signal that was z-scored over the recording: a constant offset of their
    logarithm, which the running level takes away, so that they serve as levels.
    """
    count = len(bandpower)
    ln_power = bandpower[:, :, :5].contiguous()
    mask = torch.isfinite(ln_power).all(-1).to(torch.float32)  # (N, 3)
    ln_power = torch.nan_to_num(ln_power)
    shape, level = torch.zeros(count, 3, SHAPE), torch.zeros(count, 3, LEVEL)
    for channel, kept in enumerate(BANDS):
        shape[:, channel, WAVELET_SHAPE:] = band_shape(ln_power[:, channel], kept)
        level[:, channel, WAVELET_LEVEL : WAVELET_LEVEL + min(kept, BAND_LEVEL)] = ln_power[:, channel, :kept]
    known = torch.isfinite(wavelet).all(-1)  # (N,)
    shape[known, 0, :WAVELET_SHAPE] = wavelet_shape(wavelet[known])
    level[known, 0, :WAVELET_LEVEL] = wavelet_level(wavelet[known])
    mask[~known, 0] = 0
    return shape, level, mask


def tokens_of_signals(recording: Recording) -> Tokens | None:
    """From the EEG and EOG that the montage resolver finds; None when it finds none."""
    signal, valid, montage = condition(recording, STAGER_CHANNELS)
    if not montage.derivations:
        return None
    served = {derivation.spec.name for derivation in montage.derivations}
    shape, level = torch.zeros(recording.epochs, 3, SHAPE), torch.zeros(recording.epochs, 3, LEVEL)
    mask = torch.zeros(recording.epochs, 3)
    for channel, spec in enumerate(STAGER_CHANNELS):
        if spec.name in served:
            found = _one_channel(signal[:, channel : channel + 1], valid[:, channel : channel + 1], channel)
            shape[:, channel], level[:, channel], mask[:, channel] = (each[:, 0].float() for each in found)
    return shape, level, mask


def _one_channel(signal: NDArray[np.float32], valid: NDArray[np.float32], channel: int) -> Tokens:
    """A channel alone, in float64 as the export's reference is: (N, 1, 19), (N, 1, 7), (N, 1)."""
    front_end = SpectralTokens((WAVELET[channel],), (BANDS[channel],), MIN_VALID_S).double()
    with torch.no_grad():
        shape, level, mask = front_end(torch.from_numpy(signal).double(), torch.from_numpy(valid).double())
    return shape, level, mask


@dataclass(frozen=True, slots=True)
class Tokenised:
    """What became of a store: files of `nights`, names with `nothing` for the stager, a line for each that `failed`."""

    nights: tuple[Path, ...]
    nothing: tuple[str, ...]
    failed: tuple[str, ...]


def tokenise(recordings: Path, out: Path, progress: Callable[[int, int, str], None] = lambda *_: None) -> Tokenised:
    """Turn each stored recording under `recordings` into `out`/NAME.parquet where it is not that already.

    It is when it was made of sources of the same hashes, scored by the same rule. `progress` is told how many are done,
    of how many, and which is next. Raises UserError when there is no recording.
    """
    folders = recordings_in(recordings)
    if not folders:
        raise UserError(f"{recordings} holds no stored recording; make them with `hypnostream train ingest`.")
    out.mkdir(parents=True, exist_ok=True)
    nights: list[Path] = []
    nothing: list[str] = []
    failed: list[str] = []
    for done, folder in enumerate(folders):
        progress(done, len(folders), folder.name)
        target = out / f"{folder.name}.parquet"
        try:
            content = read_recording_file(folder)
            if not target.exists() or _made_of(target) != (one_hash(content.sources), content.scoring):
                night = token_night(read_recording(folder)) if _may_have_tokens(content) else None
                if night is None:
                    nothing.append(folder.name)
                    continue
                write_token_night(target, night)
            nights.append(target)
        except UserError as error:
            failed.append(f"{folder.name}: {error}")
    progress(len(folders), len(folders), "")
    return Tokenised(tuple(nights), tuple(nothing), tuple(failed))


def _may_have_tokens(content: RecordingFile) -> bool:
    """Whether it is worth reading: features, or a signal of a kind that the stager takes."""
    kinds = {spec.kind for spec in STAGER_CHANNELS}
    return sleep_edfx.BANDS in content.features or any(channel.kind in kinds for channel in content.channels)


def _made_of(target: Path) -> tuple[str, str] | None:
    """The hash of what an existing night was made of and its scoring rule, None when they cannot be read."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(target).metadata or {}
        return metadata[b"source_sha256"].decode(), metadata[b"scoring"].decode()
    except (OSError, ValueError, KeyError):
        return None
