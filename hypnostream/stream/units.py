"""Units as recorders spell them, and the factor that turns one into another."""

import unicodedata
from dataclasses import dataclass
from typing import Final

# (dimension, size in the dimension's smallest unit here); voltages count in nV so that every factor is exact.
_UNITS: Final[dict[str, tuple[str, float]]] = {
    **dict.fromkeys(("nv", "nanovolt"), ("voltage", 1.0)),
    **dict.fromkeys(("uv", "microv", "microvolt", "10^-6v"), ("voltage", 1e3)),
    **dict.fromkeys(("mv", "millivolt", "10^-3v"), ("voltage", 1e6)),
    **dict.fromkeys(("v", "volt"), ("voltage", 1e9)),
    **dict.fromkeys(("%", "percent", "pct", "%sat", "%spo2", "%sao2"), ("percent", 1.0)),
    **dict.fromkeys(("pa", "pascal"), ("pressure", 1.0)),
    **dict.fromkeys(("hpa", "mbar"), ("pressure", 100.0)),
    "kpa": ("pressure", 1000.0),
    **dict.fromkeys(("cmh2o", "cm"), ("pressure", 98.0665)),
    "mmhg": ("pressure", 133.322),
    "ml/s": ("flow", 1.0),
    "l/s": ("flow", 1000.0),
    **dict.fromkeys(("l/min", "lpm"), ("flow", 1000.0 / 60.0)),
    "ml/min": ("flow", 1.0 / 60.0),
    **dict.fromkeys(("", "-", "au", "a.u.", "arb", "raw", "cnt", "count", "adu", "none"), ("unstated", 1.0)),
    **dict.fromkeys(("ohm", "kohm", "mohm"), ("impedance", 1.0)),
    **dict.fromkeys(("bpm", "1/min", "tr/min", "rpm", "hz"), ("frequency", 1.0)),
    **dict.fromkeys(("degc", "c", "k", "degf"), ("temperature", 1.0)),
    **dict.fromkeys(("deg", "rad"), ("angle", 1.0)),
    **dict.fromkeys(("g", "m/s2", "g/s", "mg"), ("acceleration", 1.0)),
    **dict.fromkeys(("s", "ms"), ("time", 1.0)),
    **dict.fromkeys(("db", "lx", "lux", "h", "uh", "mh"), ("something else", 1.0)),
}
# UTF-8 mu read as Latin-1, by the bytes of U+00B5 and of U+03BC.
_MOJIBAKE_MU: Final = (("\u00c2\u00b5", "u"), ("\u00ce\u00bc", "u"))
# Belts, cannulas and thermistors have no absolute scale: a voltage or a bare count serves as well as a pressure.
_SCALE_FREE_KINDS: Final = ("flow", "effort")
_SCALE_FREE_DIMENSIONS: Final = ("voltage", "pressure", "flow", "unstated")


@dataclass(frozen=True, slots=True)
class Conversion:
    """The factor from one unit to another. None: it cannot be had, and `remark` says why.

    With a factor, `remark` is what had to be assumed, or "".
    """

    factor: float | None
    remark: str = ""


def folded(unit: str) -> str:
    """`unit` without its spelling: "\u00b5V", "\u03bcV", "UV" and "microvolts" are "uv" or its synonym."""
    for wrong, right in _MOJIBAKE_MU:
        unit = unit.replace(wrong, right)
    text = "".join(unicodedata.normalize("NFKC", unit).split()).casefold()
    text = text.replace("\u03bc", "u").replace("\u03c9", "ohm").replace("\u00b0", "deg").strip("[]()")
    # A header of ASCII that held a Latin-1 or UTF-8 mu arrives with one or two marks for what could not be read.
    if text.endswith("v") and len(text) <= 3 and text[:-1] and set(text[:-1]) <= {"\ufffd", "?"}:
        return "uv"
    return text.removesuffix("s") if len(text) > 3 and "/" not in text else text


def convert(unit: str, target: str, kind: str) -> Conversion:
    """How samples of a `kind` of sensor in `unit` become samples in `target`."""
    dimension, size = _UNITS.get(folded(unit), ("unknown", 1.0))
    wanted, wanted_size = _UNITS.get(folded(target), ("unknown", 1.0))
    if dimension == wanted or folded(unit) == folded(target):
        return Conversion(size / wanted_size)
    if wanted == "unstated" and dimension in _SCALE_FREE_DIMENSIONS:
        return Conversion(1.0)
    if kind in _SCALE_FREE_KINDS and dimension in (*_SCALE_FREE_DIMENSIONS, "unknown"):
        return Conversion(1.0, f"its unit '{unit}' is no {target}: its shape is used, its scale is not known")
    if dimension == "unstated" and unit.strip() in ("", "-"):
        return Conversion(1.0, f"no unit is stated, {target} is assumed")
    if dimension in ("unstated", "unknown"):
        return Conversion(1.0, f"the unit '{unit}' is not known, {target} is assumed")
    return Conversion(None, f"its unit '{unit}' cannot become {target}")
