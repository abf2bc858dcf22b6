"""What a channel's label says: the one vocabulary of canonical names, and how the world spells them.

Canonical names are those of the AASM manual and of the 10-10 system: electrodes "C4", "M1" (mastoid), "E1" (left eye),
"Chin1", "ECG1"; a derivation "C4-M1" is the first minus the second; sensors that are no electrode pair have one name
("EMG chin", "ECG", "Nasal pressure", "Thermistor", "Airflow", "Thorax", "Abdomen", "SpO2"). Spellings were collected
from the montage pages of the National Sleep Research Resource, PhysioNet, and the exports of the usual recorders.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Reading:
    """A label understood. `plus` is an electrode or a sensor, `minus` the electrode it was recorded against.

    `kind` is a ChannelSpec's kind, "reference" for a mastoid alone, "other" for what is no wanted signal (impedances,
    derived series), "" for a label that says nothing. `treatment` is "raw", "filtered" or "". `assumption` is what the
    label left open and how it was taken, as a clause for people.
    """

    kind: str
    plus: str
    minus: str = ""
    treatment: str = ""
    assumption: str = ""

    @property
    def name(self) -> str:
        """The canonical name, "C4-M1" or "SpO2"; "" for a label that says nothing."""
        return f"{self.plus}-{self.minus}" if self.minus else self.plus


# Reference nodes that are no single place on the head. "" is a reference that the label does not state.
COMMON_REFERENCES: Final = ("", "REF", "AVG")

# Sensors by name: the first whose pattern is found in the words of the label, so what is derived from a signal stands
# before the signal itself ("Pulse Waveform" before "Pulse", "SpO2 status" before "SpO2").
_SENSORS: Final = tuple(
    (name, kind, re.compile(pattern))
    for name, kind, pattern in (
        ("Impedance", "other", r"\bimp(?!ul)|\bk?ohms?\b"),
        (
            "Status or calibration",
            "other",
            r"\boff\b|\bstat(us)?\b|oxstat|quality|\bqual\b|\bcal\b|^k$|\bhypno|\bstage\b",
        ),
        ("Plethysmogram", "other", r"pleth|\bppg\b|pulse ?wave|\bpw[av]\b|\bptt\b"),
        ("Pulse rate", "other", r"\b(pr|d?hr|h r|hrate|bpm)\b|heart ?(rate|freq)|puls(?!\w* ?ox)|\bhrv\b"),
        ("Respiratory rate", "other", r"resp\w* ?(rate|freq)|breath\w* ?rate|\brr\b|\brmi\b"),
        ("Flow limitation", "other", r"limitation|flow ?lim"),
        ("Snore or sound", "other", r"snor|schnarch|ronfl|\bmic\b|microphone|sound|audio|\bson\b"),
        ("Position", "other", r"\bpos\b|posi[ct]|pos(ition)?angle|body ?pos|^body$|elevation|\blage\b|actimet"),
        ("Movement", "other", r"\b[xyz] ?(axis|achse)|\bacc|activ|gyro|magnet|motion|movement"),
        (
            "Limb movement",
            "other",
            r"leg\b|\bleg|\b[lr]at\b|\btib|tib\b|\bplm|jambe|\bbein|\b[lr]?arms?\b|limb|\bfds\b",
        ),
        ("Other muscle", "other", r"masseter|intercos|diaphrag|frontalis|\bemg ?aux"),
        ("Belt sum or phase", "other", r"\bx?sum(me)?\b|ripsum|x ?flow|rip ?flow|phase|\binduct"),
        ("Therapy", "other", r"[cb]i?pap|\bmask|leak|tidal|\b[ei]pap\b"),
        ("Carbon dioxide", "other", r"co2|capno|\bcap\b"),
        ("Temperature", "other", r"\btemp(erature)?\b|body ?temp"),
        ("Light", "other", r"\blight\b|\blux\b|\blumi"),
        ("Device state", "other", r"batter|voltage|bluetoo|\brssi\b"),
        ("Marker", "other", r"mark|\bevent|annot|trig|\bstim|button|counter|time ?stamp|sample ?(num|count)"),
        ("SpO2", "spo2", r"\bs[pa] ?[o0] ?2|\bo2 ?sat|oxim|oxyg|satur|\bsat\b|\bosat|\box\b|spo2\b|sao2\b"),
        ("Thermistor", "flow", r"therm|oro ?nas|nas\w* ?o?ral|\boral|mouth|flow ?th\b"),
        ("Nasal pressure", "flow", r"ptaf|nas(al)?\b(?! ?(air)? ?flow)|cann?ula|druck|\bpres(s|sure|sion)?\b|pneumo"),
        ("Thorax", "effort", r"thor|\bthr?x\b|\btho\b|\bth\b|chest|\brib|brust|poitrine"),
        ("Abdomen", "effort", r"abd|belly|bauch|\bventre\b"),
        ("Airflow", "flow", r"air ?flow|flow\b|^flow|\bair\b|new ?a f|\bdebit"),
        ("EOG vertical", "eog", r"eog ?v(ert\w*)?$|\bveog|vert\w* ?eog"),
        ("EMG chin", "emg", r"chin|mental|menton|\bkinn|\bemg\b"),
        ("ECG", "ecg", r"\be[ck]g|e[ck]g\b"),
    )
)

_OLD_NAMES: Final = {"A1": "M1", "A2": "M2", "T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
_MASTOIDS: Final = ("M1", "M2")
_SITE: Final = re.compile(
    r"fpz|fp[12]|af[z3478]|f(?:z|10|[1-9])|f[ct](?:z|10|[1-9])|cp?[z1-6]|t(?:10|[1-9])|tp(?:10|[789])|p(?:z|10|[1-9])"
    r"|po[z3478]|o[z12]|[in]z|[am][12]|pg[12]"
)
_SIDE: Final = r"(?:horiz\w*|lat\w*)?"
_PLACES: Final = tuple(
    (name, kind, re.compile(pattern))
    for name, kind, pattern in (
        ("E1", "eog", rf"e1|loc|l(?:eft)?eog|eog(?:l|li|left|links|1){_SIDE}|l(?:eft)?eye|eyel(?:eft)?|oeilgauche"),
        ("E2", "eog", rf"e2|roc|r(?:ight)?eog|eog(?:r|re|right|rechts|2){_SIDE}|r(?:ight)?eye|eyer(?:ight)?|oeildroit"),
        ("Chin1", "emg", r"(?:emg)?chin(?:1|l|left)|l(?:eft)?chin|emg1"),
        ("Chin2", "emg", r"(?:emg)?chin(?:2|r|right)|r(?:ight)?chin|emg2"),
        ("Chin3", "emg", r"(?:emg)?chin(?:3|c|ctr|cent[er]{2})|c(?:ent[er]{2})?chin|emg3"),
        ("ECG1", "ecg", r"e[ck]g(?:1|l|left)"),
        ("ECG2", "ecg", r"e[ck]g(?:2|r|right)"),
        ("ECG3", "ecg", r"e[ck]g3"),
    )
)
_REFERENCES: Final = (
    ("LE", re.compile(r"c?le|ler|lm|[am]1[am]2|[am]12|linked\w*")),
    ("REF", re.compile(r"c?ref(?:erence)?")),
    ("AVG", re.compile(r"avg?|average|car")),
)
_PREFIX: Final = re.compile(r"psg|pol|bip|channel|chan|ch|eeg|eog|emg|e[ck]g")
_HORIZONTAL: Final = re.compile(r"eogh?(?:oriz\w*|or)?|heog|horiz\w*eog")
_UNNAMED_EEG: Final = re.compile(r"eeg(?:ch(?:annel)?)?(\d*|sec)")
_TREATMENTS: Final = {
    **dict.fromkeys(("raw", "unfiltered", "orig", "original"), "raw"),
    **dict.fromkeys(("filt", "filtered", "flt", "bandpass", "bp", "clean", "cleaned", "denoised"), "filtered"),
}
_UNIT_WORDS: Final = ("uv", "mv", "nv")
_LONGEST: Final = 80  # characters of a label that are looked at or shown: EDF allows 16, a network stream anything


@dataclass(frozen=True, slots=True)
class Convention:
    """Labels that say nothing alone, but do where all of them stand together: the habit of one study or device."""

    name: str
    labels: tuple[str, ...]  # folded
    meanings: tuple[str, ...]  # canonical names of `labels`


CONVENTIONS: Final = (
    Convention("MESA", ("eeg1", "eeg2", "eeg3"), ("Fz-Cz", "Cz-Oz", "C4-M1")),
    Convention("SHHS", ("eeg", "eegsec"), ("C4-M1", "C3-M2")),
    Convention("SHHS", ("eeg", "eeg2"), ("C4-M1", "C3-M2")),
    Convention("Nox", ("1f", "2f"), ("EMG chin", "EMG chin")),
    Convention("Nox", ("12", "1f"), ("EMG chin", "EMG chin")),
)


def words(label: str) -> tuple[str, ...]:
    """The letters and digits of a label, without case, accents and punctuation."""
    folded = unicodedata.normalize("NFKD", label[:_LONGEST]).replace("\u03bc", "u")
    plain = "".join(c for c in folded if not unicodedata.combining(c) and c != "\ufffd")
    return tuple(re.findall(r"[a-z0-9]+", plain.casefold()))


def printable(text: str) -> str:
    """`text` of a reasonable length and with nothing in it that could steer a terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:_LONGEST])


