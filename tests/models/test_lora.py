"""LoRA: what was pretrained survives, what is frozen stays, and merged layers say the same."""

import copy

import pytest
import torch
from torch import Tensor, nn

from hypnostream.models.lora import LoraLinear, LoraSettings, adapted, merged
from hypnostream.models.transformer import Transformer

LAYERS = ("attn.proj", "fc1")


def _module(seed: int = 0) -> Transformer:
    torch.manual_seed(seed)
    return Transformer(16, 2, 4)


def _learned(module: nn.Module) -> list[nn.Parameter]:
    return [p for p in module.parameters() if p.requires_grad]


def _trained(module: Transformer, steps: int = 5) -> Transformer:
    optimiser = torch.optim.AdamW(_learned(module), lr=0.05, weight_decay=0.1)
    x = torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimiser.zero_grad()
        module(x).square().mean().backward()
        optimiser.step()
    return module


def test_pretrained_weights_survive_being_adapted() -> None:
    before = {name: value.clone() for name, value in _module().state_dict().items()}
    module = adapted(_module(), LAYERS, LoraSettings())
    after = {name.replace(".base.", "."): value for name, value in module.state_dict().items()}
    for name, value in before.items():
        assert torch.equal(after[name], value), name


def test_an_adapted_module_begins_as_what_it_was() -> None:
    x = torch.randn(2, 5, 16)
    plain = _module().eval()
    assert torch.equal(adapted(copy.deepcopy(plain), LAYERS, LoraSettings()).eval()(x), plain(x))


def test_training_changes_no_bit_of_the_base() -> None:
    module = adapted(_module(), LAYERS, LoraSettings())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    _trained(module)
    moved = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.endswith((".down", ".up"))}


def test_only_the_thin_matrices_learn() -> None:
    module = adapted(_module(), LAYERS, LoraSettings(rank=2))
    expected = 2 * (2 * (16 + 16) + 2 * (16 + 64))  # two blocks: proj 16 to 16, fc1 16 to 64
    assert sum(p.numel() for p in _learned(module)) == expected


def test_merged_layers_are_plain_and_say_the_same() -> None:
    module = _trained(adapted(_module(), LAYERS, LoraSettings())).eval()
    plain = merged(module)
    assert not any(isinstance(each, LoraLinear) for each in plain.modules())
    assert list(plain.state_dict()) == list(_module().state_dict())
    x = torch.randn(4, 6, 16)
    said = module(x)
    assert float((said - _module().eval()(x)).detach().abs().max()) > 1e-2  # it has learned something
    assert torch.allclose(plain(x), said, atol=1e-6, rtol=1e-6)


def test_merging_leaves_the_adapted_module_alone() -> None:
    module = _trained(adapted(_module(), LAYERS, LoraSettings()))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    merged(module).blocks.requires_grad_(True)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert {name for name, p in module.named_parameters() if p.requires_grad} == {
        name for name in before if name.endswith((".down", ".up"))
    }


def test_a_second_adaptation_is_put_on_merged_layers() -> None:
    first = _trained(adapted(_module(), ("attn.proj",), LoraSettings())).eval()
    second = _trained(adapted(merged(first), ("attn.proj", "fc2"), LoraSettings(alpha=8.0))).eval()
    x = torch.randn(2, 5, 16)
    assert torch.allclose(merged(second)(x), second(x), atol=1e-5)


@pytest.mark.parametrize(("rank", "alpha", "scale"), [(4, 16.0, 8.0), (4, 8.0, 4.0), (1, 3.0, 3.0)])
def test_the_scale_is_that_of_rslora(rank: int, alpha: float, scale: float) -> None:
    assert LoraSettings(rank, alpha).scale == scale
    layer = LoraLinear(nn.Linear(3, 2), LoraSettings(rank, alpha, dropout=0.0))
    with torch.no_grad():
        layer.up.fill_(1.0)
    x = torch.randn(7, 3)
    expected: Tensor = layer.base(x) + scale * (x @ layer.down.T).sum(-1, keepdim=True)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_up_starts_at_zero_and_down_as_said() -> None:
    torch.manual_seed(0)
    gaussian = LoraLinear(nn.Linear(4000, 2), LoraSettings(rank=4))
    uniform = LoraLinear(nn.Linear(4000, 2), LoraSettings(rank=4, down="uniform"))
    assert not bool(gaussian.up.any())
    assert not bool(uniform.up.any())
    assert abs(float(gaussian.down.detach().std()) - 0.25) < 0.01
    assert float(uniform.down.detach().abs().max()) <= 4000**-0.5 + 1e-6
    with pytest.raises(ValueError, match="ones"):
        LoraLinear(nn.Linear(2, 2), LoraSettings(down="ones"))


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"'attn\.out'.*blocks\.0\.attn\.proj"):
        adapted(_module(), ("attn.out",), LoraSettings())


def test_a_layer_without_bias_and_a_batch_of_one() -> None:
    holder = nn.Sequential(nn.Linear(3, 2, bias=False))
    module = adapted(holder, ("0",), LoraSettings())
    assert module(torch.randn(1, 3)).shape == (1, 2)
    assert merged(module)[0].bias is None
