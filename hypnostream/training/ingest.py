"""Sets of recordings in, token nights out: one Parquet file a night.

Two sets so far: the per-epoch features of Sleep-EDF Expanded (`sleep_edfx_features/`), and the raw single EEG of
UCDDB (`ucddb_c3a2/`), which goes through the same conditioning and the same front-end as a live stream.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
from hypnostream.training.channels import BANDS, MIN_VALID_S, STAGER_CHANNELS, WAVELET
from hypnostream.training.token_night import TokenNight, write_token_night

SLEEP_EDF = "Sleep-EDF Expanded"
UCDDB = "UCDDB"
ODC_BY = "ODC-By 1.0"
# R&K as UCDDB codes it: 0 W, 1 REM, 2 S1, 3 S2, 4 S3, 5 S4, 6 artefact, 7 indeterminate, 8 unscored.
UCDDB_STAGES = np.array([0, 4, 1, 2, 3, 3, -1, -1, -1], np.int8)
UCDDB_UV_PER_UNIT = 100.0


def ingest(data: Path, out: Path, progress: Callable[[str, int, int], None] = lambda *_: None) -> list[str]:
    """Turn every night found under `data` into `out`/NAME.parquet. Returns what was skipped, one line each."""
    readers: list[tuple[Path, Callable[[Path], TokenNight]]] = []
    readers += [(p, read_sleep_edf_features) for p in sorted((data / "sleep_edfx_features").glob("SC*.npz"))]
    readers += [(p, read_ucddb) for p in sorted((data / "ucddb_c3a2").glob("ucddb*.npz"))]
    if not readers:
        raise UserError(f"{data} holds neither sleep_edfx_features/SC*.npz nor ucddb_c3a2/*.npz; name the data folder.")
    out.mkdir(parents=True, exist_ok=True)
    skipped = []
    for done, (path, read) in enumerate(readers):
        progress(path.name, done, len(readers))
        target = out / f"{path.stem}.parquet"
        digest = _sha256(path)
        if target.exists() and _source_of(target) == digest:
            continue
        try:
            night = read(path)
        except (OSError, KeyError, ValueError) as error:
            skipped.append(f"{path.name}: {error}")
            continue
        write_token_night(target, night)
    progress("", len(readers), len(readers))
    return skipped


def read_sleep_edf_features(path: Path) -> TokenNight:
    """One night of stored features: 34 of Fpz-Cz, band powers of Fpz-Cz, Pz-Oz and the horizontal EOG.

    The stored absolute band powers are of a signal that was z-scored over the recording: a constant offset of their
    logarithm, which the running level takes away, so that they serve as levels.
    """
    with np.load(path, allow_pickle=False) as file:
        labels, features, bands = file["labels"], file["eeg_fpzcz34"], file["bandpower"]
    count = len(labels)
    stage = np.where(labels == -100, -1, labels).astype(np.int8)
    ln_power = torch.from_numpy(np.ascontiguousarray(bands[:, :, :5]))
    there = torch.isfinite(ln_power).all(-1)  # (N, 3)
    ln_power = torch.nan_to_num(ln_power)
    shape, level = torch.zeros(count, 3, SHAPE), torch.zeros(count, 3, LEVEL)
    for channel, kept in enumerate(BANDS):
        shape[:, channel, WAVELET_SHAPE:] = band_shape(ln_power[:, channel], kept)
        level[:, channel, WAVELET_LEVEL : WAVELET_LEVEL + min(kept, BAND_LEVEL)] = ln_power[:, channel, :kept]
    known = len(features)  # the missing rows are at the end
    wavelet = torch.from_numpy(features)
    shape[:known, 0, :WAVELET_SHAPE] = wavelet_shape(wavelet)
    level[:known, 0, :WAVELET_LEVEL] = wavelet_level(wavelet)
    mask = there.to(torch.float32)
    mask[known:, 0] = 0
    name = path.stem[:7]
    return _night(name, f"SC{path.stem[3:5]}", SLEEP_EDF, path, shape, level, mask, stage)


def read_ucddb(path: Path) -> TokenNight:
    """One night of raw EEG C3-A2 at 128 Hz, epochs that are not there masked."""
    with np.load(path, allow_pickle=False) as file:
        raw, index, stages = file["eeg_i16"], file["epoch_index"].astype(int), file["stage"]
        scale, rate = float(file["scale"]), float(file["fs"])
    microvolts = raw.astype(np.float32) * np.float32(scale * UCDDB_UV_PER_UNIT)
    shape, level, mask = tokens_of_signal(microvolts, index, len(stages), rate)
    stage = np.where(mask[:, 0].numpy() > 0, UCDDB_STAGES[np.clip(stages, 0, 8)], -1).astype(np.int8)
    return _night(path.stem, path.stem, UCDDB, path, shape, level, mask, stage)


def tokens_of_signal(
    microvolts: NDArray[np.float32], index: NDArray[np.int64], epochs: int, rate_hz: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One EEG's epochs (M, samples), epoch `index` (M,) each, through the live conditioning and the front-end.

    Returns shape (epochs, 3, 19), level (epochs, 3, 7) and mask (epochs, 3); the EEG is the first channel.
    """
    from hypnostream.training.live_conditioning import condition_epochs

    signal, valid = condition_epochs(microvolts, index, epochs, rate_hz, STAGER_CHANNELS[0])
    tokens = SpectralTokens(WAVELET[:1], BANDS[:1], MIN_VALID_S)
    tokens.double()
    with torch.no_grad():
        shape, level, mask = tokens(torch.from_numpy(signal).double(), torch.from_numpy(valid).double())
    absent = len(STAGER_CHANNELS) - 1
    return (
        torch.nn.functional.pad(shape, (0, 0, 0, absent)).float(),
        torch.nn.functional.pad(level, (0, 0, 0, absent)).float(),
        torch.nn.functional.pad(mask, (0, absent)).float(),
    )


def _night(
    name: str,
    subject: str,
    set_name: str,
    path: Path,
    shape: torch.Tensor,
    level: torch.Tensor,
    mask: torch.Tensor,
    stage: NDArray[np.int8],
) -> TokenNight:
    keep = mask.unsqueeze(-1)
    return TokenNight(
        name=name,
        subject=subject,
        set_name=set_name,
        licence=ODC_BY,
        source_sha256=_sha256(path),
        shape=(shape * keep).numpy().astype(np.float32),
        level=(level * keep).numpy().astype(np.float32),
        mask=mask.numpy().astype(np.float32),
        stage=stage,
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _source_of(target: Path) -> str | None:
    """The hash of what an existing night was made of, None when it cannot be read."""
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_schema(target).metadata or {}
    except (OSError, ValueError):
        return None
    found = metadata.get(b"source_sha256")
    return found.decode() if found else None


def nights_in(folder: Path) -> Iterator[Path]:
    """The Parquet files of ingested nights, in order of their names."""
    yield from sorted(folder.glob("*.parquet"))
