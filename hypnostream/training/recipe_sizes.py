"""How large what each shipped recipe makes is, beside what it may be: `hypnostream train sizes`.

Nothing is computed and no weight is drawn (torch's "meta" device), so that the papers' sizes can be asked for anywhere.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from hypnostream.models.breathing_detector import BreathingDetector
from hypnostream.models.channel_encoder import ChannelEncoder, ChannelEncoders
from hypnostream.models.event_detector import EventDetector
from hypnostream.models.frame_network import FRAME_SAMPLES, FrameEncoder
from hypnostream.models.lora import merged
from hypnostream.models.neuronet import NeuroNet
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.models.token_features import LEVEL, SHAPE
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.breathing.tick_run import BreathingRecipe
from hypnostream.training.bundling.sizes import CHANNELS, Limits, Size, check, flops, parameters, state_bytes, table
from hypnostream.training.downstream.comparison import DownstreamRecipe
from hypnostream.training.downstream.event_night import SLOTS, TASKS
from hypnostream.training.pretraining.neuronet_run import NeuroNetRecipe
from hypnostream.training.pretraining.pretrain_synthsleepnet import SynthSleepNetRecipe
from hypnostream.training.recipe import load_settings, recipe_path
from hypnostream.training.staging.frame_stager_run import FrameStagerRecipe
from hypnostream.training.staging.frame_stager_task import FrameTrained
from hypnostream.training.staging.learned_front import LearnedFront
from hypnostream.training.staging.model_sizes import all_sizes, frame_encoder, frame_stager, stager
from hypnostream.training.staging.stager_recipe import load_recipe
from hypnostream.training.staging.stager_task import Trained

KINDS = ("eeg", "eog", "emg", "ecg", "flow", "effort", "eeg", "eog")  # of the eight channels that limits are for
PAPER_CHANNELS = 4  # of SynthSleepNet: EEG, EOG, EMG, ECG
FRAMES_OF = {
    "frame-stager": "neuronet-product",
    "frame-stager-large": "neuronet-large",
    "frame-stager-reference": "neuronet-reference",
}


@dataclass(frozen=True, slots=True)
class RecipeSize:
    """`learned`: the numbers that learn when it is run. `live`: what runs at a bedside. Without `limits` it is for
    comparison."""

    recipe: str
    learned: int
    live: Size
    limits: Limits | None


def limits_of(recipe: str) -> Limits | None:
    """By its name: for comparison with the papers, for those with more data, or as what is shipped."""
    if recipe.endswith("-reference"):
        return None
    return Limits(parameters=10_000_000) if recipe.endswith("-large") else Limits()


def of_stager(recipe: str) -> RecipeSize:
    """All members of the ensemble."""
    asked = load_recipe(recipe_path(recipe))
    each = learned(Trained(asked.fit))
    return RecipeSize(recipe, each * len(asked.seeds), stager(asked), limits_of(recipe))


def of_frame_stager(recipe: str) -> RecipeSize:
    """With a frame encoder a kind of signal, as after step 1."""
    asked = load_settings(recipe_path(recipe), FrameStagerRecipe)
    frame = load_settings(recipe_path(FRAMES_OF[recipe]), NeuroNetRecipe).model.frame
    order = list(dict.fromkeys(KINDS))
    with torch.device("meta"):
        encoders = tuple(FrameEncoder(frame) for _ in order)
        front = LearnedFront(encoders, tuple(order.index(kind) for kind in KINDS), None, frozenset())
        module = FrameTrained(front, KINDS, asked.fit)
        live = frame_stager(merged(module.model))
    return RecipeSize(recipe, learned(module), live, asked.limits if limits_of(recipe) else None)


def of_neuronet(recipe: str) -> RecipeSize:
    """Its frame encoder is what is kept: of eight channels of one kind."""
    model = load_settings(recipe_path(recipe), NeuroNetRecipe).model
    with torch.device("meta"):
        module = NeuroNet(model)
    return RecipeSize(recipe, learned(module), frame_encoder(model.frame, ""), limits_of(recipe))


def of_synthsleepnet(recipe: str) -> RecipeSize:
    """With an encoder a channel; the paper's has four, and keeps the scaffold that reads them side by side."""
    asked = load_settings(recipe_path(recipe), SynthSleepNetRecipe)
    channels = PAPER_CHANNELS if asked.model.joint else CHANNELS
    with torch.device("meta"):
        each = [ChannelEncoder(asked.encoder) for _ in range(channels)]
        encoders = ChannelEncoders(each, [True] * channels, asked.lora, asked.lora_layers)
        model = SynthSleepNet(channels, encoders.width, asked.model).eval()
        plain = merged(encoders).eval()
        parts: list[nn.Module] = [plain, model.adaptors, model.fusion]
        if asked.model.joint:
            moments = asked.encoder.frames
            frames, there = torch.zeros(1, moments, channels, FRAME_SAMPLES), torch.ones(1, moments, channels)
            tokens = torch.zeros(1, moments * channels, asked.model.width)
            parts.append(model.scaffold)
            cost = (flops(_encoded(plain, model), frames, there) + flops(model.scaffold, tokens)) / EPOCH_S
        else:
            cost = flops(_encoded(plain, model), torch.zeros(1, 1, channels, FRAME_SAMPLES), torch.ones(1, 1, channels))
    live = Size("", sum(parameters(part) for part in parts), cost)
    return RecipeSize(recipe, learned(encoders) + learned(model), live, limits_of(recipe))


