"""By which rules people scored the stages that a model learned from: what its bundle, and so its messages, say."""

from collections.abc import Iterable

from hypnostream.training.nights.signal_night import SignalNight
from hypnostream.training.nights.token_night import TokenNight

RULES = {"AASM": "AASM", "R&K": "R&K, S3 and S4 as N3"}
UNKNOWN_RULE = "unknown"


def scoring_rule(nights: Iterable[TokenNight] | Iterable[SignalNight]) -> str:
    """The rules of all nights that have a stage, the commonest first: "R&K, S3 and S4 as N3; AASM"."""
    counts: dict[str, int] = {}
    for night in nights:
        if (night.stage >= 0).any():
            counts[night.scoring] = counts.get(night.scoring, 0) + 1
    rules = sorted(counts, key=lambda rule: (-counts[rule], rule))
    return "; ".join(dict.fromkeys(RULES.get(rule, UNKNOWN_RULE) for rule in rules)) or UNKNOWN_RULE
