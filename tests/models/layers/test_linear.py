# Copyright (c) ca2st_mm contributors. Licensed under Apache-2.0.
"""A lean linear layer equals a plain one and keeps less."""

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from ca2st_mm.models.layers.init import linear
from ca2st_mm.models.layers.linear import lean_linear

RECIPES = {
    'layer': linear(6, 6),
    'activation': nn.GELU(),
    'norm': nn.LayerNorm(6),
    'double': lambda x: 2 * x,
}


def run(layer, source, recipe, lean):
    """Output, and gradients of the source and of the layer."""
    source = source.clone().requires_grad_()
    x = recipe(source)
    out = lean_linear(layer, x, source, recipe) if lean else layer(x)
    weights = torch.arange(out.numel(), dtype=out.dtype).view_as(out)
    grads = torch.autograd.grad(
        (out * weights).sum(), (source, layer.weight, layer.bias)
    )
    return out, *grads


@pytest.mark.parametrize('name', RECIPES)
@pytest.mark.parametrize('shape', [(5, 6), (2, 3, 4, 6)])
def test_it_equals_the_layer(name, shape):
    torch.manual_seed(0)
    layer, source = nn.Linear(6, 4).double(), torch.randn(shape).double()
    recipe = RECIPES[name]
    if isinstance(recipe, nn.Module):
        recipe = recipe.double()
    expected = run(layer, source, recipe, lean=False)
    found = run(layer, source, recipe, lean=True)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_it_equals_the_layer_under_autocast():
    torch.manual_seed(0)
    layer, source = nn.Linear(6, 4), torch.randn(50, 6)
    with torch.autocast('cpu', torch.bfloat16):
        expected = run(layer, source, torch.tanh, lean=False)
        found = run(layer, source, torch.tanh, lean=True)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0.02, atol=0.5)


def test_frozen_weights_and_frozen_inputs_get_no_gradient():
    layer, source = nn.Linear(6, 4), torch.randn(5, 6)
    layer.bias.requires_grad_(False)
    lean_linear(layer, source, source, torch.clone).sum().backward()
    assert layer.weight.grad is not None and layer.bias.grad is None
    assert source.grad is None


def test_the_input_is_not_kept():
    layer, source = nn.Linear(64, 1), torch.randn(1000, 64).requires_grad_()
    kept = {}

    def pack(tensor):
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    act = nn.GELU()
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        out = lean_linear(layer, act(source), source, act)
    assert sum(kept.values()) < 1.1 * source.untyped_storage().nbytes()
    out.sum().backward()
    assert layer.weight.grad.abs().sum() > 0


def test_what_came_out_of_a_layer_is_not_made_again():
    first, second = linear(6, 6), linear(6, 4)
    for layer in (first, second):
        torch.nn.init.normal_(layer.weight)
    calls = []
    first.register_forward_hook(lambda *_: calls.append(1))
    source = torch.randn(5, 6)
    lean_linear(second, first(source), source, first).sum().backward()
    assert len(calls) == 1
    assert first.weight.grad is not None
