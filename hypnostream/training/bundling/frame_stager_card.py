"""The model card of a stager with the learned front-end."""

from collections.abc import Mapping, Sequence

from hypnostream.stream.channels import ChannelSpec
from hypnostream.training.bundling.sizes import Size


def write_frame_stager_card(
    specs: Sequence[ChannelSpec], size: Size, training: Mapping[str, str], metrics: Mapping[str, float]
) -> str:
    """The card as Markdown."""
    lines = [
        "# Stager on learned frames",
        "",
        "Causal sleep staging (W, N1, N2, N3, R) every 30 s, with zero look-ahead, from any subset of these sensors.",
        "**Not a medical device.**",
        "",
        "## Model",
        "Frames of 4 s, one each second, to a token a channel by a network that was trained without labels; missing",
        "tokens imagined; context among seconds and among epochs, carried all night.",
        f"{size.parameters:,} parameters, {size.flops / 1e6:.0f} MFLOP a second, {size.state_bytes:,} bytes of state.",
        "",
        "| input | kind | unit | Hz | taken from, in this order |",
        "|---|---|---|---|---|",
        *(f"| {s.name} | {s.kind} | {s.unit} | {s.rate_hz} | {', '.join(s.derivations)} |" for s in specs),
        "",
        "## Trained on",
        f"{training['people']}. Stages scored {training['scoring']}. Licence: {training['licence']}.",
        "",
        "## Figures",
        "Fractions of epochs, or Cohen's kappa, on people held out of this training and of the front-end's:",
        f"{training['held_out']}.",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in metrics.items()),
        "",
        "## Limits",
        "- What was not in these sets was not seen in training.",
        "- A provisional stage is said of the last 30 s, three of whose frames then begin in seconds that are not the",
        "  ones before; the final stage of an epoch is not touched by that.",
        "",
    ]
    return "\n".join(lines)
