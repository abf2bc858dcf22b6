"""Streams that are conditioned together: bit by bit what each is by itself, in calm and in trouble."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from hypnostream.stream.channels import Term
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.conditioning_together import emit_together
from hypnostream.stream.seconds import Seconds
from tests.stream.conditioning_cases import brain, chunk, conditioner, joined, spec

STREAMS = 6
SECONDS = 12


def montage(rate_hz: float, t0_s: float) -> StreamConditioner:
    """Two EEGs by difference, a filtered muscle and a slow channel, of four raw channels with limits."""
    specs = [
        spec("a", highpass_hz=0.3),
        spec("b", highpass_hz=0.3),
        spec("emg", kind="emg", highpass_hz=10.0),
        spec("slow", kind="flow", rate_hz=32, unit="", lowpass_hz=3.0),
    ]
    terms = [(Term(0, 1.0), Term(1, -1.0)), (Term(1, 1.0),), (Term(2, 0.5),), (Term(3, 1.0),)]
    return conditioner(rate_hz, specs, terms, t0_s, limit=400.0, channels=4)


def trouble(samples: NDArray[np.float32], stream: int, rate_hz: float) -> NDArray[np.float32]:
    """Stream 0 is well; the others have each their own: a NaN, a limit, silence, an absurd value, hum."""
    second = round(rate_hz)
    match stream:
        case 1:
            samples[5 * second + 3, 1] = np.nan
        case 2:
            samples[4 * second : 5 * second, 0] = 400.0
        case 3:
            samples[3 * second : 6 * second, 2] = 0.0
        case 4:
            samples[6 * second, 3] = 1e12
        case 5:
            samples[:, 1] += 80 * np.sin(2 * np.pi * 50 / rate_hz * np.arange(len(samples))).astype(np.float32)
    return samples


def played(rate_hz: float, chunk_s: float, together: bool) -> list[list[Seconds]]:
    """What comes of all streams, in pieces of about `chunk_s`; one of them loses a stretch."""
    beds = [montage(rate_hz, t0_s=-0.137 * stream) for stream in range(STREAMS)]
    n = round(SECONDS * rate_hz)
    signals = [trouble(brain(n, 4, seed=s), s, rate_hz) for s in range(STREAMS)]
    stamps = [np.arange(n) / rate_hz + 0.001 * stream for stream in range(STREAMS)]
    found: list[list[Seconds]] = [[] for _ in beds]
    size = max(1, round(chunk_s * rate_hz))
    for start in range(0, n, size):
        due = list[int]()
        for stream, bed in enumerate(beds):
            stop = min(n, start + size + stream)  # not all at the same sample
            begin = 0 if start == 0 else min(n, start + stream)
            if stream == 3 and 7 <= start / rate_hz < 9:
                continue
            piece = chunk(signals[stream][begin:stop], stamps[stream][begin:stop])
            found[stream] += bed.push(piece, hold=together)
            if bed.is_due:
                due.append(stream)
        if together:
            for stream, seconds in zip(due, emit_together([beds[s] for s in due]), strict=True):
                assert isinstance(seconds, list)
                found[stream] += seconds
    for stream, bed in enumerate(beds):
        found[stream] += bed.flush(SECONDS)
    return found


def same(ours: Sequence[Seconds], theirs: Sequence[Seconds]) -> None:
    (numbers, samples, quality), (numbers_, samples_, quality_) = joined(ours), joined(theirs)
    assert numbers == numbers_
    np.testing.assert_array_equal(quality, quality_)
    for a, b in zip(samples, samples_, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("rate_hz", "chunk_s"), [(256.0, 1.0), (256.0, 0.1), (100.0, 1.0), (200.5, 0.7), (128.0, 3.0)])
def test_together_they_are_what_each_is_by_itself(rate_hz: float, chunk_s: float) -> None:
    for ours, theirs in zip(played(rate_hz, chunk_s, True), played(rate_hz, chunk_s, False), strict=True):
        same(ours, theirs)


def test_calm_streams_of_one_kind_share_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is asked by itself, but for the first second, before which all is silence."""
    by_itself: list[int] = []
    emit = StreamConditioner.emit

    def seen(self: StreamConditioner, padded: bool = False, until: int | None = None) -> list[Seconds]:
        by_itself.append(self.next_second)
        return emit(self, padded, until)

    monkeypatch.setattr(StreamConditioner, "emit", seen)
    beds = [montage(256.0, 0.0) for _ in range(3)]
    signal, stamps = brain(256 * 6, 4), np.arange(256 * 6) / 256
    for second in range(6):
        part = slice(256 * second, 256 * (second + 1))
        for bed in beds:
            bed.push(chunk(signal[part], stamps[part]), hold=True)
        emit_together([bed for bed in beds if bed.is_due])
    assert [bed.next_second for bed in beds] == [5, 5, 5]
    assert [second for second in by_itself if second] == []


def test_an_error_of_one_is_its_own() -> None:
    beds = [montage(256.0, 0.0) for _ in range(3)]
    signal, stamps = brain(256 * 3, 4), np.arange(256 * 3) / 256
    for bed in beds:
        bed.push(chunk(signal[:512], stamps[:512]), hold=True)
    beds[1].state.pending = beds[1].state.pending[:2]  # it has lost its channels
    first, second, third = emit_together(beds)
    assert isinstance(second, Exception)
    assert isinstance(first, list)
    assert isinstance(third, list)
    same(first, third)