def of_downstream(recipe: str) -> RecipeSize:
    """The detector of breathing events, asked each second; what taught its encoder is not counted as live."""
    settings = load_settings(recipe_path(recipe), DownstreamRecipe).fit.model
    channels = len(SLOTS)
    with torch.device("meta"):
        module = EventDetector(channels, len(TASKS), settings).eval()
        state = module.initial_state(1)
        shape, level = torch.zeros(1, channels, SHAPE), torch.zeros(1, channels, LEVEL)
        cost = flops(module.step, shape, level, torch.ones(1, channels), state)
    encoder = module.encoder
    left = (encoder.scaffold, encoder.decoders, encoder.project_fused, encoder.project_channel)
    live = Size("", parameters(module) - sum(parameters(part) for part in left), cost, state_bytes(state))
    return RecipeSize(recipe, learned(module), live, limits_of(recipe))


def of_breathing(recipe: str) -> RecipeSize:
    """The learned model of breathing, by the second."""
    settings = load_settings(recipe_path(recipe), BreathingRecipe).fit.model
    with torch.device("meta"):
        module = BreathingDetector(settings).eval()
        state = module.initial_state(1)
        numbers, mask = torch.zeros(1, settings.sensors, settings.numbers), torch.ones(1, settings.sensors)
        cost = flops(module.step, numbers, mask, state)
    return RecipeSize(
        recipe, learned(module), Size("", parameters(module), cost, state_bytes(state)), limits_of(recipe)
    )


RECIPES: dict[str, Callable[[str], RecipeSize]] = {
    "stager": of_stager,
    "cimsleepnet-reference": of_stager,
    "neuronet-product": of_neuronet,
    "neuronet-breathing": of_neuronet,
    "neuronet-large": of_neuronet,
    "neuronet-reference": of_neuronet,
    "synthsleepnet-product": of_synthsleepnet,
    "synthsleepnet-large": of_synthsleepnet,
    "synthsleepnet-reference": of_synthsleepnet,
    "frame-stager": of_frame_stager,
    "frame-stager-large": of_frame_stager,
    "frame-stager-reference": of_frame_stager,
    "breathing": of_breathing,
    "downstream-product": of_downstream,
    "downstream-reference": of_downstream,
}


def learned(module: nn.Module) -> int:
    """How many numbers of it learn."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def recipe_table(sizes: Sequence[RecipeSize]) -> str:
    """As Markdown; `may have` is in parameters and MFLOP a second."""
    lines = [
        "| recipe | learned | live | MFLOP a second | state, bytes | may have |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for each in sizes:
        live, limits = each.live, each.limits
        allowed = f"{limits.parameters:,}; {limits.flops / 1e6:,.0f}" if limits else "for comparison"
        lines.append(
            f"| {each.recipe} | {each.learned:,} | {live.parameters:,} | {live.flops / 1e6:,.2f} | "
            f"{live.state_bytes:,} | {allowed} |"
        )
    return "\n".join(lines)


def sizes_command(recipe: Path | None) -> None:
    """Print the sizes of all parts, for the stager of `recipe`; without one also what each shipped recipe makes.

    Raises UserError when something is larger than it may be.
    """
    modules = all_sizes(load_recipe(recipe))
    print(table(modules))
    for module in modules[:3]:
        check(module)
    if recipe is None:
        found = [size(name) for name, size in RECIPES.items()]
        print(f"\n{recipe_table(found)}")
        for each in found:
            if each.limits:
                check(each.live, each.limits)


def _encoded(encoders: ChannelEncoders, model: SynthSleepNet) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    return lambda frames, there: model.encode(encoders(frames), there)
