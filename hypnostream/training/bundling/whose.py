"""Whose nights something was made of or measured on, in one line that a bundle or a table carries."""

from collections.abc import Sequence

from hypnostream.training.evaluation.report import is_simulated
from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.token_night import TokenNight

Nights = Sequence[TokenNight] | Sequence[SignalNight]


def whose(nights: Nights) -> str:
    """ "125 nights of 64 people of Sleep-EDF Expanded, real; 3 nights of 3 people of simulated, simulated"."""
    parts = []
    for name in sorted({night.set_name for night in nights}):
        mine = [night for night in nights if night.set_name == name]
        count, people = len(mine), len({night.subject for night in mine})
        kind = "simulated" if is_simulated(name) else "real"
        parts.append(
            f"{count} night{'s' * (count != 1)} of {people} {'people' if people != 1 else 'person'} of {name}, {kind}"
        )
    return "; ".join(parts) or "nobody"
