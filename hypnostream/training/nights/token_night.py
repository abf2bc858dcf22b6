"""One night as the stager sees it, epoch by epoch, and its Parquet file.

Whatever a set of recordings holds (stored features, raw signal), ingest turns it into this one form: for each epoch
and channel a shape, a level and whether it was there, and the stage that people gave.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hypnostream.errors import UserError
from hypnostream.models.token_features import LEVEL, SHAPE

FORMAT = "hypnostream-token-night-1"


@dataclass(frozen=True, slots=True)
class TokenNight:
    """`shape` (N, C, 19), `level` (N, C, 7), `mask` (N, C) in 0/1, `stage` (N,) in STAGES' order, -1 unscored.

    `scoring` is the rule that its stages were given by ("R&K", "AASM"), "" where nobody says.
    """

    name: str
    subject: str
    set_name: str
    licence: str
    source_sha256: str
    shape: NDArray[np.float32]
    level: NDArray[np.float32]
    mask: NDArray[np.float32]
    stage: NDArray[np.int8]
    scoring: str = ""

    def __len__(self) -> int:
        return len(self.stage)


def write_token_night(path: Path, night: TokenNight) -> None:
    """One row an epoch; the arrays as fixed-size lists. Written whole or not at all."""

    def lists(array: NDArray[np.float32]) -> "pa.FixedSizeListArray[Any]":
        flat = np.ascontiguousarray(array.reshape(len(night), -1))
        return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), flat.shape[1])

    table = pa.table(
        {
            "epoch": np.arange(len(night), dtype=np.int32),
            "stage": night.stage,
            "shape": lists(night.shape),
            "level": lists(night.level),
            "mask": lists(night.mask),
        }
    )
    metadata = {
        "format": FORMAT,
        "name": night.name,
        "subject": night.subject,
        "set": night.set_name,
        "licence": night.licence,
        "source_sha256": night.source_sha256,
        "scoring": night.scoring,
    }
    partial = path.with_suffix(".partial")
    pq.write_table(table.replace_schema_metadata(metadata), partial, compression="zstd")
    partial.replace(path)


def read_token_night(path: Path) -> TokenNight:
    """Read one night back. Raises UserError when the file is none of ours."""
    try:
        table = pq.read_table(path)
        found = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items() if k != b"ARROW:schema"}
        if found.get("format") != FORMAT:
            raise UserError(f"{path}: format is {found.get('format')!r}, {FORMAT!r} is needed. Ingest the set again.")

        def values(column: str) -> NDArray[np.float32]:
            whole = pc.list_flatten(table.column(column)).to_numpy()
            return np.asarray(whole, np.float32)

        count = table.num_rows
        mask = values("mask").reshape(count, -1)
        return TokenNight(
            name=found["name"],
            subject=found["subject"],
            set_name=found["set"],
            licence=found["licence"],
            source_sha256=found["source_sha256"],
            shape=values("shape").reshape(count, mask.shape[1], SHAPE),
            level=values("level").reshape(count, mask.shape[1], LEVEL),
            mask=mask,
            stage=table.column("stage").to_numpy().astype(np.int8),
            scoring=found.get("scoring", ""),
        )
    except (pa.ArrowInvalid, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is no night that ingest wrote: {reason}. Ingest the set again.") from error
