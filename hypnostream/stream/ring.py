"""A ring of samples with a stamp each: one writer, any number of readers that never disturb one another."""

import numpy as np
from numpy.typing import NDArray


class RingBuffer:
    """The last `capacity` samples of `channels` channels, with their timestamps.

    Appending costs what the chunk costs, however long the ring is. Every sample has an absolute number, counted from
    the first one ever appended. Not thread-safe: writer and readers share a thread or a lock.
    """

    def __init__(self, channels: int, capacity: int) -> None:
        if channels < 1 or capacity < 1:
            raise ValueError(f"a ring needs at least one channel and one sample, not {channels} and {capacity}")
        self._samples = np.zeros((capacity, channels), np.float32)
        self._timestamps = np.zeros(capacity, np.float64)
        self._total = 0

    @property
    def capacity(self) -> int:
        """How many samples the ring holds at most."""
        return len(self._timestamps)

    @property
    def total(self) -> int:
        """How many samples were ever appended: the absolute number of the next one."""
        return self._total

    @property
    def oldest(self) -> int:
        """The absolute number of the oldest sample that is still there."""
        return max(0, self._total - self.capacity)

    def append(self, samples: NDArray[np.float32], timestamps: NDArray[np.float64]) -> None:
        """Add `samples` (n, channels) and `timestamps` (n,) in seconds; of a chunk longer than the ring its end stays.

        Raises ValueError when the shapes do not fit.
        """
        n = len(timestamps)
        if samples.shape != (n, self._samples.shape[1]):
            raise ValueError(f"samples {samples.shape} do not fit {n} stamps of {self._samples.shape[1]} channels")
        kept = min(n, self.capacity)
        start = (self._total + n - kept) % self.capacity
        until_wrap = min(kept, self.capacity - start)
        for ring, new in ((self._samples, samples[n - kept :]), (self._timestamps, timestamps[n - kept :])):
            ring[start : start + until_wrap] = new[:until_wrap]
            ring[: kept - until_wrap] = new[until_wrap:]
        self._total += n

    def slice(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Copies of the samples with absolute numbers [start, stop), all of which must still be there."""
        if not self.oldest <= start <= stop <= self._total:
            raise ValueError(
                f"samples {start} to {stop} are not all in the ring, which has {self.oldest} to {self._total}"
            )
        first = start % self.capacity
        until_wrap = min(stop - start, self.capacity - first)
        rest = stop - start - until_wrap
        return (
            np.concatenate((self._samples[first : first + until_wrap], self._samples[:rest])),
            np.concatenate((self._timestamps[first : first + until_wrap], self._timestamps[:rest])),
        )

    def reader(self, from_oldest: bool = False) -> "Reader":
        """A new reader that begins with the next sample, or with the oldest that is still there."""
        return Reader(self, self.oldest if from_oldest else self._total)


class Reader:
    """A cursor in a ring. `position` is the absolute number of the next sample that it will see.

    `lost` counts the samples that were overwritten before this reader saw them.
    """

    def __init__(self, ring: RingBuffer, position: int) -> None:
        self._ring = ring
        self.position = position
        self.lost = 0

    def read(self) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """What is new since the last read, oldest first: samples (n, channels) and timestamps (n,), both copies.

        A gap in the recording is a jump of the timestamps, just as it was appended.
        """
        start = max(self.position, self._ring.oldest)
        self.lost += start - self.position
        self.position = self._ring.total
        return self._ring.slice(start, self.position)
