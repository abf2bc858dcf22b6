"""SynthSleepNet: each decoder has its own channel, weights survive, a moment is fused by itself, sizes are as said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hypnostream.models.channel_encoder import (
    REFERENCE_ENCODER,
    REFERENCE_LAYERS,
    ChannelEncoder,
    ChannelEncoders,
    ChannelEncoderSettings,
)
from hypnostream.models.channel_fusion import ChannelFusion
from hypnostream.models.frame_network import FrameSettings
from hypnostream.models.lora import LoraSettings, merged
from hypnostream.models.synthsleepnet import REFERENCE_MODEL, SynthSleepNet, SynthSleepNetSettings

SMALL = SynthSleepNetSettings(16, 4, 1, 1, 8, 1, 2, (16, 8))
JOINT = SynthSleepNetSettings(16, 4, 0, 1, 8, 1, 2, (16, 8), joint=True)
FRAME = FrameSettings(4, (4, 4, 8), (2, 2, 2), squeeze=2, hidden=12, width=12)
C, T, WIDTH = 3, 7, 6


def _model(s: SynthSleepNetSettings = SMALL, channels: int = C) -> SynthSleepNet:
    torch.manual_seed(0)
    model = SynthSleepNet(channels, WIDTH, s).eval()
    for p in model.parameters():
        p.requires_grad_(False)
    return model


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("channel", range(C))
def test_a_decoder_gets_its_own_channel_and_no_other(channel: int) -> None:
    model, kept = _model(), torch.ones(2, T, C, dtype=torch.bool)
    own, context = _random(2, T, C, 16), _random(2, T, 16, seed=1)
    tagged = own.clone()
    tagged[:, :, channel] += 100.0
    before, after = model.decode(own, context, kept), model.decode(tagged, context, kept)
    for each in range(C):
        assert torch.equal(before[:, :, each], after[:, :, each]) is (each != channel)


@pytest.mark.parametrize("s", [SMALL, JOINT])
def test_each_moment_of_a_decoder_is_told_from_that_very_moment(s: SynthSleepNetSettings) -> None:
    """Without blocks between, token t of channel c must reach prediction t of channel c and no other."""
    model = _model(replace(s, fusion_depth=0, scaffold_depth=0, decoder_depth=0))
    kept = torch.ones(1, T, C, dtype=torch.bool)
    own, context = _random(1, T, C, 16), _random(1, T, 16, seed=1)
    tagged = own.clone()
    tagged[0, 4, 1] *= -1
    moved = (model.decode(own, context, kept) != model.decode(tagged, context, kept)).any(-1)[0]
    assert moved.nonzero().tolist() == [[4, 1]]


@pytest.mark.parametrize("s", [SMALL, JOINT])
def test_what_is_hidden_is_not_seen_by_anything(s: SynthSleepNetSettings) -> None:
    model = _model(s)
    kept = torch.rand(4, T, C, generator=torch.Generator().manual_seed(3)) < 0.6
    tokens = _random(4, T, C, WIDTH)
    other = torch.where(kept.unsqueeze(-1), tokens, torch.full_like(tokens, torch.nan))
    for a, b in zip(model(tokens, kept), model(other, kept), strict=True):
        assert torch.equal(a, b)
        assert bool(a.isfinite().all())


@pytest.mark.parametrize("s", [SMALL, JOINT])
def test_a_hidden_channel_is_told_from_the_others(s: SynthSleepNetSettings) -> None:
    model, tokens = _model(s), _random(2, T, C, WIDTH)
    kept = torch.ones(2, T, C, dtype=torch.bool)
    kept[:, :, 0] = False
    other = tokens.clone()
    other[:, :, 1:] *= -1
    assert not torch.allclose(model(tokens, kept).predicted[:, :, 0], model(other, kept).predicted[:, :, 0])


@pytest.mark.parametrize("s", [SMALL, JOINT])
def test_nothing_recorded_is_no_nan_and_a_batch_of_one_works(s: SynthSleepNetSettings) -> None:
    model, none = _model(s), torch.zeros(1, T, C, dtype=torch.bool)
    window = model(torch.full((1, T, C, WIDTH), torch.nan), none)
    assert all(bool(part.isfinite().all()) for part in (*window, *model.contrasted(window, none)))
    assert bool(model.encode(torch.zeros(1, C, WIDTH), torch.zeros(1, C)).isfinite().all())


def test_a_window_is_fused_as_a_stream_fuses_it_moment_by_moment() -> None:
    model, tokens = _model(), _random(2, T, C, WIDTH)
    kept = torch.rand(2, T, C, generator=torch.Generator().manual_seed(3)) < 0.6
    window = model(tokens, kept).fused
    for moment in range(T):
        alone = model.encode(tokens[:, moment], kept[:, moment].float())
        assert torch.allclose(window[:, moment], alone, atol=1e-6)


def test_the_future_of_a_window_is_not_in_its_fused_tokens() -> None:
    model, tokens = _model(), _random(2, T, C, WIDTH)
    other = tokens.clone()
    other[:, 4:] = 7.0
    kept = torch.ones(2, T, C, dtype=torch.bool)
    assert torch.equal(model(tokens, kept).fused[:, :4], model(other, kept).fused[:, :4])
    assert torch.equal(model.encode(tokens, kept.float())[:, :4], model.encode(other, kept.float())[:, :4])


@pytest.mark.parametrize("s", [SMALL, JOINT])
def test_pretraining_reaches_every_weight(s: SynthSleepNetSettings) -> None:
    model = SynthSleepNet(C, WIDTH, s)
    kept = torch.rand(4, T, C, generator=torch.Generator().manual_seed(3)) < 0.6
    window = model(_random(4, T, C, WIDTH), kept)
    whole, parts = model.contrasted(window, kept)
    loss: Tensor = window.predicted.square().mean() + whole.square().mean() + parts.square().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    unreached = {name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())}
    # In the paper's way nobody reads the fused token of a moment, which here is all that is deployed.
    assert unreached == ({"fusion.summary", "fusion.norm.weight", "fusion.norm.bias"} if s.joint else set())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(0, 2), st.integers(0, 1000))
def test_fusion_reads_the_available_alone(channels: int, depth: int, seed: int) -> None:
    torch.manual_seed(seed)
    fusion = ChannelFusion(8, depth, 2).eval()
    mask = (torch.rand(6, channels) < 0.5).float()
    tokens = torch.randn(6, channels, 8)
    other = torch.where(mask.bool().unsqueeze(-1), tokens, torch.full_like(tokens, torch.inf))
    with torch.no_grad():
        (own, fused), (own_other, fused_other) = fusion(tokens, mask), fusion(other, mask)
        assert torch.equal(fused, fused_other)
        assert torch.equal(own, own_other)
        assert not bool(own[mask == 0].any())
        for row in range(6):  # as though the absent ones had never been
            there = mask[row] > 0 if bool(mask[row].any()) else torch.arange(channels) == 0
            alone = fusion(tokens[row : row + 1, there], mask[row : row + 1, there])[1]
            assert torch.allclose(alone[0], fused[row], atol=1e-5)


def test_less_trust_is_less_weight() -> None:
    torch.manual_seed(0)
    fusion, tokens = ChannelFusion(8, 1, 2).eval(), torch.randn(1, 2, 8)
    with torch.no_grad():
        without = fusion(tokens, torch.tensor([[1.0, 0.0]]))[1]
        away = [float((fusion(tokens, torch.tensor([[1.0, t]]))[1] - without).norm()) for t in (1e-5, 0.2, 0.6, 1.0)]
    assert away[0] < 1e-3
    assert away == sorted(away)


class _Encode(nn.Module):
    def __init__(self, model: SynthSleepNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return self.model.encode(tokens, mask)


def test_what_is_deployed_exports_and_says_the_same(tmp_path: Path) -> None:
    import warnings

    import onnx

    model, path = _model(), tmp_path / "encode.onnx"
    tokens, mask = _random(2, C, WIDTH), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Encode(model), (tokens, mask), str(path), input_names=["tokens", "mask"], opset_version=17, dynamo=False
        )
    assert not {"Loop", "Scan", "If", "Einsum"} & {node.op_type for node in onnx.load(path).graph.node}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for seed in range(20):
        tokens = _random(2, C, WIDTH, seed=seed)
        (said,) = session.run(None, {"tokens": tokens.numpy(), "mask": mask.numpy()})
        assert np.abs(said - model.encode(tokens, mask).numpy()).max() < 1e-5


def _encoders() -> list[ChannelEncoder]:
    torch.manual_seed(1)
    return [ChannelEncoder(ChannelEncoderSettings(FRAME)) for _ in range(2)]


def test_pretrained_encoders_survive_the_building_of_the_model() -> None:
    pretrained = _encoders()
    before = [{name: value.clone() for name, value in each.state_dict().items()} for each in pretrained]
    encoders = ChannelEncoders(pretrained, (True, False), LoraSettings())
    holder = nn.ModuleList([encoders, SynthSleepNet(2, encoders.width, SMALL)])
    for number, weights in enumerate(before):
        prefix = f"0.channels.{number}."
        found = {name.removeprefix(prefix).replace(".base.", "."): v for name, v in holder.state_dict().items()}
        for name, value in weights.items():
            assert torch.equal(found[name], value), name


def test_channels_of_one_pretrained_encoder_adapt_each_by_itself() -> None:
    (one, _) = _encoders()
    encoders = ChannelEncoders([one, one], (True, True), LoraSettings())
    frames = _random(1, 5, 2, 400)
    frames[:, :, 1] = frames[:, :, 0]
    with torch.no_grad():
        same = encoders(frames)
        assert torch.equal(same[:, :, 0], same[:, :, 1])
        for name, p in encoders.named_parameters():
            if name.startswith("channels.1.") and name.endswith(".up"):
                p.add_(1.0)
        differs = encoders(frames)
        assert torch.equal(differs[:, :, 0], same[:, :, 0])
        assert not torch.allclose(differs[:, :, 1], same[:, :, 1])
        plain = merged(encoders)
        assert torch.allclose(plain(frames), encoders.eval()(frames), atol=1e-5)


def test_encoders_of_different_widths_are_refused() -> None:
    other = ChannelEncoder(
        ChannelEncoderSettings(FrameSettings(4, (4, 4, 8), (2, 2, 2), squeeze=2, hidden=12, width=10))
    )
    with pytest.raises(ValueError, match="12 and 10"):
        ChannelEncoders([_encoders()[0], other], (True, True))


def test_the_reference_has_the_size_of_the_paper() -> None:
    with torch.device("meta"):
        encoder = ChannelEncoder(REFERENCE_ENCODER)
        encoders = ChannelEncoders([encoder] * 4, [True] * 4, LoraSettings(), REFERENCE_LAYERS)
        model = SynthSleepNet(4, encoders.width, REFERENCE_MODEL)

    def millions(*modules: nn.Module) -> float:
        return sum(p.numel() for module in modules for p in module.parameters()) / 1e6

    assert millions(encoder) == pytest.approx(66.8, rel=0.01)
    whole = millions(encoders, model)
    assert whole == pytest.approx(295.7, rel=0.01)
    left = millions(model.decoders, model.project_fused, model.project_channel)
    assert whole - left == pytest.approx(282.8, rel=0.01)


def test_the_product_is_small() -> None:
    encoder, model = ChannelEncoder(), SynthSleepNet(8, 96)
    kept = sum(p.numel() for m in (model.adaptors, model.fusion, encoder) for p in m.parameters())
    assert kept < 1e6
    assert sum(p.numel() for p in model.parameters()) < 2e6
