"""What kind of event it is that a set's own words speak of."""

import re

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


def event_kind(words: str) -> str:
    """One of EVENT_KINDS for "Obstructive apnea", "Hypopnea", "SpO2 desaturation", "ASDA arousal", "PLM (Left)", ...

    An effort-related arousal (RERA) is none of them: "other".
    """
    said = words.casefold().replace("_", " ")
    if "rera" in said.split() or "effort related" in said:
        return "other"
    return next((kind for kind, pattern in _KINDS if pattern.search(said)), "other")
