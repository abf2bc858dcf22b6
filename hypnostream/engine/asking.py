"""Work that asks on its way for what is cheaper together: alone, each ask is answered at once; in a ward, with others.

Who works is a generator: it yields an `Ask`, is sent what it asked for, and returns what it has found. So the same code
runs either way, and a bed need not know of others. What may be asked for is in `asks`.
"""

from collections.abc import Generator, Hashable, Sequence
from typing import Protocol, TypeVar

_Found = TypeVar("_Found")


class Ask(Protocol):
    """Something that may be answered together with others of its `key`."""

    @property
    def key(self) -> Hashable:
        """Asks of equal keys are of one class and may be answered by one call."""
        ...

    def answer(self, asks: "Sequence[Ask]") -> Sequence[object]:
        """Answers to all of these, of whom this is one, in their order; an exception where one alone went wrong.

        When it raises, nothing was done of any of them, and each may be tried by itself.
        """
        ...


Asking = Generator[Ask, object, _Found]


def alone(asking: Asking[_Found]) -> _Found:
    """Answer what is asked at once, one ask after the other; what is found."""
    try:
        ask = next(asking)
        while True:
            (answer,) = ask.answer([ask])
            ask = asking.throw(answer) if isinstance(answer, Exception) else asking.send(answer)
    except StopIteration as end:
        found: _Found = end.value
        return found
