"""The sizes of our own modules, as `hypnostream train sizes` shows them: what a second of signal costs at a bedside.

What is used in training alone (decoders, projectors, scaffolds) is not counted.
"""

import torch

from hypnostream.models.context import CAUSAL_KINDS, make_mixer
from hypnostream.models.frame_network import FRAME_SAMPLES, REFERENCE_FRAME, FrameEncoder, FrameSettings
from hypnostream.models.frame_stager import FrameStager, FrameStagerConfig
from hypnostream.models.imaginator import Imaginator
from hypnostream.models.stager import Stager, StagerEnsemble
from hypnostream.models.synthsleepnet import SynthSleepNet
from hypnostream.stream.stages import EPOCH_S
from hypnostream.training.bundling.sizes import CHANNELS, Size, flops, parameters, state_bytes
from hypnostream.training.staging.stager_recipe import Recipe


def stager(recipe: Recipe) -> Size:
    """What is shipped: all members of the ensemble, asked each second."""
    model = StagerEnsemble([Stager(recipe.fit.model) for _ in recipe.seeds]).eval()
    channels, state = recipe.fit.model.channels, model.initial_state(1)
    signal, valid = torch.zeros(1, channels, 100 * EPOCH_S), torch.ones(1, channels, EPOCH_S)
    each = flops(model.step, signal, valid, torch.zeros(1, channels), state)
    members = len(recipe.seeds)
    name = f"stager: {members} member{'s' * (members > 1)}, {channels} channels"
    return Size(name, parameters(model), each, state_bytes(state))


def frame_stager(model: FrameStager) -> Size:
    """The learned front-end and its stager, asked each second, which means for all frames of the last 30 s."""
    model, channels = model.eval(), model.config.channels
    state = model.initial_state(1)
    signal, valid = torch.zeros(1, channels, 100 * EPOCH_S), torch.ones(1, channels, EPOCH_S)
    each = flops(model.step, signal, valid, torch.zeros(1, channels), state)
    return Size(f"frame stager, {channels} channels", parameters(model), each, state_bytes(state))


def frame_encoder(settings: FrameSettings, name: str, channels: int = CHANNELS) -> Size:
    """One frame a second of each channel; nothing is computed, so that any size can be asked for."""
    with torch.device("meta"):
        model = FrameEncoder(settings).eval()
        each = flops(model, torch.zeros(channels, FRAME_SAMPLES))
    return Size(name, parameters(model), each)


def fusion(width: int, channels: int = CHANNELS) -> Size:
    """One token a second from those of all channels."""
    model = SynthSleepNet(channels, width).eval()
    parts = parameters(model.adaptors) + parameters(model.fusion)
    each = flops(model.encode, torch.zeros(1, channels, width), torch.ones(1, channels))
    return Size(f"fusion of {channels} channels", parts, each)


def imaginator(width: int, channels: int = CHANNELS) -> Size:
    """One step a second."""
    model = Imaginator(channels, width).eval()
    state, there = model.initial_state(1), torch.ones(1, channels)
    each = flops(model.step, torch.zeros(1, channels, width), there, torch.zeros(1, channels), None, state)
    return Size(f"imaginator, {channels} channels", parameters(model), each, state_bytes(state))


def context(kind: str, width: int) -> Size:
    """A mixer's step, one a second."""
    model = make_mixer(kind, width).eval()
    state = model.initial_state(1)
    return Size(
        f"context: {kind}", parameters(model), flops(model.step, torch.zeros(1, width), state), state_bytes(state)
    )


def learned_stream(settings: FrameSettings) -> Size:
    """All that a stream from raw signals runs each second: frames, fusion, imagination and two layers of context."""
    width = settings.width
    whole = Size(f"learned stream, {CHANNELS} channels", 0, 0.0) + frame_encoder(settings, "")
    for part in (fusion(width), imaginator(width), context("mamba2", width), context("mamba2", width)):
        whole += part
    return whole


def all_sizes(recipe: Recipe) -> list[Size]:
    """A row a module; the first three are what may be shipped, and must keep within the limits."""
    product = FrameSettings()
    return [
        stager(recipe),
        learned_stream(product),
        frame_stager(FrameStager(FrameStagerConfig((0, 1, 2, 3, 4, 5, 0, 0), (1.0,) * CHANNELS, product))),
        frame_encoder(product, f"frame network, {CHANNELS} channels"),
        fusion(product.width),
        imaginator(product.width),
        *(context(kind, product.width) for kind in CAUSAL_KINDS if kind != "none"),
        frame_encoder(REFERENCE_FRAME, f"frame network of the paper, {CHANNELS} channels"),
    ]
