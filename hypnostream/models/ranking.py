"""The largest of a few tensors, element by element, by a fixed network of maxima and minima.

A sort along an axis takes its rows one by one; a network takes whole tensors, and so is many times faster for a batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def largest(tensors: Sequence[Tensor], count: int) -> list[Tensor]:
    """The `count` largest at each place of tensors of one shape, falling. The same numbers as a sort, bit by bit."""
    ranked = list(tensors)
    for upper, lower, keeps_lower in exchanges(len(ranked), count):
        a, b = ranked[upper], ranked[lower]
        ranked[upper] = torch.maximum(a, b)
        if keeps_lower:
            ranked[lower] = torch.minimum(a, b)
    return ranked[:count]


def exchanges(n: int, count: int) -> list[tuple[int, int, bool]]:
    """Which two places of `n` are put in order, one pair after the other, until the first `count` are the largest.

    Batcher's merge exchange (Knuth, The Art of Computer Programming, 5.2.2 M), without the pairs that only order what
    comes behind. The third says whether anyone asks for the smaller of the two.
    """
    pairs = list[tuple[int, int]]()
    top = p = 1 << max(0, (n - 1).bit_length() - 1)
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    wanted, needed = set(range(count)), list[tuple[int, int, bool]]()
    for upper, lower in reversed(pairs):
        if upper in wanted or lower in wanted:
            needed.append((upper, lower, lower in wanted))
            wanted |= {upper, lower}
    return needed[::-1]