def read_label(label: str) -> Reading:
    """What one label says by itself."""
    said = words(label)
    treatment = next((_TREATMENTS[word] for word in said if word in _TREATMENTS), "")
    said = tuple(word for word in said if word not in _TREATMENTS and word not in _UNIT_WORDS) or said
    spaced = " ".join(said)
    sensor = next((Reading(kind, name) for name, kind, pattern in _SENSORS if pattern.search(spaced)), None)
    if sensor is not None and sensor.kind == "other":
        return sensor
    reading = _electrodes("".join(said))
    while reading is None and len(said) > 1 and said[-1].isdigit():  # "C4-M1-0": a copy's number
        said = said[:-1]
        reading = _electrodes("".join(said))
    if said and reading == Reading("reference", "M1", "M2") and said[-1] in ("m1m2", "a1a2"):
        reading = Reading("reference", "LE")  # in one word it is the two together, as the Nox recorders have it
    reading = reading or sensor or Reading("", "")
    return replace(reading, treatment=treatment)


def read_labels(labels: Sequence[str]) -> list[Reading]:
    """What each label of one recording says, with the conventions that hold among them."""
    readings = [read_label(label) for label in labels]
    keys = ["".join(words(label)) for label in labels]
    settled: dict[str, Reading] = {}
    for convention in CONVENTIONS:
        if set(convention.labels) <= set(keys):
            for key, meaning in zip(convention.labels, convention.meanings, strict=True):
                clause = f"says no place; taken as {meaning}, as {convention.name} has it"
                settled.setdefault(key, replace(read_label(meaning), assumption=clause))
    return [settled.get(key, reading) for key, reading in zip(keys, readings, strict=True)]


