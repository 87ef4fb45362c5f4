"""oneDNN's products against torch's own: values, gradients, and every family's denoiser."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.backbones.families import FAMILIES
from trainer.backbones.products import FastLinear, can_multiply, multiply_fast
from trainer.planning.meter import Meter

pytestmark = pytest.mark.skipif(not can_multiply(), reason="this torch or CPU has no such products")


def plainly(model: nn.Module) -> nn.Module:
    """A copy that multiplies as torch does by itself."""
    found = copy.deepcopy(model)
    for layer in found.modules():
        if type(layer) is FastLinear:
            layer.__class__ = nn.Linear
    return found


def results(layer: nn.Module, given: Tensor, gradient: Tensor) -> list[Tensor]:
    given = given.detach().requires_grad_()
    out = layer(given)
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, [given, *trained], gradient)]


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7), (1, 1, 7)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("trained", ["all", "bias", "none"])
def test_values_and_gradients_are_torchs_own(shape: tuple[int, ...], bias: bool, trained: str) -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(7, 11, bias=bias))
    layer[0].weight.requires_grad_(trained == "all")
    if bias:
        layer[0].bias.requires_grad_(trained != "none")
    multiply_fast(layer)
    assert type(layer[0]) is FastLinear
    given, gradient = torch.randn(*shape), torch.randn(*shape[:-1], 11)
    for mine, theirs in zip(results(layer, given, gradient), results(plainly(layer), given, gradient), strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def test_views_and_inputs_that_need_no_gradient() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(6, 4))
    multiply_fast(layer)
    given = torch.randn(3, 6, 5).transpose(1, 2)
    out, known = layer(given), plainly(layer)(given)
    torch.testing.assert_close(out, known, rtol=1e-5, atol=1e-6)
    out.square().sum().backward()
    assert layer[0].weight.grad is not None


def test_other_types_and_autocast_stay_torchs() -> None:
    layer = nn.Sequential(nn.Linear(8, 8))
    multiply_fast(layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 8)).dtype == torch.bfloat16
    assert layer.double()(torch.randn(2, 8, dtype=torch.float64)).dtype == torch.float64


def test_flops_are_counted_by_both_counters() -> None:
    layer, given = nn.Sequential(nn.Linear(8, 16)), torch.randn(3, 5, 8, requires_grad=True)
    multiply_fast(layer)
    with FlopCounterMode(display=False) as known, Meter() as meter:
        layer(given).sum().backward()
    assert meter.flops == known.get_total_flops() == 3 * 2 * 15 * 8 * 16


@pytest.mark.parametrize("family", list(FAMILIES))
def test_every_familys_policy_has_equal_gradients(family: str) -> None:
    """The same adapter on the same inputs, by both kinds of product."""
    from trainer.backbones.load import load_backbone

    backbone: Any = load_backbone(f"{family}_debug", dtype="float32", device="cpu")
    backbone.add_adapter(4, 4, "all", 0)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.trainable().values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    assert not any(type(layer) is nn.Linear for layer in backbone.denoiser.modules())
    pixels, mask = torch.rand(2, 3, 64, 64) * 2 - 1, torch.ones(2, 1, 64, 64)
    mask[..., 20:40, 20:40] = 0
    text, condition = backbone.encode_text(["a car", "a dog"], pixels, mask), backbone.encode_condition(pixels, mask)
    noisy, t = torch.randn(2, *backbone.latent_shape(64, 64)), torch.tensor([0.3, 0.7])

    def gradients() -> list[Tensor]:
        out = backbone.predict(noisy, t, condition, text)
        trained = list(backbone.trainable().values())
        found = torch.autograd.grad(out.square().mean(), trained, materialize_grads=True)  # Qwen's last text is unused
        return [out.detach(), *found]

    mine = gradients()
    backbone.denoiser = plainly(backbone.denoiser)
    for found, known in zip(mine, gradients(), strict=True):
        torch.testing.assert_close(found, known, rtol=1e-3, atol=1e-5 * float(known.abs().max()) + 1e-8)
