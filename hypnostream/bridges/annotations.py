"""What was annotated in a night, for its report: the time base, the list, and how long each position was held."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from hypnostream.bridges.atomic import write_atomically
from hypnostream.bridges.stage_names import named_stage
from hypnostream.stream.markers import LIGHTS_OFF, LIGHTS_ON, bounded, lights, positions, read_marker
from hypnostream.stream.source import Annotation
from hypnostream.stream.stages import EPOCH_S, UNSCORED

MOST_IN_SUMMARY: Final = 1000  # a scored EDF+ may hold tens of thousands; all of them are in the table
MOST: Final = 100_000


class AnnotationSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One annotation. `meaning` is lights_off, lights_on, position or note; `position` is given where it is one.

    `onset_s` is stream time, `epoch` the one that it falls in (null outside of the night), `origin` the marker stream
    that said it, "" the recording itself.
    """

    onset_s: float
    duration_s: float
    epoch: int | None
    meaning: str
    position: str | None
    text: str
    origin: str


class PositionTime(msgspec.Struct, frozen=True, kw_only=True):
    """Minutes in one position between lights off and lights on: of them all, and of those asleep."""

    total_min: float
    sleep_min: float


@dataclass(frozen=True, slots=True)
class NightAnnotations:
    """The annotations of one night, by onset, and what follows from them. Times are stream time, `t0_s` is epoch 0's.

    `lights_off_s` and `lights_on_s` are None where no marker says it.
    """

    t0_s: float
    epochs: int
    listed: tuple[AnnotationSummary, ...]
    lights_off_s: float | None
    lights_on_s: float | None
    warnings: tuple[str, ...]
    position_min: dict[str, PositionTime]

    @property
    def from_start(self) -> tuple[float | None, float | None]:
        """Lights off and on in seconds from the beginning of epoch 0."""
        off_s, on_s = self.lights_off_s, self.lights_on_s
        return None if off_s is None else off_s - self.t0_s, None if on_s is None else on_s - self.t0_s

    @property
    def notes(self) -> tuple[tuple[float, str], ...]:
        """(seconds from epoch 0, text) of what a person may have written; stages and lights are shown otherwise."""
        return tuple(
            (each.onset_s - self.t0_s, each.position or each.text)
            for each in self.listed
            if each.meaning not in (LIGHTS_OFF, LIGHTS_ON) and each.epoch is not None and named_stage(each.text) is None
        )


def night_annotations(
    annotations: Sequence[Annotation], hypnogram: NDArray[np.integer], t0_s: float
) -> NightAnnotations:
    """What a report says of annotations, beside a hypnogram (epochs,) whose epoch 0 begins at stream time `t0_s`."""
    believed = [bounded(a) for a in annotations[:MOST] if math.isfinite(a.onset_s) and math.isfinite(a.duration_s)]
    believed.sort(key=lambda a: a.onset_s)
    warnings = []
    if len(believed) < len(annotations):
        warnings.append(f"{len(annotations) - len(believed)} of {len(annotations)} annotations were left out")
    off_s, on_s = lights(believed)
    end_s = t0_s + hypnogram.size * EPOCH_S
    if off_s is not None and not t0_s <= off_s < end_s:
        warnings.append(f"lights off at {off_s:.0f} s is outside of the recording; its statistics begin with it")
        off_s = None
    if on_s is not None and not max(t0_s, off_s or t0_s) < on_s:
        warnings.append(f"lights on at {on_s:.0f} s is before the recording; its statistics end with it")
        on_s = None
    return NightAnnotations(
        t0_s=t0_s,
        epochs=hypnogram.size,
        listed=tuple(_summary(each, hypnogram.size, t0_s) for each in believed),
        lights_off_s=off_s,
        lights_on_s=on_s,
        warnings=tuple(warnings),
        position_min=_position_min(believed, hypnogram, t0_s, off_s, on_s),
    )


def write_annotations(path: Path, annotations: NightAnnotations) -> None:
    """All of them as a Parquet table, one row each; without any, an earlier table is removed. Raises OSError."""
    if not annotations.listed:
        path.unlink(missing_ok=True)
        return
    import pyarrow
    from pyarrow import parquet

    rows = annotations.listed
    columns = {
        "onset_s": pyarrow.array([row.onset_s for row in rows], pyarrow.float64()),
        "duration_s": pyarrow.array([row.duration_s for row in rows], pyarrow.float64()),
        "epoch": pyarrow.array([row.epoch for row in rows], pyarrow.int32()),
        **{
            name: pyarrow.array([getattr(row, name) for row in rows], pyarrow.string())
            for name in ("meaning", "position", "text", "origin")
        },
    }
    data = BytesIO()
    parquet.write_table(pyarrow.table(columns), data)
    write_atomically(path, data.getvalue())


def _summary(annotation: Annotation, epochs: int, t0_s: float) -> AnnotationSummary:
    marker = read_marker(annotation.text, annotation.origin)
    epoch = math.floor((annotation.onset_s - t0_s) / EPOCH_S)
    return AnnotationSummary(
        onset_s=annotation.onset_s,
        duration_s=annotation.duration_s,
        epoch=epoch if 0 <= epoch < epochs else None,
        meaning=marker.kind,
        position=marker.position or None,
        text=annotation.text,
        origin=annotation.origin,
    )


def _position_min(
    annotations: Sequence[Annotation],
    hypnogram: NDArray[np.integer],
    t0_s: float,
    off_s: float | None,
    on_s: float | None,
) -> dict[str, PositionTime]:
    """An epoch is of the position that was held at its middle."""
    middles_s = t0_s + (np.arange(hypnogram.size) + 0.5) * EPOCH_S
    counted = (middles_s >= (-math.inf if off_s is None else off_s)) & (
        middles_s < (math.inf if on_s is None else on_s)
    )
    asleep = (hypnogram > 0) & (hypnogram != UNSCORED)
    epochs: dict[str, tuple[int, int]] = {}
    for span in positions(annotations):
        held = counted & (middles_s >= span.start_s) & (middles_s < (math.inf if span.end_s is None else span.end_s))
        total, sleep = epochs.get(span.position, (0, 0))
        epochs[span.position] = total + int(held.sum()), sleep + int((held & asleep).sum())
    return {
        position: PositionTime(total_min=total * EPOCH_S / 60, sleep_min=sleep * EPOCH_S / 60)
        for position, (total, sleep) in sorted(epochs.items())
    }