def _electrodes(key: str) -> Reading | None:
    """One electrode or two, from the letters and digits of a label; None when they name no place."""
    if _HORIZONTAL.fullmatch(key):
        return Reading("eog", "E1", "E2", assumption="names no side; taken as E1-E2" if key == "eog" else "")
    unnamed = _UNNAMED_EEG.fullmatch(key)
    if unnamed:
        return Reading("eeg", f"EEG {unnamed[1]}".rstrip(), assumption="names no place on the head")
    prefix: re.Match[str] | None
    while key:
        whole = _electrode(key)
        if whole is not None:
            return Reading(whole[1], whole[0])
        for cut in range(1, len(key)):
            plus, minus = _electrode(key[:cut]), _reference(key[cut:])
            if plus is not None and minus and plus[0] != minus:
                kinds = (plus[1], _electrode_kind(minus))
                # An eye against anything is an EOG, and a mastoid minus a site is that site turned over.
                kind = next((kind for kind in ("eog", "emg", "ecg", "eeg") if kind in kinds), "reference")
                return Reading(kind, plus[0], minus)
        prefix = _PREFIX.match(key)
        if prefix is None:
            return None
        key = key[prefix.end() :]
    return None


def _electrode(key: str) -> tuple[str, str] | None:
    """The canonical name and kind of one electrode."""
    for name, kind, pattern in _PLACES:
        if pattern.fullmatch(key):
            return name, kind
    if key in ("01", "02"):  # a zero typed for the letter
        key = key.replace("0", "o", 1)
    if not _SITE.fullmatch(key):
        return None
    name = key.upper().replace("FP", "Fp").replace("Z", "z").replace("PG", "Pg")
    name = _OLD_NAMES.get(name, name)
    return name, _electrode_kind(name)


def _electrode_kind(name: str) -> str:
    known = next((kind for place, kind, _ in _PLACES if place == name), "eeg")
    return "reference" if name in (*_MASTOIDS, "LE", "REF", "AVG") else known


def _reference(key: str) -> str:
    """The canonical name of what a channel was recorded against, or ""."""
    linked = next((name for name, pattern in _REFERENCES if pattern.fullmatch(key)), "")
    electrode = _electrode(key)
    return linked or (electrode[0] if electrode else "")
