"""Streams, specs and chunks for the tests of conditioning and of the grid."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hypnostream.stream.channels import ChannelSpec, Derivation, Term
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.seconds import Seconds
from hypnostream.stream.source import ChannelInfo, Chunk, StreamInfo


def spec(name: str = "eeg", kind: str = "eeg", rate_hz: int = 100, unit: str = "uV", **filters: float) -> ChannelSpec:
    return ChannelSpec(name, kind, unit, rate_hz, (), filters.get("highpass_hz"), filters.get("lowpass_hz"))


def conditioner(
    rate_hz: float,
    specs: Sequence[ChannelSpec],
    terms: Sequence[tuple[Term, ...]] | None = None,
    t0_s: float = 0.0,
    limit: float | None = None,
    channels: int | None = None,
) -> StreamConditioner:
    """Of a stream with one raw channel a spec, unless `terms` say otherwise."""
    terms = terms or [(Term(i, 1.0),) for i in range(len(specs))]
    raw = ChannelInfo("raw", "uV", None if limit is None else -limit, limit)
    info = StreamInfo("stream", rate_hz, (raw,) * (channels or len(specs)))
    derivations = [Derivation(s, "stream", t, s.name, "") for s, t in zip(specs, terms, strict=True)]
    return StreamConditioner(info, derivations, range(len(specs)), t0_s)


def chunk(samples: NDArray[np.floating], timestamps: NDArray[np.float64]) -> Chunk:
    return Chunk("stream", samples.astype(np.float32), timestamps)


def brain(n: int, channels: int = 1, seed: int = 0) -> NDArray[np.float32]:
    """Something with the spectrum and the size of an EEG, (n, channels)."""
    noise = np.random.default_rng(seed).normal(0, 10, (n + 64, channels)).cumsum(axis=0)
    return np.asarray(noise[64:] - noise[:-64], np.float32)


def joined(blocks: Sequence[Seconds]) -> tuple[list[int], list[NDArray[np.float32]], NDArray[np.uint8]]:
    """The numbers of the seconds, the samples of each channel (n, rate), and the quality (channels, n)."""
    numbers = [second for block in blocks for second in range(block.start, block.start + block.count)]
    rows = range(len(blocks[0].channels))
    samples = [np.concatenate([block.samples[row] for block in blocks]) for row in rows]
    return numbers, samples, np.concatenate([block.quality for block in blocks], axis=1)
