"""What a setting may be, said where settings are made: a recipe's mistake is known before anything is trained.

For `__post_init__`. Each looks at the attributes of these names, and of a tuple at each of its values; it raises
ValueError with the name, the value and what is allowed. Reading a recipe adds where in the file that is.
"""

import math
from collections.abc import Callable, Collection, Sequence


def at_least(least: float, settings: object, *names: str) -> None:
    """`least` or more."""
    _all(settings, names, lambda value: value >= least, f"{least} or more")


def above(bound: float, settings: object, *names: str) -> None:
    """More than `bound`."""
    _all(settings, names, lambda value: value > bound, f"above {bound}")


def between(low: float, high: float, settings: object, *names: str) -> None:
    """From `low` to `high`, both included."""
    _all(settings, names, lambda value: low <= value <= high, f"from {low} to {high}")


def inside(low: float, high: float, settings: object, *names: str) -> None:
    """Between `low` and `high`, neither included."""
    _all(settings, names, lambda value: low < value < high, f"above {low} and below {high}")


def below_one(settings: object, *names: str) -> None:
    """A share that leaves something: from 0 to below 1."""
    _all(settings, names, lambda value: 0 <= value < 1, "from 0 to below 1")


def one_of(known: Collection[str], settings: object, *names: str) -> None:
    """One of these words."""
    for name in names:
        value = getattr(settings, name)
        if value not in known:
            raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(known)}")


def _all(settings: object, names: Sequence[str], holds: Callable[[float], bool], allowed: str) -> None:
    for name in names:
        value = getattr(settings, name)
        for each in value if isinstance(value, tuple) else (value,):
            if not (math.isfinite(each) and holds(each)):
                raise ValueError(f"{name} is {shown(value)}; it must be {allowed}")


def shown(value: object) -> str:
    """As a recipe has it."""
    return str(list(value)) if isinstance(value, tuple) else str(value)
