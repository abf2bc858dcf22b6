"""What people call an event, in annotations and XML, and what other programs call ours."""

import re
from dataclasses import dataclass
from typing import Final

from hypnostream.engine.respiration.event import (
    APNEA,
    AROUSAL,
    CENTRAL_APNEA,
    DESATURATION,
    HYPOPNEA,
    MIXED_APNEA,
    OBSTRUCTIVE_APNEA,
)

_WORDS = (
    ("artefact", r"arte?i?fact"),
    ("desaturation", r"desat"),
    ("hypopnea", r"hypopn|\bhyp\b"),
    ("apnea_obstructive", r"obst\w*[ .\-]*apn|apn\w*[ .\-,(]*obst|\boa\b"),
    ("apnea_central", r"cent\w*[ .\-]*apn|apn\w*[ .\-,(]*cent|\bca\b"),
    ("apnea_mixed", r"mix\w*[ .\-]*apn|apn\w*[ .\-,(]*mix|\bma\b"),
    ("apnea", r"apno?ea"),
    ("arousal", r"arousal"),
    ("limb_movement", r"limb|\bleg|\bplm"),
)
_KINDS = tuple((kind, re.compile(pattern)) for kind, pattern in _WORDS)
_OURS: Final = {
    "apnea_obstructive": OBSTRUCTIVE_APNEA,
    "apnea_central": CENTRAL_APNEA,
    "apnea_mixed": MIXED_APNEA,
    "apnea": APNEA,
    "hypopnea": HYPOPNEA,
    "desaturation": DESATURATION,
    "arousal": AROUSAL,
}


@dataclass(frozen=True, slots=True)
class EventNames:
    """One kind in the words of others: an EDF+ annotation, type and concept in NSRR XML, and the class that NSRR's
    harmonised annotations and Luna have for it.
    """

    annotation: str
    nsrr_type: str
    nsrr_concept: str
    luna_class: str


_RESPIRATORY, _AROUSALS = "Respiratory|Respiratory", "Arousals|Arousals"
EVENT_NAMES: Final = {
    OBSTRUCTIVE_APNEA: EventNames(
        "Obstructive apnea", _RESPIRATORY, "Obstructive apnea|Obstructive Apnea", "apnea_obstructive"
    ),
    CENTRAL_APNEA: EventNames("Central apnea", _RESPIRATORY, "Central apnea|Central Apnea", "apnea_central"),
    MIXED_APNEA: EventNames("Mixed apnea", _RESPIRATORY, "Mixed apnea|Mixed Apnea", "apnea_mixed"),
    APNEA: EventNames("Apnea", _RESPIRATORY, "Apnea|Apnea", "apnea"),
    HYPOPNEA: EventNames("Hypopnea", _RESPIRATORY, "Hypopnea|Hypopnea", "hypopnea"),
    DESATURATION: EventNames("SpO2 desaturation", _RESPIRATORY, "SpO2 desaturation|SpO2 desaturation", "desat"),
    AROUSAL: EventNames("EEG arousal", _AROUSALS, "Arousal|Arousal ()", "arousal"),
}


def event_kind(words: str) -> str:
    """The kind of a recording's event for "Obstructive apnea", "Hypopnea", "SpO2 desaturation", "PLM (Left)", ...

    An effort-related arousal (RERA) is none of the kinds: "other".
    """
    said = words.casefold().replace("_", " ")
    if "rera" in said.split() or "effort related" in said:
        return "other"
    return next((kind for kind, pattern in _KINDS if pattern.search(said)), "other")


def named_event(words: str) -> str | None:
    """The kind of ours (`engine.respiration.event.KINDS`) that a text names, None when it names none of them."""
    return _OURS.get(event_kind(words))
