"""Indices of breathing in a line, for the terminal, the picture and messages."""

from collections.abc import Mapping, Sequence

from hypnostream.engine.respiration.event import APNEAS, AROUSAL, DESATURATION, HYPOPNEA
from hypnostream.engine.respiration.index import Index, Severity
from hypnostream.engine.respiration.indices import Count


def indices_line(indices: Sequence[Index]) -> str:
    """The first AHI, or REI where no sleep was seen, the ODI, time below 90 % and hypoxic burden; what is known of."""
    rates = [index for index in indices if index.name in ("AHI", "REI") and index.rule != "surrogate"]
    first = next((index for index in rates if index.value is not None), None)
    told = [index for index in indices if index.name not in ("AHI", "REI") and index.value is not None]
    parts = [] if first is None else [index_words(first)]
    surrogates = [index for index in indices if index.rule == "surrogate" and index.value is not None]
    parts += [index_words(index) for index in surrogates if index.numerator + index.preliminary]
    parts += [index_words(index) for index in told]
    return " · ".join(parts) or "no index yet"


def index_words(index: Index) -> str:
    """An index with its rule, its interval and what it rests on."""
    if index.value is None:
        return f"{index.name} ({index.rule}) not known"
    name = f"{index.name} {index.rule}" if index.name in ("AHI", "REI") else index.rule
    if index.name == "hypoxic burden":
        name = index.name
    words = f"{name} {index.value:.1f} {index.unit}"
    if index.name in ("AHI", "REI") and index.low is not None and index.high is not None:
        words += f" ({index.low:.1f}–{index.high:.1f}) {_basis(index)}"
    return words + (f", {index.preliminary} more may count" if index.preliminary else "")


def _basis(index: Index) -> str:
    """An REI is an index by recording time, and is said to be one wherever it stands."""
    if index.name == "REI":
        return f"by recording time, {index.hours:.1f} h"
    return f"of {index.hours:.1f} {index.denominator}"


def severity_words(severity: Severity) -> str:
    """A band with what it could as well be, and with both denominators."""
    band = severity.band if severity.low == severity.high else f"{severity.band} ({severity.low} to {severity.high})"
    sleep = "sleep not known" if severity.index.name == "REI" else f"{severity.sleep_hours:.1f} h of sleep"
    hours = f"{sleep}, {severity.recorded_hours:.1f} h recorded"
    return f"{severity.index.name} {severity.index.rule}: {band}; {hours}"


def counts_line(counts: Mapping[str, Count]) -> str:
    """How many events there were, settled and open."""
    told = []
    for kinds in (APNEAS, (HYPOPNEA,), (DESATURATION,), (AROUSAL,)):
        name = "apneas" if kinds == APNEAS else f"{kinds[0]}s"
        final = sum(counts[kind].final for kind in kinds)
        preliminary = sum(counts[kind].preliminary for kind in kinds)
        told.append(f"{final} {name}" + (f" and {preliminary} preliminary" if preliminary else ""))
    return ", ".join(told)
