"""The model card that travels with a bundle: what it was trained on, what it reaches, what it must not be used for."""

from collections.abc import Collection, Mapping

from hypnostream.models.stager import StagerEnsemble
from hypnostream.training.bundling.whose import whose
from hypnostream.training.evaluation.report import is_simulated
from hypnostream.training.nights.channels import STAGER_CHANNELS
from hypnostream.training.nights.scoring_rule import scoring_rule
from hypnostream.training.nights.splits import Split
from hypnostream.training.nights.token_night import TokenNight

SOURCES = {
    "Sleep-EDF Expanded": (
        "Sleep-EDF Database Expanded (Kemp et al., 2000), PhysioNet, ODC-By 1.0. Per-epoch features of the SC nights, "
        "trimmed to 30 min around sleep; Fpz-Cz, Pz-Oz and horizontal EOG."
    ),
    "Sleep-EDF Expanded, EDF": (
        "Sleep-EDF Database Expanded (Kemp et al., 2000), PhysioNet, ODC-By 1.0. Raw recordings, untrimmed; Fpz-Cz, "
        "Pz-Oz and horizontal EOG."
    ),
    "UCDDB": (
        "St. Vincent's University Hospital / University College Dublin Sleep Apnea Database, PhysioNet, ODC-By 1.0. "
        "Raw EEG C3-A2, Wake and N3 epochs only."
    ),
}
LIMITS = {
    "Sleep-EDF Expanded": (
        "Adults, mostly healthy; no children.",
        "Recorded from Fpz-Cz, Pz-Oz and a horizontal EOG; other derivations are stand-ins and do worse.",
        "Nights began some 30 min before sleep. Hours of wake before it were not seen.",
        "Posterior EEG and EOG went through an artefact removal that a stream cannot have.",
    ),
    "Sleep-EDF Expanded, EDF": (
        "Adults, mostly healthy; no children.",
        "Recorded from Fpz-Cz, Pz-Oz and a horizontal EOG; other derivations are stand-ins and do worse.",
    ),
    "UCDDB": ("Adults with sleep apnea.",),
}
SCORED = {
    "R&K": "Scored by R&K rules with S3 and S4 merged; AASM scorers differ, most of all about N1.",
    "AASM": "Scored by AASM rules.",
    "": "By which rule it was scored is not known.",
}
LEFT_OUT = {
    "UCDDB": (
        "UCDDB's other nights, of which wake and N3 epochs alone are at hand, were left out: trained with them, it\n"
        "misses N1. That was seen on UCDDB's one whole night, which is no clean test any more."
    ),
}
FILLED = {
    "imagination": (
        "A missing sensor's token is imagined from the sensors that are there and from what it said before, and\n"
        "counts less the less sure that is."
    ),
    "absence": "A missing sensor is left out; how long it has been gone is known.",
}


def write_card(
    split: Split[TokenNight], model: StagerEnsemble, metrics: Mapping[str, float], left_out: Collection[str] = ()
) -> str:
    """The card as Markdown. `left_out` are sets that were at hand and that it was not trained on."""
    config = model.config
    parameters = sum(p.numel() for p in model.parameters())
    lines = [
        "# Stager",
        "",
        "Causal sleep staging (W, N1, N2, N3, R) every 30 s, with zero look-ahead, from any subset of a frontal EEG, a",
        "posterior EEG and an EOG. **Not a medical device.**",
        "",
        "## Model",
        f"{_stagers(len(model.members))} {config.layers} layers of context",
        f"({config.context}) of width {config.d_model}, carried all night; {parameters:,} parameters in all. The",
        "spectral front-end is part of the graph and has none.",
        FILLED.get(config.filling, f"What stands for a missing sensor: {config.filling}."),
        "",
        "| input | kind | unit | Hz | taken from, in this order |",
        "|---|---|---|---|---|",
        *(
            f"| {spec.name} | {spec.kind} | {spec.unit} | {spec.rate_hz} | {', '.join(spec.derivations)} |"
            for spec in STAGER_CHANNELS
        ),
        "",
        "## Trained on",
    ]
    sets = sorted({night.set_name for night in split.train})
    for name in sets:
        nights = [night for night in split.train if night.set_name == name]
        subjects = len({night.subject for night in nights})
        lines += [f"- {len(nights)} nights of {subjects} subjects. {SOURCES.get(name, name)}"]
    simulated = [name for name in sets if is_simulated(name)]
    people = f"Simulated: {', '.join(simulated)}." if simulated else "Real people all; nothing simulated."
    lines += ["", f"Stages were scored by {scoring_rule(split.train)}. Held out: {whose(split.test)}."]
    lines += [f"{people} No recording is in this bundle, only weights."]
    lines += [*(LEFT_OUT.get(name, f"Left out: {name}.") for name in left_out), ""]
    lines += ["## Figures", "Fractions of epochs, or Cohen's kappa. How each was measured: benchmarks/README.md.", ""]
    lines += ["| figure | value |", "|---|---|", *(f"| {name} | {value:.3f} |" for name, value in metrics.items())]
    lines += [
        "",
        "## Limits",
        "- It knows people like those it was trained on; no other age or disorder was seen.",
        "- N1 is its weakest stage, as it is for people.",
        *(f"- {name}: {limit}" for name in sets for limit in (*LIMITS.get(name, ()), *_scored(name, split))),
        "",
    ]
    return "\n".join(lines)


def _scored(set_name: str, split: Split[TokenNight]) -> list[str]:
    """By which rules the set's nights were scored, simulated ones by none."""
    if is_simulated(set_name):
        return []
    return [SCORED.get(rule, SCORED[""]) for rule in sorted({n.scoring for n in split.train if n.set_name == set_name})]


def _stagers(count: int) -> str:
    return "A stager of" if count == 1 else f"{count} stagers that differ in their seed, averaged; each"
